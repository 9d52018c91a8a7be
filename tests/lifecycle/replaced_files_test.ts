/** The program's files are replaced while it runs, as before a SIGUSR2. The process must not load the new files. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { KEY } from "../admin/admin.ts";
import { Client } from "../support/client.ts";
import { makeFolder, ROOT, startProgram } from "../support/program.ts";

/** Copies a folder. With `text`, each module of the copy contains this text instead. */
async function copyFolder(from: string, to: string, text?: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(join(from, name), join(to, name), text);
    else if (text !== undefined && name.endsWith(".ts")) await Deno.writeTextFile(join(to, name), text);
    else await Deno.copyFile(join(from, name), join(to, name));
  }
}

for (const workers of [[], ["--workers", "2"]]) {
  const name = `the admin API and the metrics of a service whose modules were replaced${
    workers.length ? ", with workers" : ""
  }`;
  Deno.test(name, { ignore: workers.length > 0 && Deno.build.os !== "linux" }, async () => {
    const folder = await makeFolder({ "keys": KEY });
    try {
      for (const file of ["deno.json", "deno.lock", "main.ts"]) {
        await Deno.copyFile(join(ROOT, file), join(folder, file));
      }
      await copyFolder(join(ROOT, "lib"), join(folder, "lib"));
      const admin = ["--admin", "127.0.0.1:0", "--admin-key-file", "keys"];
      const log = ["--log-level", "debug", "--log-format", "json"];
      await using program = await startProgram(
        ["run", "-q", "-A", "main.ts", "--port", "0", ...admin, ...log, ...workers],
        { binary: Deno.execPath(), folder },
      );
      const [, url] = await program.stderr.until(/"admin":"([^"]+)"/);
      // By then the watchdog threads run: one for each serving process, and one for the admin listener.
      const threads = workers.length === 0 ? 2 : 3;
      await program.stderr.until(new RegExp(`(?:the watchdog runs[^]*){${threads}}`));
      await copyFolder(join(ROOT, "lib"), join(folder, "lib"), 'throw new Error("this module was replaced");');
      const call = async (path: string, init?: RequestInit) => {
        const response = await fetch(`${url}${path}`, init);
        return { status: response.status, text: await response.text() };
      };
      // The workers answer in turn.
      for (let times = 0; times < 4; times++) {
        const headers = { authorization: `Bearer ${KEY}` };
        const reply = await call("/api/topics", { method: "POST", headers, body: "{}" });
        assertEquals(reply.status, 200, reply.text);
      }
      const metrics = await call("/metrics");
      assertEquals(metrics.status, 200);
      assertMatch(metrics.text, /^wss_connections(?:\{worker="1"\})? 0$/m);
      await using client = await Client.open(program.url, { ca: program.ca });
      assertEquals(await client.ask("tom"), "ok");
      await client.close();
      const { code, stderr } = await program.stop();
      assertEquals(code, 0, stderr);
      assertEquals(stderr.includes('"level":"error"'), false, stderr);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
