/** `deno task start` is `deno run -P main.ts`. It grants only the permissions that the service needs. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { Client } from "./support/client.ts";
import { LEAST_PERMISSIONS, makeFolder, type Program, ROOT, startProgram } from "./support/program.ts";
import { Transcript } from "./support/transcript.ts";

Deno.test("deno task start works from a fresh copy", async () => {
  const folder = await makeFolder();
  try {
    for (const file of ["deno.json", "deno.lock", "main.ts"]) await Deno.copyFile(join(ROOT, file), join(folder, file));
    await Deno.symlink(join(ROOT, "lib"), join(folder, "lib"));
    const child = new Deno.Command(Deno.execPath(), {
      args: ["task", "start", "--port", "0"],
      cwd: folder,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const stderr = new Transcript("standard error", child.stderr);
    const [, url] = await stderr.until(/"message":"listening","url":"([^"]+)"/);
    {
      await using client = await Client.open(url!, { ca: join(folder, "certs/ca.pem") });
      assertEquals(await client.ask("tom"), "ok");
    }
    // `deno task` forwards the signal.
    child.kill("SIGTERM");
    const [{ code }] = await Promise.all([child.status, stderr.done]);
    assertEquals(code, 0, stderr.text);
    assert(stderr.text.includes('"message":"stopped"'), stderr.text);
    assertEquals(stderr.text.includes('"level":"warn"'), false, stderr.text);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Stops the program. Asserts that its log has one warning for each given text, and no other. */
async function quiet(program: Program, ...texts: string[]): Promise<void> {
  const { stderr } = await program.stop();
  const warnings = stderr.split("\n").filter((line) => /"level":"(warn|error)"/.test(line));
  assertEquals(warnings.length, texts.length, stderr);
  for (const text of texts) assert(warnings.some((line) => line.includes(text)), stderr);
}

Deno.test("deno task start: every permission is necessary", async (t) => {
  assertEquals(LEAST_PERMISSIONS.filter((word) => /^(-A|--allow-all|--allow-run|--allow-write)$/.test(word)), []);
  for (const left of LEAST_PERMISSIONS.filter((word) => word.startsWith("--allow-"))) {
    const name = left.split("=")[0]!;
    const permissions = LEAST_PERMISSIONS.filter((word) => word !== left);
    await t.step(`without ${name}`, async () => {
      if (name === "--allow-ffi") {
        await using program = await startProgram([], { permissions });
        {
          await using client = await Client.open(program.url, { ca: program.ca });
          assertEquals(await client.ask("tom"), "ok");
        }
        await quiet(program, "--allow-ffi");
      } else if (name === "--allow-sys") {
        // The certificate then does not contain this machine's name, and no public root is available for checks.
        await using program = await startProgram([], { permissions });
        assert(!program.stderr.text.includes(`"names":"localhost ${Deno.hostname()} `), program.stderr.text);
        await quiet(program);
      } else if (name === "--allow-env") {
        // Environment variables are then ignored.
        await using program = await startProgram([], { permissions, env: { WSS_APP: "echo" } });
        await using client = await Client.open(program.url, { ca: program.ca });
        assertEquals(await client.ask("tom"), "ok");
      } else {
        const problem = await startProgram([], { permissions }).then(
          (program) => program[Symbol.asyncDispose]().then(() => "it started"),
          (error: Error) => error.message,
        );
        assert(problem.includes(name) && !/^ +at /m.test(problem), problem);
      }
    });
  }
});
