/** `wss unit`: systemd accepts the unit, and its command line starts the service. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { peerTest } from "../peers/require.ts";
import { makeFolder, runProgram } from "../support/program.ts";
import { Transcript } from "../support/transcript.ts";

async function unit(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram(["unit", ...args]);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

const COMMAND_LINES: readonly (readonly string[])[] = [
  [],
  ["--domain", "example.com", "--acme-agree-tos", "--workers", "auto"],
  ["--mode", "proxied", "--unix", "/run/wss/wss.sock", "--drain-timeout", "2m"],
  ["--mode", "proxied", "--unix", "/srv/a folder/wss.sock", "--no-page", "--max-connections", "200000"],
];

peerTest("systemd-analyze", "systemd-analyze accepts the unit and reports a low exposure level", async (t) => {
  for (const args of COMMAND_LINES) {
    await t.step(args.join(" ") || "no options", async () => {
      const folder = await makeFolder({ "wss.service": await unit(args) });
      try {
        const file = join(folder, "wss.service");
        const analyze = async (...command: string[]) => {
          const { stdout, stderr } = await new Deno.Command("systemd-analyze", { args: command }).output();
          return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
        };
        assertEquals(await analyze("verify", file), "");
        const [, level] = /Overall exposure level for wss\.service: ([\d.]+)/.exec(
          await analyze("security", "--offline=true", file),
        )!;
        assert(Number(level) <= 2.5, level);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    });
  }
});

Deno.test("the unit grants only the rights that the options require", async () => {
  const plain = await unit([]);
  assertStringIncludes(plain, "systemctl restart wss");
  assertStringIncludes(plain, "systemctl kill -s USR2 --kill-whom=main wss");
  assertMatch(plain, /^AmbientCapabilities=$/m);
  assertMatch(plain, /^LimitNOFILE=65536$/m);
  const domain = await unit(COMMAND_LINES[1]!);
  assertMatch(domain, /^AmbientCapabilities=CAP_NET_BIND_SERVICE$/m);
  assertStringIncludes(domain, "systemctl kill -s USR2 --kill-whom=main wss");
  const socket = await unit(COMMAND_LINES[2]!);
  assertMatch(socket, /^RuntimeDirectory=wss$/m);
  assertMatch(socket, /^TimeoutStopSec=140$/m);
  const elsewhere = await unit(COMMAND_LINES[3]!);
  assertMatch(elsewhere, /^ReadWritePaths=\/var\/lib\/wss "\/srv\/a folder"$/m);
  assertMatch(elsewhere, /^LimitNOFILE=222294$/m);
  assertMatch(elsewhere, / --no-page/);
});

Deno.test("the unit escapes the options in the command line for systemd", async () => {
  const text = await unit([
    "--app",
    "./50% $HOME.ts",
    "--user",
    "web",
    "--directory",
    "/srv/web",
  ]);
  const [command] = /^ExecStart=.*$/m.exec(text)!;
  assertMatch(command, /--app "[^"]*\/50%% \$\$HOME\.ts"/);
  assertMatch(text, /^User=web$/m);
  assertMatch(text, /^WorkingDirectory=\/srv\/web$/m);
  for (const own of ["--user", "--directory"]) assertEquals(command.includes(own), false);
});

Deno.test("the command line of the unit starts the service", async () => {
  const [, command] = /^ExecStart=(.*)$/m.exec(await unit(["--port", "0", "--mode", "proxied"]))!;
  const [program, ...args] = command!.split(" ");
  const folder = await makeFolder();
  try {
    const child = new Deno.Command(program!, { args, cwd: folder, stdin: "null", stdout: "piped", stderr: "piped" })
      .spawn();
    const stdout = new Transcript("standard output", child.stdout);
    const stderr = new Transcript("standard error", child.stderr);
    await stderr.until(/"message":"listening","url":"ws:/);
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 0);
    await Promise.all([stdout.done, stderr.done]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("unit rejects an invalid user and arguments", async () => {
  const { code, stderr } = await runProgram(["unit", "--user", "no such user!"]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "--user: must be the name of a system user");
  const argument = await runProgram(["unit", "wss.service"]);
  assertEquals(argument.code, 2);
  assertStringIncludes(argument.stderr, "unit takes no arguments");
});
