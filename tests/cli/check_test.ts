/** `check` as a program: the table, JSON, exit codes, options. */
import { assert, assertEquals } from "@std/assert";
import { echoService } from "../check/test_servers.ts";
import { identityOf, makeAuthorities, urlOf } from "../check/expect.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { runCommand } from "./commands.ts";
import { closedPort } from "../support/ports.ts";

Deno.test("check prints a table without colours and exits with 0 for a sound endpoint", async () => {
  await using echo = echoService();
  const { code, stdout } = await runCommand(["check", urlOf("ws", echo), "--send", "tom", "--expect", "tom"]);
  assertEquals(code, 0, stdout);
  const lines = stdout.trimEnd().split("\n");
  const rows = lines.slice(0, -2).filter((line) => !line.startsWith(" "));
  assertEquals(rows.map((line) => line.split(/\s+/).slice(0, 2).join(" ")), [
    "url ok",
    "tcp ok",
    "protocol ok",
    "upgrade ok",
    // Deno refuses a handshake with Content-Length: 0.
    "upgrade note",
    "message ok",
    "ping ok",
    "close ok",
  ]);
  assertEquals(lines.at(-1), "No problems found: a client can connect.");
  assert(!stdout.includes("\x1b"));
});

Deno.test("check exits with 1 after findings, and explains the first error last", async () => {
  await using echo = echoService();
  const { code, stdout } = await runCommand(["check", urlOf("wss", echo)]);
  assertEquals(code, 1);
  const [verdict, remedy] = stdout.trimEnd().split("\n\n").slice(-2);
  assert(verdict?.startsWith("A client cannot connect: ") && verdict.includes("serves plain"), verdict);
  // The last paragraph contains only the remedy.
  assertEquals(
    remedy,
    "Give the service a certificate, use the TLS port of its proxy, or use " +
      `ws://127.0.0.1:${echo.port}/.`,
  );
  assert(stdout.includes("[protocol-plain]"));
});

Deno.test("check exits with 2 for an unreachable server and wrong usage", async () => {
  assertEquals((await runCommand(["check", `ws://127.0.0.1:${closedPort()}/`])).code, 2);
  assertEquals((await runCommand(["check", "https://localhost/"])).code, 2);
  const none = await runCommand(["check"]);
  assertEquals(none.code, 2);
  assert(none.stderr.includes("check requires a URL"));
  const wrong = await runCommand([
    ...["check", "ws://localhost/", "more", "--for", "fax", "--timeout", "ten", "--nonsense"],
  ]);
  assertEquals(wrong.code, 2);
  for (const part of ["more", "--for", "--timeout", "--nonsense"]) assert(wrong.stderr.includes(part), wrong.stderr);
});

Deno.test("check reports all errors in the connection options together", async () => {
  const { code, stderr } = await runCommand([
    ...["check", "ws://localhost/", "--header", "no colon", "--subprotocol", "a b", "--ca", "/nowhere/ca.pem"],
    ...["--origin", "two words"],
  ]);
  assertEquals(code, 2);
  for (const part of ["--header", "--subprotocol", "--ca", "--origin"]) assert(stderr.includes(part), stderr);
  const to = await runCommand(["check", "ws://localhost/", "--connect-to", "nowhere"]);
  assertEquals(to.code, 2);
  assert(to.stderr.includes("--connect-to"), to.stderr);
});

Deno.test({ name: "check supports --json, --ca and --connect-to", ignore: !await hasOpenssl() }, async () => {
  await using pki = await openPki();
  const { root, sound, full } = await makeAuthorities(pki);
  await using echo = echoService({ identity: await identityOf(full, sound.key) });
  const { code, stdout } = await runCommand([
    ...["check", "wss://localhost/", "--connect-to", `127.0.0.1:${echo.port}`, "--ca", root.cert, "--json"],
    ...["--header", "X-Token: tom", "--origin", "https://page.example", "--subprotocol", "a"],
  ]);
  assertEquals(code, 0, stdout);
  const report = JSON.parse(stdout);
  assertEquals(report.url, "wss://localhost/");
  assertEquals([report.schema, report.exit, report.verdict, report.unfinished], [1, 0, "sound", []]);
  assert(report.observations.every(({ level }: { level: string }) => level === "ok" || level === "note"));

  const untrusted = await runCommand(["check", urlOf("wss", echo, "/", "localhost"), "--json"]);
  assertEquals(untrusted.code, 1);
  assertEquals(JSON.parse(untrusted.stdout).first.code, "chain-incomplete");

  // A certificate that the runtime trusts needs no --ca.
  const known = await runCommand(["check", urlOf("wss", echo, "/", "localhost"), "--json"], "", {
    DENO_CERT: root.cert,
  });
  assertEquals(known.code, 0, known.stdout);
});

Deno.test("check reports a --ca file that is missing or not a certificate", async () => {
  const missing = await runCommand(["check", "wss://localhost/", "--ca", "/nowhere/ca.pem"]);
  assertEquals(missing.code, 2);
  assert(missing.stderr.includes("there is no file /nowhere/ca.pem"), missing.stderr);
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    const key = await runCommand(["connect", "wss://localhost/", "--ca", file]);
    assertEquals(key.code, 2);
    assert(key.stderr.includes("private key"), key.stderr);
    assert(!key.stderr.includes("no file"), key.stderr);
  } finally {
    await Deno.remove(file);
  }
});
