/** `serve --check` reports what would fail at the start, with the same text. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { natsServer } from "../hub/engines.ts";
import { peerTest } from "../peers/require.ts";
import { runProgram, startProgram } from "../support/program.ts";

const PROXIED = ["--mode", "proxied"];

/** Runs `--check` and the start. Returns the start's message, which the check must contain. */
async function failsLikeTheStart(args: readonly string[]): Promise<string> {
  const files = { "file": "no socket", "keys": "" };
  const started = await runProgram([...PROXIED, "--log-level", "error", ...args], { files });
  const checked = await runProgram([...PROXIED, "--check", ...args], { files });
  const message = /^wss: (.*)$/m.exec(started.stderr)?.[1];
  assert(message !== undefined, started.stderr);
  assertEquals([started.code, checked.code], [1, 1], checked.stderr);
  assertEquals(checked.stdout, `error   ${message}\nnot sound: correct the errors first\n`);
  return message!;
}

Deno.test("--check reports unix sockets that cannot be created, and an unusable admin key file", async () => {
  const texts = [
    [["--unix", "no/such/wss.sock"], /its folder does not exist; create it, or give another --unix/],
    [["--unix", "file"], /the file there is not a socket/],
    [
      ["--port", "0", "--admin", "unix:no/such/admin.sock"],
      /its folder does not exist; create it, or give another --admin/,
    ],
    [["--port", "0", "--admin", "unix:file"], /the file there is not a socket/],
    [["--port", "0", "--admin", "127.0.0.1:0", "--admin-key-file", "keys"], /keys/],
  ] as const;
  for (const [args, text] of texts) assertMatch(await failsLikeTheStart(args), text);
});

Deno.test("permission to read some variables is enough to use them", async () => {
  const permissions = ["--allow-net", "--allow-read", "--allow-write", "--allow-sys", "--allow-ffi", "--no-prompt"];
  const env = { WSS_MODE: "proxied", WSS_MAX_PAYLOAD: "many", WSS_IDLE_TIMEOUT: "soon" };
  for (
    const flags of [
      ["--allow-env=WSS_MODE,WSS_MAX_PAYLOAD"],
      ["--allow-env=WSS_M*"],
      ["--allow-env", "--deny-env=WSS_IDLE_TIMEOUT"],
    ]
  ) {
    const options = { permissions: [...permissions, ...flags], env };
    const { code, stderr } = await runProgram(["--check"], options);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, /WSS_MAX_PAYLOAD: a size is a whole number/);
    assertEquals(stderr.includes("WSS_IDLE_TIMEOUT"), false);
  }
});

Deno.test("an empty list of paths in wss.json is an error", async () => {
  const { code, stderr } = await runProgram(["--check"], {
    files: { "wss.json": '{ "mode": "proxied", "path": [] }' },
  });
  assertEquals(code, 2);
  assertMatch(stderr, /wss\.json: path: at least one path is required/);
});

Deno.test("--check leaves no file beside a unix socket", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { code, stdout } = await runProgram([...PROXIED, "--check", "--unix", "wss.sock"], { folder });
    assertEquals(code, 0, stdout);
    assertEquals([...Deno.readDirSync(folder)].filter(({ name }) => name.includes("sock")), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("--check succeeds beside a running service with the same ports", async () => {
  await using service = await startProgram([...PROXIED, "--admin", "127.0.0.1:0"]);
  const admin = /"admin":"http:\/\/([^"]+)"/.exec(service.stderr.text)![1]!;
  const args = [...PROXIED, "--port", String(service.port), "--admin", admin];
  const checked = await runProgram([...args, "--check"]);
  assertEquals([checked.code, checked.stdout.startsWith("sound: ")], [0, true], checked.stderr);
  const started = await runProgram(args);
  assertEquals(started.code, 1);
  assertMatch(started.stderr, /the port is in use/);
});

peerTest("nats-server", "--check reports a broker that is unreachable or rejects the credentials", async () => {
  await using server = await natsServer({ config: "authorization { user: u, password: right }" });
  const url = (password: string) => server.url.replace("//", `//u:${password}@`);
  const check = (...args: string[]) => runProgram([...PROXIED, "--check", ...args]);
  assertMatch(await failsLikeTheStart(["--port", "0", "--broker", url("wrong")]), /authentication failed/);
  const sound = await check("--broker", url("right"));
  assertEquals([sound.code, sound.stdout.startsWith("sound: ")], [0, true], sound.stdout);
  const rejected = await check("--broker", url("wrong"), "--broker-optional");
  assertEquals(rejected.code, 0);
  assertMatch(
    rejected.stdout,
    /^warning Cannot use the broker .*: authentication failed .*--broker-optional.*\nsound: /,
  );
  await server.kill();
  assertMatch(await failsLikeTheStart(["--port", "0", "--broker", url("right")]), /it cannot be reached/);
  const away = await check("--broker", url("right"), "--broker-optional");
  assertEquals(away.code, 0);
  assertMatch(away.stdout, /^warning Cannot use the broker .*: it cannot be reached.*\nsound: /);
});
