/** The command line: help, version, invalid command lines, and failed starts. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { loadCommands } from "../../lib/cli/main.ts";
import { SERVE_OPTIONS } from "../../lib/cli/serve.ts";
import { flagOf, TOPICS, variableOf } from "../../lib/config/option_table.ts";
import project from "../../deno.json" with { type: "json" };
import { type ProgramOptions, runProgram } from "../support/program.ts";

/** Texts that an error message must not contain. */
const TRACE = /^ +at |file:\/\/|Uncaught|\.ts:\d/m;

/** Runs a command line that must fail. Returns the lines on standard error, all of which must be of this program. */
async function fails(code: number, args: readonly string[], options: ProgramOptions = {}): Promise<string[]> {
  const ended = await runProgram(args, options);
  assertEquals({ code: ended.code, stdout: ended.stdout }, { code, stdout: "" }, ended.stderr);
  assert(!TRACE.test(ended.stderr) && !ended.stderr.includes("\x1b"), ended.stderr);
  const lines = ended.stderr.trimEnd().split("\n");
  for (const line of lines) assert(line.startsWith("wss: "), ended.stderr);
  return lines.map((line) => line.slice(5));
}

/** Asserts that each pattern matches a line, in any order, and that there is no other line. */
function assertLines(lines: readonly string[], patterns: readonly RegExp[]): void {
  for (const pattern of patterns) {
    assert(lines.some((line) => pattern.test(line)), `${pattern} in\n${lines.join("\n")}`);
  }
  assertEquals(lines.length, patterns.length, lines.join("\n"));
}

const HINT = /^wss (serve )?--help lists the (options|commands)$/;

Deno.test("--help and --version", async (t) => {
  await t.step("the program's help lists every command", async () => {
    for (const args of [["--help"], ["-h"], ["help"]]) {
      const { code, stdout, stderr } = await runProgram(args);
      assertEquals([code, stderr], [0, ""]);
      for (const { name, summary, group } of await loadCommands()) {
        const expected = group === undefined ? `^  ${name}\\b.*  ${summary}` : `^ .* ${name}\\b.*  ${group}$`;
        assertMatch(stdout, new RegExp(expected, "m"));
      }
      // The help and the next prompt fit one screen of a terminal.
      const lines = stdout.split("\n");
      assert(lines.length <= 24, `${lines.length} lines`);
      assertEquals(lines.filter((line) => line.length > 80 && !line.startsWith("deno run")), []);
    }
  });

  await t.step("without the binary, the help shows the command that wss stands for", async () => {
    assertMatch(
      (await runProgram(["--help"])).stdout,
      /^Without the binary, wss stands for:\sdeno run -A \S*main\.ts$/m,
    );
  });

  for (const { name, options, examples = [] } of await loadCommands()) {
    await t.step(`${name} --help lists all options of ${name}`, async () => {
      const { code, stdout, stderr } = await runProgram([name, "--help"]);
      assertEquals([code, stderr], [0, ""]);
      assertMatch(stdout, new RegExp(`^usage: wss ${name}`));
      for (const [key, option] of Object.entries(options)) {
        assertMatch(stdout, new RegExp(`^  (-\\w, )?${option.variableOnly ? variableOf(key) : flagOf(key)}\\b`, "m"));
        assert(stdout.replaceAll(/\s+/g, " ").includes(option.help), option.help);
      }
      for (const [line] of examples) assertMatch(line, /^wss( |$)/);
      assertEquals(stdout.split("\n").filter((line) => line.length > 80), []);
      assertEquals((await runProgram(["help", name])).stdout, stdout);
    });
  }

  await t.step("help groups the options of serve under headings, and lists a command's own options first", async () => {
    const headings = (help: string) => [...help.matchAll(/^([A-Z][\w ]+):\n {2}-/gm)].map((match) => match[1]!);
    const serve = (await runProgram(["serve", "--help"])).stdout;
    assertEquals(headings(serve), [...TOPICS.filter((topic) => topic !== "Connection"), "General"]);
    const limits = serve.slice(serve.indexOf("\nLimits:\n"), serve.indexOf("\nTokens:\n"));
    assertStringIncludes(limits, "\n  --max-payload SIZE\n");
    const proxy = (await runProgram(["proxy", "--help"])).stdout;
    assertEquals(headings(proxy).slice(0, 2), ["Options", "Address and mode"]);
    for (const own of ["--site", "--domain NAME", "--upstream ADDRESS", "--out FILE"]) {
      assert(proxy.indexOf(`  ${own}`) < proxy.indexOf("Address and mode:"), own);
    }
  });

  await t.step("--version prints the version in deno.json", async () => {
    const { code, stdout, stderr } = await runProgram(["--version"]);
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, `wss ${project.version} (Deno ${Deno.version.deno}`);
  });
});

const INVALID_COMMAND_LINES: [what: string, args: string[], lines: RegExp[]][] = [
  ["an unknown option", ["--prot", "1"], [/^unknown option --prot: did you mean --port\?$/]],
  ["an unknown command", ["serv"], [/^unknown command serv: did you mean serve\?$/]],
  ["an argument", ["serve", "everything"], [/^serve takes no arguments, but got everything$/]],
  ["a size without a known unit", ["--max-payload", "9TB"], [/^--max-payload: .*KiB, MiB or GiB.*, not "9TB"$/]],
  ["a duration without a unit", ["--idle-timeout", "5"], [
    /^--idle-timeout: .*ms, or a number with s, m or h.*, not "5"$/,
  ]],
  ["a port above 65535", ["--port", "70000"], [/^--port: must be from 0 to 65535, not 70000$/]],
  ["no value", ["--port"], [/^--port needs a value: --port PORT$/]],
  ["a path without a slash", ["--path", "wss"], [/^--path: a path starts with \/ .*, not "wss"$/]],
  ["the path of the health check", ["--path", "/healthz"], [/^--path: \/healthz is reserved for the health check/]],
  ["an origin with a path", ["--origin", "https://a.com/path"], [/^--origin: .* only: https:\/\/a\.com$/]],
  ["an origin with a pattern", ["--origin", "https://*.a.com", "--origin", "HTTPS://C.com"], [
    /^--origin: "https:\/\/\*\.a\.com": an origin is scheme, host and port/,
  ]],
  ["* and another origin", ["--origin", "*", "--origin", "https://a.com"], [
    /^--origin: \* allows any site and cannot be combined with https:\/\/a\.com/,
  ]],
  ["a switch that is not true or false", ["--page=maybe"], [/^--page: must be true or false, not "maybe"$/]],
  ["an empty value", ["--host", ""], [/^--host needs a value: --host ADDRESS$/]],
  ["a duration that is too long for a timer", ["--drain-timeout", "1000h"], [
    /^--drain-timeout: must be from 0 to 576h, not 1000h$/,
  ]],
  ["one letter", ["-p", "1"], [/^unknown option -p$/]],
  ["TLS 1.0", ["--min-tls", "1.0"], [/^--min-tls: 1\.0 is refused: .*use 1\.2 or 1\.3$/]],
  ["TLSv1.1", ["--min-tls", "TLSv1.1"], [/^--min-tls: TLSv1\.1 is refused/]],
  ["SSLv3", ["--min-tls", "SSLv3"], [/^--min-tls: SSLv3 is refused/]],
  ["TLS 1.3 only, direct", ["--min-tls", "1.3"], [/^--min-tls 1\.3 requires --mode proxied/]],
  ["both modes", ["--mode", "proxied", "--cert", "a", "--key", "b"], [
    /^--mode proxied cannot be combined with --cert, --key: /,
  ]],
  ["a key without its certificate", ["--key", "b"], [/^--key requires --cert/]],
  ["proxied options in direct mode", ["--unix", "a", "--strict-proxy"], [
    /^--unix requires --mode proxied/,
    /^--strict-proxy requires --mode proxied/,
  ]],
  ["a % in the password of a broker", ["--broker", "redis://app:100%@localhost"], [
    /^--broker: Cannot use the broker: special characters of a password must be percent-encoded in a URL \(% as %25, /,
  ]],
  ["a passphrase on the command line", ["--key-passphrase", "x"], [
    /^--key-passphrase is not accepted on the command line/,
  ]],
];

Deno.test("an invalid command line exits with 2 and one line that says what is required", async (t) => {
  for (const [what, args, lines] of INVALID_COMMAND_LINES) {
    await t.step(what, async () => assertLines(await fails(2, args), [...lines, HINT]));
  }
});

Deno.test("the errors of flags, variables and the file, and their conflicts, are reported together", async () => {
  const args = ["--prot", "1", "--idle-timeout", "5", "--key", "key.pem", "--path", "wss"];
  const file = JSON.stringify({ maxPayloads: 1, maxBackpressure: "much" });
  const lines = await fails(2, args, {
    env: { WSS_MAX_PAYLOAD: "9TB", WSS_PORTS: "1" },
    files: { "wss.json": file },
  });
  assertLines(lines, [
    /^unknown option --prot/,
    /^--idle-timeout: /,
    /^WSS_MAX_PAYLOAD: .*"9TB"/,
    /^unknown variable WSS_PORTS: did you mean WSS_PORT\?/,
    /^wss\.json: maxBackpressure: .*"much"/,
    /^wss\.json: unknown option maxPayloads: did you mean maxPayload\?/,
    /^--key requires --cert/,
    /^--path: a path starts with \//,
    HINT,
  ]);
});

Deno.test("the errors of the file and the command line are reported together, without secrets", async () => {
  const file = JSON.stringify({
    trustedProxy: ["nowhere", 7],
    keyPassphrase: ["geheim"],
    check: true,
    constructor: 1,
  });
  assertLines(await fails(2, ["--mode", "proxied", "--port", "x"], { files: { "wss.json": file } }), [
    /^--port: must be a whole number, not "x"$/,
    /^wss\.json: keyPassphrase: must be a string$/,
    /^wss\.json: trustedProxy: an address or a CIDR range .*"nowhere"$/,
    /^wss\.json: trustedProxy: must be a string, not 7$/,
    /^wss\.json: check is allowed only on the command line: --check$/,
    /^wss\.json: unknown option constructor$/,
    /^--mode proxied cannot be combined with /,
    HINT,
  ]);
  assertLines(await fails(2, ["--prot", "1", "--config", "my.json"]), [
    /^unknown option --prot/,
    /^Cannot read the configuration file my\.json: there is no such file$/,
    HINT,
  ]);
});

Deno.test("paths in the configuration file, including the app, are relative to its folder", async () => {
  const files = { "etc/wss.json": '{ "app": "./app.ts" }', "etc/app.ts": "export default { message() {} };" };
  const { code, stdout, stderr } = await runProgram(["--check", "--config", "etc/wss.json"], { files });
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /app etc\/app\.ts\n$/);
});

Deno.test("an invalid mode is reported without errors about mode-specific options", async () => {
  assertLines(await fails(2, ["--mode", "proxy", "--unix", "a.sock"]), [
    /^--mode: must be one of direct, proxied/,
    HINT,
  ]);
});

Deno.test("an invalid configuration file exits with 2 and one line", async (t) => {
  const cases: [what: string, content: string | undefined, reason: RegExp][] = [
    ["missing", undefined, /^Cannot read the configuration file my\.json: there is no such file$/],
    ["not JSON", "{ port: 1 }", /^Cannot read the configuration file my\.json: it is not JSON \(/],
    ["not an object", "[1]", /^Cannot read the configuration file my\.json: it must be one object/],
  ];
  for (const [what, content, reason] of cases) {
    await t.step(what, async () => {
      const files: Record<string, string> = content === undefined ? {} : { "my.json": content };
      assertLines(await fails(2, ["--config", "my.json"], { files }), [reason]);
    });
  }
});

Deno.test("a failed start exits with 1 and one line", async (t) => {
  await t.step("the port is in use", async () => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const lines = await fails(1, ["--port", String(taken.addr.port)]);
    assertLines(lines, [new RegExp(`127\\.0\\.0\\.1:${taken.addr.port}: .*in use.*--port`)]);
  });

  await t.step("the host is not an address of this machine", async () => {
    assertLines(await fails(1, ["--host", "192.0.2.1", "--port", "0"]), [
      /192\.0\.2\.1 is not an address of this machine.*--host/,
    ]);
  });

  await t.step("the host has no address", async () => {
    assertLines(await fails(1, ["--host", "nowhere.invalid", "--port", "0"]), [/nowhere\.invalid.*--host/]);
  });

  await t.step("the folder of the unix socket does not exist", async () => {
    const lines = await fails(1, ["--mode", "proxied", "--unix", "no/such/wss.sock"]);
    assertLines(lines, [/no\/such\/wss\.sock: its folder does not exist.*--unix/]);
  });

  await t.step("the certificate and the key do not exist, and both are named", async () => {
    const lines = await fails(1, ["--cert", "cert.pem", "--key", "key.pem"]);
    assertLines(lines, [/certificate cert\.pem: there is no such file/, /key key\.pem: there is no such file/]);
  });

  await t.step("the certificate file is not a certificate", async () => {
    const files = { "cert.pem": "hello", "key.pem": "hello" };
    const lines = await fails(1, ["--cert", "cert.pem", "--key", "key.pem"], { files });
    assert(lines.some((line) => line.includes("cert.pem")), lines.join("\n"));
    assert(lines.some((line) => line.includes("key.pem")), lines.join("\n"));
  });

  await t.step("the app does not exist", async () => {
    assertLines(await fails(1, ["--app", "ech"]), [/^Cannot load the app "ech": it is none of ok, echo, chat/]);
  });
});

/** A port below this number requires CAP_NET_BIND_SERVICE. */
function firstFreePort(): number {
  try {
    return Number(Deno.readTextFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start"));
  } catch {
    return 0;
  }
}

/** Removes the capability from root. Other users do not have it. */
const UNPRIVILEGED = Deno.uid() === 0 ? ["setpriv", "--bounding-set", "-net_bind_service"] : [];
const portsAreFree = firstFreePort() <= 443;
if (portsAreFree) {
  // deno-lint-ignore no-console -- a skipped test must be visible
  console.warn("SKIPPED: any user of this system may bind port 443 (ip_unprivileged_port_start)");
}

Deno.test({ name: "a port that is not permitted exits with 1 and one line", ignore: portsAreFree }, async () => {
  const lines = await fails(1, ["--port", "443"], { wrapper: UNPRIVILEGED });
  assertLines(lines, [/443: .*CAP_NET_BIND_SERVICE.*--port/]);
});

Deno.test("every option of serve has a flag or a variable", () => {
  const names = Object.entries(SERVE_OPTIONS).map(([key, option]) =>
    "variableOnly" in option ? variableOf(key) : flagOf(key)
  );
  assertEquals(new Set(names).size, names.length);
});
