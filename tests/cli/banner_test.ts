/** The banner of `serve`: on a terminal, through a pipe, with long names, and its commands. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { peerTest } from "../peers/require.ts";
import { makeFolder, ROOT, startProgram } from "../support/program.ts";
import { Transcript } from "../support/transcript.ts";

const TEXT = ["--log-format", "text"];

/** Runs a line of the banner in a shell. */
async function runLine(line: string, folder: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", line],
    cwd: folder,
    env: { NO_COLOR: "1", PATH: `${join(Deno.execPath(), "..")}:${Deno.env.get("PATH")}` },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Returns the command of a row, which may have several lines. */
function commandOf(banner: string, label: string): string {
  const lines = banner.split("\n");
  const first = lines.findIndex((line) => line.startsWith(label.padEnd(12)));
  assert(first >= 0, banner);
  let last = first;
  while (lines[last]!.endsWith("\\")) last++;
  return lines.slice(first, last + 1).map((line) => line.slice(12)).join("\n");
}

function assertFits(banner: string, columns: number): void {
  for (const line of banner.split("\n")) {
    const text = line.slice(line.startsWith("  ") ? 14 : 12).replace(/ \\$/, "").trimStart();
    // A word that is longer than a line has its own line.
    assert(line.length <= columns || !text.includes(" "), line);
  }
}

Deno.test("the banner fits 80 columns, and its commands work", async () => {
  await using program = await startProgram(TEXT);
  const banner = program.stdout.text;
  assertFits(banner, 80);
  assertEquals(banner.includes("\x1b"), false);
  const connect = commandOf(banner, "try it");
  assertMatch(connect, /connect\s[^]*wss:\/\/localhost:\d+\/\s[^]*--ca certs\/ca\.pem$/);
  assertEquals(await runLine(`${connect} -x tom`, program.folder), { code: 0, stdout: "ok\n", stderr: "" });
  const trust = await runLine(commandOf(banner, "trust"), program.folder);
  assertEquals([trust.code, trust.stderr], [0, ""]);
  assertStringIncludes(trust.stdout, "update-ca-certificates");
});

Deno.test("in the project folder, the banner shows the short commands of the README", async () => {
  const folder = await makeFolder();
  try {
    // The program runs in its own folder, so that it does not create certs/ in the project.
    for (const name of ["lib", "main.ts", "deno.json", "deno.lock"]) {
      await Deno.symlink(join(ROOT, name), join(folder, name));
    }
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "main.ts", "--port", "0", ...TEXT],
      cwd: folder,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const stdout = new Transcript("standard output", child.stdout);
    const stderr = new Transcript("standard error", child.stderr);
    await stdout.until(/^stop /m);
    child.kill("SIGTERM");
    await Promise.all([child.status, stdout.done, stderr.done]);
    assertMatch(stdout.text, /^try it {6}deno run -A main\.ts connect wss:\/\/localhost:\d+\/ --ca certs\/ca\.pem$/m);
    assertMatch(stdout.text, /^trust {7}deno run -A main\.ts cert$/m);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("in proxied mode, the banner's command sends the required header and token", async () => {
  const files = { "tokens.txt": "0123456789abcdef\n" };
  const args = [...TEXT, "--mode", "proxied", "--strict-proxy", "--auth-token-file", "tokens.txt"];
  await using program = await startProgram(args, { files });
  const banner = program.stdout.text;
  assertFits(banner, 80);
  const connect = commandOf(banner, "try it").replace("Bearer TOKEN", "Bearer 0123456789abcdef");
  assertEquals(await runLine(`${connect} -x tom`, program.folder), { code: 0, stdout: "ok\n", stderr: "" });
  const { code, stdout } = await runLine(commandOf(banner, "proxy"), program.folder);
  assertEquals(code, 0);
  assertStringIncludes(stdout, "proxy_pass");
});

Deno.test("with --strict-proxy and --min-tls 1.3, the banner's command reports the TLS version", async () => {
  await using program = await startProgram([...TEXT, "--mode", "proxied", "--strict-proxy", "--min-tls", "1.3"]);
  const connect = commandOf(program.stdout.text, "try it");
  assertEquals(await runLine(`${connect} -x tom`, program.folder), { code: 0, stdout: "ok\n", stderr: "" });
});

Deno.test("the banner wraps long values only between words", async () => {
  const path = `/${"a-long-name-".repeat(8)}`;
  await using program = await startProgram([...TEXT, "--path", path, "--path", "/wss", "--message-rate", "100"]);
  const banner = program.stdout.text;
  assertFits(banner, 80);
  assert(banner.split("\n").some((line) => line.endsWith(`${path}`)), banner);
});

/** What a service wrote, on its terminal and into the files `log` and `out`. */
interface Written {
  readonly terminal: string;
  readonly log: string;
  readonly out: string;
}

/**
 * Runs the service on a terminal with `columns` columns until `ready` appears there, and stops it with Ctrl-C.
 * @param more arguments and redirections into the files `log` and `out`
 */
async function onTerminal(
  columns: number,
  { more = "", ready = /^\S*stop .*Ctrl-C/m, env = {} }: {
    readonly more?: string;
    readonly ready?: RegExp;
    readonly env?: Readonly<Record<string, string>>;
  },
): Promise<Written> {
  const folder = await makeFolder({ log: "", out: "" });
  try {
    const service = [Deno.execPath(), "run", "-A", "--config", join(ROOT, "deno.json"), join(ROOT, "main.ts")];
    const child = new Deno.Command("script", {
      args: ["-qec", `stty cols ${columns} && exec ${service.join(" ")} --port 0 ${more}`, "/dev/null"],
      cwd: folder,
      env: { TERM: "xterm", ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const stdout = new Transcript("standard output", child.stdout);
    const stderr = new Transcript("standard error", child.stderr);
    await stdout.until(ready);
    const input = child.stdin.getWriter();
    await input.write(new TextEncoder().encode("\x03"));
    assertEquals((await child.status).code, 0);
    await input.close().catch(() => {});
    await Promise.all([stdout.done, stderr.done]);
    const [log, out] = await Promise.all(["log", "out"].map((name) => Deno.readTextFile(join(folder, name))));
    return { terminal: stdout.text.replaceAll("\r", ""), log: log!, out: out! };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

peerTest("script", "on a terminal, the banner fits the width and is coloured unless NO_COLOR is set", async () => {
  const banner = async (columns: number, NO_COLOR: string) => {
    const { terminal } = await onTerminal(columns, { env: { NO_COLOR } });
    return terminal.split("Ctrl-C")[0]!;
  };
  const coloured = await banner(60, "");
  assertStringIncludes(coloured, "\x1b[1mwss ");
  // deno-lint-ignore no-control-regex -- the colours
  assertFits(coloured.replaceAll(/\x1b\[[\d;]*m/g, ""), 60);
  const plain = await banner(80, "1");
  assertEquals(plain.includes("\x1b"), false);
  assertFits(plain, 80);
});

peerTest("script", "the log format depends on standard error, and the banner on standard output", async (t) => {
  const env = { NO_COLOR: "1" };
  const workers = Deno.build.os === "linux" ? ["", "--workers 1"] : [""];
  for (const more of workers) {
    await t.step(`standard error is a file ${more}`, async () => {
      const { terminal, log } = await onTerminal(80, { more: `${more} 2> log`, env });
      assertMatch(terminal, /^ {2}address +wss:\/\/localhost:\d+\/$/m);
      const lines = log.trim().split("\n").map((line) => JSON.parse(line) as { message: string; url?: string });
      assertMatch(lines.find(({ message }) => message === "listening")?.url ?? "", /^wss:\/\/localhost:\d+\/$/);
    });

    await t.step(`standard output is a file ${more}`, async () => {
      const { terminal, out } = await onTerminal(80, { more: `${more} > out`, ready: / listening .*\r\n/, env });
      assertMatch(terminal, /^[^{\n]* listening .*url=\S*wss:\/\/localhost:\d+\//m);
      assertEquals(out, "");
    });
  }

  await t.step("both are the terminal: the banner replaces the event", async () => {
    const { terminal } = await onTerminal(80, { env });
    assertMatch(terminal, /^ {2}address /m);
    assertEquals(/ listening |^\{/m.test(terminal), false, terminal);
  });

  await t.step("--log-format json omits the banner", async () => {
    const { terminal } = await onTerminal(80, { more: "--log-format json", ready: /"message":"listening".*\r\n/, env });
    assertEquals(/^ {2}address /m.test(terminal), false, terminal);
  });
});
