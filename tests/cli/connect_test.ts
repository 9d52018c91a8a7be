/** `connect` as a program: over pipes, and on a terminal. */
import { assert, assertEquals } from "@std/assert";
import { answerFrames, echoService, rightAnswer, upgradeServer, writeAll } from "../check/laboratory.ts";
import { hasProgram } from "../check/proxies.ts";
import { identityOf, makeAuthorities, urlOf } from "../check/expect.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { commandLine, runCommand } from "./commands.ts";
import { closedPort } from "../support/ports.ts";

Deno.test("lines go out, replies come in, the end of the input closes with 1000", async () => {
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

Deno.test("-x without a reply ends after the timeout", async () => {
  await using quiet = upgradeServer(async (connection, request) => {
    await writeAll(connection, await rightAnswer(request));
    while (await connection.read(new Uint8Array(1024)) !== null);
  });
  const { code, stderr } = await runCommand(["connect", urlOf("ws", quiet), "-x", "tom", "--timeout", "1s"]);
  assertEquals(code, 1);
  assert(stderr.includes("No reply came within 1s"), stderr);
});

Deno.test("the server's close is told in words, and its code decides", async () => {
  await using echo = echoService({ onOpen: (socket) => socket.close(1008, "go away") });
  const { code, stderr } = await runCommand(["connect", urlOf("ws", echo)], "");
  assertEquals(code, 1);
  assert(stderr.includes('closed: 1008 (policy violation, "go away")'), stderr);

  await using cut = upgradeServer(async (connection, request) => writeAll(connection, await rightAnswer(request)));
  const lost = await runCommand(["connect", urlOf("ws", cut)], "");
  assertEquals(lost.code, 1);
  assert(lost.stderr.includes("1006"), lost.stderr);
});

Deno.test("binary messages are printed as hex, or go to a file", async () => {
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

Deno.test("headers, origin and subprotocols go along", async () => {
  const seen: string[] = [];
  await using server = upgradeServer(async (connection, request) => {
    seen.push(request);
    await writeAll(connection, await rightAnswer(request, "Sec-WebSocket-Protocol: b\r\n"));
    await answerFrames(connection);
  });
  const { code, stderr } = await runCommand([
    ...["connect", urlOf("ws", server), "--header", "X-Token: tom", "--origin", "https://page.example"],
    ...["--subprotocol", "a", "--subprotocol", "b"],
  ]);
  assertEquals(code, 0);
  assert(stderr.includes("subprotocol b"), stderr);
  for (const line of ["X-Token: tom", "Origin: https://page.example", "Sec-WebSocket-Protocol: a, b"]) {
    assert(seen[0]?.includes(`\r\n${line}\r\n`), line);
  }
});

Deno.test("--ping sends pings and tells how long the pongs took", async () => {
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

Deno.test("a connection that fails is explained by the probes", async () => {
  const refused = await runCommand(["connect", `ws://127.0.0.1:${closedPort()}/`, "-x", "tom"]);
  assertEquals(refused.code, 2);
  assert(refused.stderr.includes("[tcp-refused]"), refused.stderr);
  assertEquals(refused.stdout, "");

  await using plain = echoService();
  const tls = await runCommand(["connect", urlOf("wss", plain), "-x", "tom"]);
  assertEquals(tls.code, 1);
  assert(tls.stderr.includes("speaks plain"), tls.stderr);

  await using closed = echoService({ path: "/wss" });
  const path = await runCommand(["connect", urlOf("ws", closed), "-x", "tom"]);
  assertEquals(path.code, 1);
  assert(path.stderr.includes("[upgrade-not-found]"), path.stderr);

  const misused = await runCommand(["connect", "https://localhost/"]);
  assertEquals(misused.code, 2);
  assert(misused.stderr.includes("Write wss://localhost/"), misused.stderr);
});

Deno.test({ name: "certificates are verified, unless --insecure", ignore: !await hasOpenssl() }, async () => {
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
  const insecure = await runCommand(["connect", url, "--insecure", "-x", "tom"]);
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
});

Deno.test("Ctrl-C closes with 1000", async () => {
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

Deno.test(
  { name: "on a terminal: a prompt, history, and no escape sequences of the server's", ignore: !script },
  async () => {
    await using server = echoService({
      onOpen: (socket) => socket.onmessage = ({ data }) => socket.send(`\x1b[31m${data}\x1b]0;title\x07`),
    });
    const line = [Deno.execPath(), ...commandLine("connect", urlOf("ws", server))].join(" ");
    await using child = new Deno.Command("script", {
      args: ["-qefc", line, "/dev/null"],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
      env: { TERM: "xterm" },
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const writer = child.stdin.getWriter();
    const type = (keys: string) => writer.write(new TextEncoder().encode(keys));
    let screen = "";
    async function until(text: string): Promise<void> {
      while (!screen.includes(text)) {
        const { value, done } = await reader.read();
        assert(!done, screen);
        screen += value;
      }
      screen = screen.slice(screen.indexOf(text) + text.length);
    }
    await until("connected to");
    await type("hello\r");
    await until("< \\u001b[31mhello\\u001b]0;title\\u0007");
    // The line before, two to the left, an insertion.
    await type("\x1b[A\x1b[D\x1b[DXX\r");
    await until("< \\u001b[31mhelXXlo");
    await type("\x03");
    await until("closed: 1000 (normal closure)");
    assertEquals((await child.status).code, 0);
    await reader.cancel();
    await writer.close().catch(() => {});
  },
);

Deno.test({
  name: "-x on a terminal: no escape sequences of the server's; in a pipe the bytes as they are",
  ignore: !script,
}, async () => {
  await using server = echoService({
    onOpen: (socket) => socket.onmessage = () => socket.send("\x1b[31mred\x9b0m\nnext"),
  });
  const args = commandLine("connect", urlOf("ws", server), "-x", "hi");
  const run = async (command: string, args: readonly string[]) => {
    const { stdout } = await new Deno.Command(command, { args: [...args], stdin: "null" }).output();
    return new TextDecoder().decode(stdout);
  };
  const screen = await run("script", ["-qefc", [Deno.execPath(), ...args].join(" "), "/dev/null"]);
  assert(screen.includes("\\u001b[31mred\\u009b0m\r\nnext"), screen);
  assertEquals(await run(Deno.execPath(), args), "\x1b[31mred\x9b0m\nnext\n");
});
