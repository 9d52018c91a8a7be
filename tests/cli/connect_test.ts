/** `connect` as a program: over pipes, and on a terminal. */
import { assert, assertEquals } from "@std/assert";
import { answerFrames, echoService, upgradeResponse, upgradeServer, writeAll } from "../check/test_servers.ts";
import { hasProgram } from "../check/proxies.ts";
import { identityOf, makeAuthorities, urlOf } from "../check/expect.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { commandLine, runCommand } from "./commands.ts";
import { closedPort } from "../support/ports.ts";

Deno.test("connect sends lines, prints replies, and closes with 1000 at the end of the input", async () => {
  const codes = Promise.withResolvers<number>();
  await using echo = echoService({ onOpen: (socket) => socket.onclose = ({ code }) => codes.resolve(code) });
  const { code, stdout, stderr } = await runCommand(["connect", urlOf("ws", echo)], "one\ntwo\nätsch\n");
  assertEquals(stdout, "one\ntwo\nätsch\n", stderr);
  assertEquals(code, 0);
  assert(stderr.includes("connected to ws://"), stderr);
  assert(stderr.includes("closed: 1000 (normal closure)"), stderr);
  assertEquals(await codes.promise, 1000);
});

Deno.test("-x sends one message, prints the reply and closes with 1000", async () => {
  const codes = Promise.withResolvers<number>();
  await using echo = echoService({ onOpen: (socket) => socket.onclose = ({ code }) => codes.resolve(code) });
  const outcome = await runCommand(["connect", urlOf("ws", echo), "-x", "tom"]);
  assertEquals(outcome, { code: 0, stdout: "tom\n", stderr: "" });
  assertEquals(await codes.promise, 1000);
});

Deno.test("-x sends an empty message, and requires a value", async () => {
  const got = Promise.withResolvers<unknown>();
  await using server = echoService({
    onOpen: (socket) =>
      socket.onmessage = ({ data }) => {
        got.resolve(data);
        socket.send("got it");
      },
  });
  assertEquals(await runCommand(["connect", urlOf("ws", server), "-x", ""]), {
    code: 0,
    stdout: "got it\n",
    stderr: "",
  });
  assertEquals(await got.promise, "");
  const missing = await runCommand(["connect", urlOf("ws", server), "-x"]);
  assertEquals(missing.code, 2);
  assert(missing.stderr.includes("--execute needs a value"), missing.stderr);
  const check = await runCommand(["check", urlOf("ws", server), "--send", "", "--expect", "got it"]);
  assertEquals(check.code, 0, check.stdout);
});

Deno.test("-x with --skip skips messages, and with --expect waits for the given reply", async () => {
  await using server = echoService({
    onOpen(socket) {
      socket.send("welcome");
      socket.send("motd");
      socket.onmessage = ({ data }) => socket.send(`re: ${data}`);
    },
  });
  const url = urlOf("ws", server);
  assertEquals((await runCommand(["connect", url, "-x", "tom"])).stdout, "welcome\n");
  assertEquals((await runCommand(["connect", url, "-x", "tom", "--skip", "2"])).stdout, "re: tom\n");
  assertEquals((await runCommand(["connect", url, "-x", "tom", "--expect", "re: tom"])).stdout, "re: tom\n");
  const never = await runCommand(["connect", url, "-x", "tom", "--expect", "ok", "--timeout", "8s"]);
  assertEquals([never.code, never.stdout], [1, ""]);
  assert(never.stderr.includes("(skipped 3 messages)"), never.stderr);
  const alone = await runCommand(["connect", url, "--skip", "1"]);
  assertEquals(alone.code, 2);
  assert(alone.stderr.includes("--skip and --expect"), alone.stderr);
});

Deno.test("--file sends a file as one binary message", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeFile(file, new Uint8Array([0, 255, 16]));
    await using echo = echoService();
    const { code, stdout } = await runCommand(["connect", urlOf("ws", echo), "--file", file]);
    assertEquals([code, stdout], [0, "00ff10\n"]);
    const missing = await runCommand(["connect", urlOf("ws", echo), "--file", "/nowhere/file"]);
    assertEquals(missing.code, 1);
    assert(missing.stderr.startsWith("Cannot read /nowhere/file (--file): "), missing.stderr);
    const both = await runCommand(["connect", urlOf("ws", echo), "--file", file, "-x", "tom"]);
    assertEquals(both.code, 2);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("-x exits with 1 if no reply arrives within --timeout", async () => {
  await using quiet = upgradeServer(async (connection, request) => {
    await writeAll(connection, await upgradeResponse(request));
    while (await connection.read(new Uint8Array(1024)) !== null);
  });
  const { code, stderr } = await runCommand(["connect", urlOf("ws", quiet), "-x", "tom", "--timeout", "6s"]);
  assertEquals(code, 1);
  assert(stderr.includes("No reply within 6s"), stderr);
});

Deno.test("connect describes the server's close, and exits with 1 if it is not normal", async () => {
  await using echo = echoService({ onOpen: (socket) => socket.close(1008, "go away") });
  const { code, stderr } = await runCommand(["connect", urlOf("ws", echo)], "");
  assertEquals(code, 1);
  assert(stderr.includes('closed: 1008 (policy violation, "go away")'), stderr);

  await using cut = upgradeServer(async (connection, request) => writeAll(connection, await upgradeResponse(request)));
  const lost = await runCommand(["connect", urlOf("ws", cut)], "");
  assertEquals(lost.code, 1);
  assert(lost.stderr.includes("1006"), lost.stderr);
});

Deno.test("binary messages are printed in hexadecimal, or written to --out", async () => {
  await using echo = echoService({
    onOpen(socket) {
      socket.send(new Uint8Array([0, 255, 16]));
      socket.onmessage = () => socket.close(1000);
    },
  });
  const hex = await runCommand(["connect", urlOf("ws", echo)], "bye\n");
  assertEquals(hex.stdout, "00ff10\n");
  const file = await Deno.makeTempFile();
  try {
    const filed = await runCommand(["connect", urlOf("ws", echo), "--out", file], "bye\n");
    assertEquals(filed.stdout, "3 bytes\n");
    assertEquals(await Deno.readFile(file), new Uint8Array([0, 255, 16]));
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("connect sends the headers, the origin and the subprotocols", async () => {
  const seen: string[] = [];
  await using server = upgradeServer(async (connection, request) => {
    seen.push(request);
    await writeAll(connection, await upgradeResponse(request, "Sec-WebSocket-Protocol: b\r\n"));
    await answerFrames(connection);
  });
  const { code, stderr } = await runCommand([
    ...["connect", urlOf("ws", server), "-H", "X-Token: tom", "--origin", "https://page.example"],
    ...["--header", "X-More: jerry", "-s", "a", "--subprotocol", "b"],
  ]);
  assertEquals(code, 0);
  assert(stderr.includes("subprotocol b"), stderr);
  for (
    const line of ["X-Token: tom", "X-More: jerry", "Origin: https://page.example", "Sec-WebSocket-Protocol: a, b"]
  ) {
    assert(seen[0]?.includes(`\r\n${line}\r\n`), line);
  }
});

Deno.test("--ping sends pings and prints the round-trip times", async () => {
  await using echo = echoService();
  await using child = new Deno.Command(Deno.execPath(), {
    args: commandLine("connect", urlOf("ws", echo), "--ping", "50ms"),
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while ((said.match(/pong after [\d.]+ ms/g) ?? []).length < 3) {
    const { value, done } = await reader.read();
    assert(!done, said);
    said += value;
  }
  await child.stdin.close();
  assertEquals((await child.status).code, 0);
  await reader.cancel();
});

Deno.test("connect runs the probes of check if the connection fails", async () => {
  const refused = await runCommand(["connect", `ws://127.0.0.1:${closedPort()}/`, "-x", "tom"]);
  assertEquals(refused.code, 2);
  assert(refused.stderr.includes("[tcp-refused]"), refused.stderr);
  assertEquals(refused.stdout, "");

  await using plain = echoService();
  const tls = await runCommand(["connect", urlOf("wss", plain), "-x", "tom"]);
  assertEquals(tls.code, 1);
  assert(tls.stderr.includes("serves plain"), tls.stderr);

  await using closed = echoService({ path: "/wss" });
  const path = await runCommand(["connect", urlOf("ws", closed), "-x", "tom"]);
  assertEquals(path.code, 1);
  assert(path.stderr.includes("[upgrade-not-found]"), path.stderr);

  const misused = await runCommand(["connect", "https://localhost/"]);
  assertEquals(misused.code, 2);
  assert(misused.stderr.includes("Write wss://localhost/"), misused.stderr);
});

Deno.test(
  { name: "connect verifies the certificate, unless --insecure is given", ignore: !await hasOpenssl() },
  async () => {
    await using pki = await openPki();
    const { root, middle, sound, full } = await makeAuthorities(pki);
    await using echo = echoService({ identity: await identityOf(full, sound.key) });
    const url = urlOf("wss", echo, "/", "localhost");
    const trusted = await runCommand(["connect", url, "--ca", root.cert, "-x", "tom"]);
    assertEquals(trusted, { code: 0, stdout: "tom\n", stderr: "" });
    const untrusted = await runCommand(["connect", url, "-x", "tom"]);
    assertEquals(untrusted.code, 1);
    assertEquals(untrusted.stdout, "");
    assert(untrusted.stderr.includes("[chain-incomplete]"), untrusted.stderr);
    const insecure = await runCommand(["connect", url, "-n", "-x", "tom"]);
    assertEquals(insecure.stdout, "tom\n");
    assert(insecure.stderr.startsWith("WARNING: --insecure"), insecure.stderr);

    const other = await pki.leaf("other", { issuer: middle, names: "DNS:other.example" });
    const cert = await pki.bundle("other-full.pem", other.cert, middle.cert);
    await using wrong = echoService({ identity: await identityOf(cert, other.key) });
    const named = await runCommand(["connect", urlOf("wss", wrong, "/", "localhost"), "--ca", root.cert, "-x", "tom"]);
    assertEquals(named.stdout, "");
    assert(named.stderr.includes("[name-mismatch]"), named.stderr);
    const both = await runCommand(["connect", url, "--ca", root.cert, "--insecure"]);
    assertEquals(both.code, 2);
  },
);

Deno.test("Ctrl-C closes the connection with 1000", async () => {
  const codes = Promise.withResolvers<number>();
  await using echo = echoService({ onOpen: (socket) => socket.onclose = ({ code }) => codes.resolve(code) });
  await using child = new Deno.Command(Deno.execPath(), {
    args: commandLine("connect", urlOf("ws", echo)),
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  for (let said = ""; !said.includes("connected");) said += (await reader.read()).value;
  child.kill("SIGINT");
  assertEquals(await codes.promise, 1000);
  assertEquals((await child.status).code, 0);
  await reader.cancel();
  await child.stdin.close().catch(() => {});
});

const script = await hasProgram("script", "--version");

/** A program on its own terminal. */
class Screen implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  #shown = "";

  constructor(line: string) {
    this.#child = new Deno.Command("script", {
      args: ["-qefc", line, "/dev/null"],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
      env: { TERM: "xterm", PS1: "$ " },
    }).spawn();
    this.#reader = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#writer = this.#child.stdin.getWriter();
  }

  async type(keys: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(keys));
  }

  /** Waits for a text. Returns the output up to it, and removes that output. */
  async until(text: string): Promise<string> {
    while (!this.#shown.includes(text)) {
      const { value, done } = await this.#reader.read();
      assert(!done, `"${text}" did not appear: ${this.#shown}`);
      this.#shown += value;
    }
    const end = this.#shown.indexOf(text) + text.length;
    const before = this.#shown.slice(0, end);
    this.#shown = this.#shown.slice(end);
    return before;
  }

  async code(): Promise<number> {
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.cancel();
    await this.#writer.close().catch(() => {});
    await this.#child.status;
  }
}

function onScreen(url: string): string {
  return [Deno.execPath(), ...commandLine("connect", url)].join(" ");
}

Deno.test(
  {
    name: "on a terminal, connect has a prompt and a history, and escapes control sequences of the server",
    ignore: !script,
  },
  async () => {
    await using server = echoService({
      onOpen: (socket) => socket.onmessage = ({ data }) => socket.send(`\x1b[31m${data}\x1b]0;title\x07`),
    });
    await using screen = new Screen(onScreen(urlOf("ws", server)));
    await screen.until("connected to");
    await screen.type("hello\r");
    await screen.until("< \\u001b[31mhello\\u001b]0;title\\u0007");
    // The previous line, two steps to the left, and an insertion.
    await screen.type("\x1b[A\x1b[D\x1b[DXX\r");
    await screen.until("< \\u001b[31mhelXXlo");
    await screen.type("\x03");
    await screen.until("closed: 1000 (normal closure)");
    assertEquals(await screen.code(), 0);
  },
);

Deno.test(
  { name: "on a terminal, connect indents JSON, dumps bytes, and runs commands", ignore: !script },
  async () => {
    const file = await Deno.makeTempFile();
    try {
      await Deno.writeFile(file, new Uint8Array([1, 2, 3, 65]));
      await using server = echoService({
        onOpen: (socket) => socket.onclose = ({ code, reason }) => closed.resolve([code, reason]),
      });
      const closed = Promise.withResolvers<[number, string]>();
      await using screen = new Screen(onScreen(urlOf("ws", server)));
      await screen.until("connected to");
      await screen.type('{"id":12345678901234567890,"list":[1,{}]}\r');
      const json = await screen.until("\n  }");
      assert(
        json.includes('< {\r\n    "id": 12345678901234567890,\r\n    "list": [\r\n      1,\r\n      {}\r\n    ]'),
        json,
      );
      await screen.type("/hex 00 ff 41\r");
      await screen.until("sent 3 bytes");
      await screen.until("000000  00 ff 41");
      await screen.type(`/file ${file}\r`);
      await screen.until("sent 4 bytes");
      await screen.until("...A");
      await screen.type("/hex 0\r");
      await screen.until("/hex: bytes in hexadecimal are required");
      await screen.type("/file /nowhere/file\r");
      await screen.until("/file: ");
      // An unknown command is sent to the app unchanged. A line that begins with // is sent without the first slash.
      await screen.type("/join red\r");
      await screen.until("< /join red");
      await screen.type("//help\r");
      await screen.until("< /help");
      await screen.type("/ping are you there\r");
      await screen.until('pong "are you there"');
      await screen.type("/close 4001 enough\r");
      assertEquals(await closed.promise, [4001, "enough"]);
      assertEquals(await screen.code(), 1);
    } finally {
      await Deno.remove(file);
    }
  },
);

Deno.test({ name: "-x on a terminal escapes control sequences of the server", ignore: !script }, async () => {
  await using server = echoService({
    onOpen: (socket) => socket.onmessage = () => socket.send("\x1b]0;title\x07red"),
  });
  await using screen = new Screen(`${onScreen(urlOf("ws", server))} -x tom`);
  const shown = await screen.until("red");
  assert(!shown.includes("\x1b]0"), shown);
  assert(shown.includes("\\u001b]0;title\\u0007red"), shown);
  assertEquals(await screen.code(), 0);
});

Deno.test({ name: "on a terminal, Ctrl-Z suspends connect, and fg resumes it", ignore: !script }, async () => {
  const sockets: WebSocket[] = [];
  await using server = echoService({ onOpen: (socket) => void sockets.push(socket) });
  await using screen = new Screen("bash --norc --noprofile -i");
  await screen.type(`${onScreen(urlOf("ws", server))}\r`);
  await screen.until("connected to");
  await screen.type("before\r");
  await screen.until("< before");
  await screen.type("\x1a");
  await screen.until("Stopped");
  // The shell controls the terminal again, in its own mode.
  await screen.type("echo $((6*7))\r");
  await screen.until("42");
  sockets[0]!.send("meanwhile");
  await screen.type("fg\r");
  await screen.until("< meanwhile");
  await screen.type("after\r");
  await screen.until("< after");
  await screen.type("\x03");
  await screen.until("closed: 1000");
  await screen.type("exit 7\r");
  assertEquals(await screen.code(), 7);
});
