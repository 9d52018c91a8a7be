/** `serve`: the first and the second run, user apps, variables and the configuration file, and stopping. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Client } from "../support/client.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { makeFolder, runProgram, startProgram } from "../support/program.ts";

async function modeOf(path: string): Promise<number> {
  return ((await Deno.stat(path)).mode ?? 0) & 0o777;
}

Deno.test("serve starts with Kubernetes service links, empty variables, and a BOM in wss.json", async () => {
  const env = {
    WSS_SERVICE_HOST: "10.96.12.7",
    WSS_PORT: "tcp://10.96.12.7:8282",
    WSS_PORT_8282_TCP_ADDR: "10.96.12.7",
    WSS_MAX_PAYLOAD: "",
  };
  const files = { "wss.json": '\ufeff{ "mode": "proxied" }\r\n' };
  await using program = await startProgram([], { env, files });
  const lines = program.stderr.lines.map((line) => JSON.parse(line) as { level: string; message: string });
  const notes = lines.filter(({ message }) => message.startsWith("Kubernetes service links are ignored"));
  assertEquals(notes.map(({ level }) => level), ["info"]);
  assertStringIncludes(notes[0]!.message, "WSS_PORT_8282_TCP_ADDR");
  await using client = await Client.open(program.url);
  assertEquals(await client.ask("tom"), "ok");

  const refused = await runProgram(["--check"], { files: { "wss.json": '{ "idleTimeout": 30 }' } });
  assertEquals(refused.code, 2);
  assertStringIncludes(
    refused.stderr,
    "wss.json: idleTimeout: a duration is a whole number of ms, or a number with s, m or h",
  );
});

Deno.test("the first run creates a certificate, and the second run keeps it", async (t) => {
  const folder = await makeFolder();
  try {
    let first = "";
    await t.step("the first run creates a certificate, prints the banner, and answers", async () => {
      await using program = await startProgram(["--log-format", "text"], { folder });
      const files = [...Deno.readDirSync(join(folder, "certs"))].map(({ name }) => name).sort();
      assertEquals(files, [".lock", "ca.key", "ca.pem", "cert.pem", "key.pem"]);
      for (const key of ["ca.key", "key.pem"]) assertEquals(await modeOf(join(folder, "certs", key)), 0o600);
      first = await Deno.readTextFile(join(folder, "certs/cert.pem"));

      const banner = program.stdout.text;
      assertMatch(banner, /^ {2}address +wss:\/\/localhost:\d+\/$/m);
      assertMatch(banner, /^ {2}mode +direct: this service terminates TLS 1\.2 and 1\.3/m);
      assertMatch(
        banner,
        /^ {2}certificate +certs\/cert\.pem for localhost,\s[^]*127\.0\.0\.1,\s+::1\s+until\s+\d{4}-\d\d-\d\d$/m,
      );
      assertMatch(banner, /^ {2}app +ok$/m);
      assertMatch(banner, /^ {2}limits +messages of 1MiB, /m);
      assertMatch(banner, /^or +https:\/\/localhost:\d+\/ in a browser$/m);
      assertMatch(banner, /^stop +Ctrl-C$/m);
      assertEquals(program.stderr.text, "");
      report("first run", program.startup);
    });

    await t.step("the second run uses the same certificate", async () => {
      await using program = await startProgram([], { folder });
      assertEquals(await Deno.readTextFile(join(folder, "certs/cert.pem")), first);
      await using client = await Client.open(program.url, { ca: program.ca });
      assertEquals(await client.ask("tom"), "ok");
      report("second run", program.startup);
      const { message, mode, app, notAfter } = JSON.parse(program.stderr.lines[0]!);
      assertEquals([message, mode, app], ["listening", "direct", "ok"]);
      assert(Date.parse(notAfter) > Date.now());
      assertEquals(program.stdout.text, "");
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

function report(what: string, milliseconds: number): void {
  // deno-lint-ignore no-console -- the measurement must be visible
  console.info(`${what}: listening after ${Math.round(milliseconds)} ms`);
}

Deno.test("in proxied mode, the banner says that a proxy must terminate TLS", async () => {
  await using program = await startProgram(["--mode", "proxied", "--log-format", "text"]);
  assertMatch(program.stdout.text, /^ {2}address +ws:\/\/127\.0\.0\.1:\d+\/$/m);
  assertMatch(program.stdout.text, /^next +a proxy in front must terminate TLS/m);
  assertEquals(/certificate|certs/.test(program.stdout.text), false);
  assertEquals([...Deno.readDirSync(program.folder)], []);
});

Deno.test("flags override variables, which override wss.json, which overrides defaults", async () => {
  const file = { $schema: "x", app: "echo", maxPayload: "10B", path: ["/a", "/b"], logLevel: "debug" };
  await using program = await startProgram(["--path", "/flag"], {
    files: { "wss.json": JSON.stringify(file) },
    env: { WSS_MAX_PAYLOAD: "20B", WSS_PATH: "/variable,/other" },
  });
  await using client = await Client.open(`${new URL("/flag", program.url)}`, { ca: program.ca });
  assertEquals(await client.ask("x".repeat(20)), "x".repeat(20));
  client.send("x".repeat(21));
  assertEquals((await client.closed).code, 1009);
});

Deno.test("relative paths in the --config file are relative to its folder", async () => {
  const folder = await makeFolder();
  try {
    await runProgram(["cert", "--folder", "tls"], { folder });
    await Deno.writeTextFile(join(folder, "tls/my.json"), JSON.stringify({ cert: "cert.pem", key: "key.pem" }));
    const args = ["--config", "tls/my.json", "--host", "127.0.0.1"];
    await using program = await startProgram(args, { folder });
    await using client = await Client.open(program.url, { ca: join(folder, "tls/ca.pem") });
    assertEquals(await client.ask("tom"), "ok");
    // With --cert there is no test page.
    const http = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(join(folder, "tls/ca.pem"))] });
    const response = await fetch(program.http(), { client: http });
    assertEquals(response.status, 426);
    await response.body?.cancel();
    http.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const USERS_APP = {
  "my_app.ts": `
    import { defineApp } from "@wss/wss";
    import { greeting } from "./greeting.ts";
    export default defineApp({
      open(peer) { peer.send(greeting); },
      message(peer, message) {
        if (message.text() === "throw") throw new Error("thrown on purpose");
        if (message.text() === "reject") return Promise.reject(new Error("rejected on purpose"));
        peer.send(message.json());
      },
    });`,
  "greeting.ts": `export const greeting: string = "hello";`,
};

Deno.test("serve runs an app module of the user", async (t) => {
  await using program = await startProgram(["--app", "./my_app.ts"], { files: USERS_APP });
  await using other = await Client.open(program.url, { ca: program.ca });
  assertEquals(await other.next(), "hello");

  for (const how of ["throw", "reject"]) {
    await t.step(`a hook that ${how}s closes its own peer with 1011, and the log names the module`, async () => {
      await using client = await Client.open(program.url, { ca: program.ca });
      assertEquals(await client.next(), "hello");
      assertEquals(await client.ask("[1,2]"), "[1,2]");
      client.send(how);
      assertEquals((await client.closed).code, 1011);
      await program.stderr.until(
        new RegExp(`"level":"error".*${how === "throw" ? "thrown" : "rejected"} on purpose.*my_app\\.ts`),
      );
    });
  }

  await t.step("other peers are not affected", async () => assertEquals(await other.ask("1"), "1"));
});

const BAD_APPS: [what: string, content: string, lines: RegExp][] = [
  [
    "without a default export",
    "export const app = {};",
    /^wss: Cannot use the app \.\/app\.ts: it has no default export/,
  ],
  [
    "that exports a number",
    "export default 5;",
    /^wss: Cannot use the app \.\/app\.ts: it is a number; an object of hooks is required/,
  ],
  [
    "without a hook",
    "export default {};",
    /^wss: Cannot use the app \.\/app\.ts: it has none of the hooks upgrade, open/,
  ],
  [
    "with a hook that is not a function",
    "export default { open: 5 };",
    /app\.ts: its open must be a function, not a number$/,
  ],
  ["with a syntax error", "export default {\n  open( ", /^wss: Cannot load the app \.\/app\.ts: [^]*app\.ts:2:\d+$/],
  [
    "that throws",
    "throw new Error('boom');",
    /^wss: Cannot load the app \.\/app\.ts: boom\nwss: +at [^\n]*app\.ts:1:7$/,
  ],
  ["that rejects", "await Promise.reject('boom');", /^wss: Cannot load the app \.\/app\.ts: boom$/],
  [
    "that imports a missing file",
    'import "./gone.ts";',
    /^wss: Cannot load the app \.\/app\.ts: Module not found .*gone\.ts/,
  ],
];

Deno.test("a module that is not an app exits with 1, and the message names it", async (t) => {
  for (const [what, content, lines] of BAD_APPS) {
    await t.step(what, async () => {
      // An empty NO_COLOR permits colours in Deno's messages.
      const { code, stdout, stderr } = await runProgram(["--app", "./app.ts"], {
        files: { "app.ts": content },
        env: { NO_COLOR: "" },
      });
      assertEquals([code, stdout], [1, ""], stderr);
      assertMatch(stderr.trimEnd(), lines);
      assert(!stderr.includes("\x1b") && !/Uncaught|lib\//.test(stderr), stderr);
    });
  }
});

Deno.test({
  name: "the self-check logs the certificate errors of clients, and nothing for a valid certificate",
  ignore: !await hasOpenssl(),
}, async () => {
  await using pki = await openPki();
  const root = await pki.authority("root");
  const middle = await pki.authority("middle", { issuer: root });
  const leaf = await pki.leaf("leaf", { issuer: middle });
  const cert = await pki.bundle("full.pem", leaf.cert, middle.cert, root.cert);
  const files = ["--cert", cert, "--key", leaf.key, "--host", "127.0.0.1"];
  await using program = await startProgram(files);
  // Clients refuse a private root, which the check of the files alone does not report.
  await program.stderr.until(/"level":"warn","message":"self-check: [^\n]*"code":"issuer-untrusted"/);
  // A finding of the certificate files is not logged twice.
  const bare = ["--cert", leaf.cert, "--key", leaf.key, "--host", "127.0.0.1", "--log-level", "debug"];
  await using known = await startProgram(bare);
  await known.stderr.until(/"level":"warn","message":"The chain ends at/);
  await using own = await startProgram(["--log-level", "debug"]);
  await using client = await Client.open(own.url, { ca: own.ca });
  assertEquals(await client.ask("tom"), "ok");
  assert(!(known.stderr.text + own.stderr.text).includes("self-check"), known.stderr.text + own.stderr.text);
});

Deno.test("signals stop the service", async (t) => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    await t.step(`${signal} without clients exits at once with 0`, async () => {
      await using program = await startProgram(["--drain-timeout", "1h"]);
      const { code, stderr } = await program.stop(signal);
      assertEquals(code, 0);
      assertStringIncludes(stderr, `${signal}: stopping`);
      assertMatch(stderr.trimEnd(), /"message":"stopped"\}$/);
    });
  }

  await t.step("a client can finish within the drain timeout", async () => {
    await using program = await startProgram(["--drain-timeout", "1h"]);
    await using client = await Client.open(program.url, { ca: program.ca });
    program.signal("SIGTERM");
    await program.stderr.until(/stopping/);
    assertEquals(await client.ask("tom"), "ok");
    assertEquals((await client.close(1000)).code, 1000);
    assertEquals((await program.ended).code, 0);
  });

  await t.step("a client that does not finish is closed with 1001 after --drain-timeout", async () => {
    await using program = await startProgram(["--drain-timeout", "200ms"]);
    await using client = await Client.open(program.url, { ca: program.ca });
    const { code } = await program.stop();
    assertEquals([code, (await client.closed).code], [0, 1001]);
  });

  for (const [signal, expected] of [["SIGTERM", 143], ["SIGINT", 130]] as const) {
    await t.step(`a second ${signal} exits at once`, async () => {
      await using program = await startProgram(["--drain-timeout", "1h"]);
      const client = await Client.open(program.url, { ca: program.ca });
      program.signal(signal);
      await program.stderr.until(/stopping/);
      assertEquals((await program.stop(signal)).code, expected);
      await client.closed;
    });
  }
});
