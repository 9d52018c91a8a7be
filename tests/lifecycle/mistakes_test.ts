/** An app that throws or returns invalid values: the fault affects its own client only. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Client } from "../support/client.ts";
import { type Program, startProgram } from "../support/program.ts";
import { ask, handshake, rawResponse, request } from "../support/raw.ts";
import { HeldClients } from "../support/client_load.ts";
import { until } from "../support/until.ts";

const APP = `
const nonsense = {
  throws() { throw new Error("thrown on purpose"); },
  "throws nothing": () => { throw undefined; },
  rejects: () => Promise.reject(new Error("rejected on purpose")),
  number: () => 5,
  text: () => "no",
  false: () => false,
  "response error": () => Response.error(),
  "used body": async () => { const r = new Response("x", { status: 403 }); await r.text(); return r; },
  "bad header": () => ({ headers: { "a b": "c" } }),
  "headers is a number": () => ({ headers: 5 }),
  "wrong protocol": () => ({ protocol: "never-offered" }),
  "protocol is a number": () => ({ protocol: 5 }),
  "protocol throws": () => ({ get protocol() { throw new Error("getter"); } }),
  "inside the context throws": () => ({ context: { get user() { throw new Error("getter"); } } }),
  "context throws": () => ({ get context() { throw new Error("getter"); } }),
  "context is a number": () => ({ context: 5 }),
  "context is frozen": () => ({ context: Object.freeze({}) }),
  "connection header": () => ({ headers: { connection: "close", upgrade: "h2c", "content-length": "5" } }),
  "transfer header": () => ({ headers: { "transfer-encoding": "chunked" } }),
  "upgrades itself, throws": (request) => { Deno.upgradeWebSocket(request); throw new Error("after the upgrade"); },
  "upgrades itself": (request) => { Deno.upgradeWebSocket(request); },
  "upgrades itself, returns another": (request) => { Deno.upgradeWebSocket(request); return new Response("no", { status: 403 }); },
};
const hooks = {
  "open throws": { open() { throw new Error("open"); } },
  "open rejects": { open: () => Promise.reject(new Error("open")) },
  "message throws": { message() { throw new Error("message"); } },
  "message rejects": { message: () => Promise.reject(undefined) },
  "close throws": { close() { throw new Error("close"); } },
};
const of = (peer) => hooks[peer.request.headers.get("x-do")] ?? {};
export default {
  upgrade(request) { return nonsense[request.headers.get("x-do")]?.(request); },
  open(peer) { return of(peer).open?.(); },
  message(peer, message) { return of(peer).message ? of(peer).message() : void peer.send(message.rawData); },
  close(peer) { return of(peer).close?.(); },
  error() { throw new Error("even the error hook"); },
};
`;

/** Asserts that the service is healthy: it serves new clients and the held ones. */
async function isWell(program: Program, held: HeldClients): Promise<void> {
  const ca = await Deno.readTextFile(program.ca);
  assertMatch(await ask({ port: program.port, ca }, request("/healthz")), /^HTTP\/1\.1 200/);
  await using client = await Client.open(program.url, { ca: program.ca });
  assertEquals(await client.ask("new"), "new");
  const before = held.echoes;
  await until(() => held.echoes >= before + 5);
}

const MISTAKES = [
  ...["throws", "throws nothing", "rejects", "number", "text", "false", "response error", "used body", "bad header"],
  ...["headers is a number", "wrong protocol", "protocol is a number", "protocol throws", "context throws"],
  ...["context is a number", "inside the context throws"],
];

Deno.test("an upgrade hook that throws or returns nonsense: 500, a logged error, and a working listener", async (t) => {
  // With a limit this low, a connection slot that is not released makes later handshakes fail.
  await using program = await startProgram(["--app", "./app.js", "--max-connections", "4"], {
    files: { "app.js": APP },
  });
  const ca = await Deno.readTextFile(program.ca);
  await using held = await HeldClients.open(2, program.url, { ca: program.ca });
  for (const name of MISTAKES) {
    await t.step(name, async () => {
      for (let round = 0; round < 3; round++) {
        const from = program.stderr.text.length;
        assertMatch(await ask({ port: program.port, ca }, handshake({ headers: { "X-Do": name } })), /^HTTP\/1\.1 500/);
        await program.stderr.until(/"level":"error"/, from);
      }
      await isWell(program, held);
    });
  }
  for (const name of ["context is frozen", "connection header", "transfer header"]) {
    await t.step(`${name}: served anyway`, async () => {
      await using client = await Client.open(program.url, { ca: program.ca, headers: { "x-do": name } });
      assertEquals(await client.ask("hello"), "hello");
      await isWell(program, held);
    });
  }
  await held.settle();
  assertEquals(program.stderr.text.includes("no longer accepts"), false, program.stderr.text);
  assert(!/^\s+at /m.test(program.stderr.text), program.stderr.text);
});

Deno.test("Deno.upgradeWebSocket in an upgrade hook has no effect: the hook gets a copy of the request", async (t) => {
  await using program = await startProgram(["--app", "./app.js"], { files: { "app.js": APP } });
  const ca = await Deno.readTextFile(program.ca);
  await using held = await HeldClients.open(5, program.url, { ca: program.ca });
  for (
    const [name, expected] of [
      ["upgrades itself, throws", 500],
      ["upgrades itself", 101],
      ["upgrades itself, returns another", 403],
    ] as const
  ) {
    await t.step(name, async () => {
      const { status } = await rawResponse({ port: program.port, ca }, handshake({ headers: { "X-Do": name } }));
      assertEquals(status, expected);
      await isWell(program, held);
    });
  }
  assertEquals(/accept loop on .* ended|uncaught error/.test(program.stderr.text), false);
  await held.settle();
});

Deno.test("a hook that throws or rejects: its peer is closed with 1011, and other peers are unaffected", async (t) => {
  await using program = await startProgram(["--app", "./app.js"], { files: { "app.js": APP } });
  await using held = await HeldClients.open(5, program.url, { ca: program.ca });
  for (const name of ["open throws", "open rejects", "message throws", "message rejects", "close throws"]) {
    await t.step(name, async () => {
      const from = program.stderr.text.length;
      const client = await Client.open(program.url, { ca: program.ca, headers: { "x-do": name } });
      if (name.startsWith("message")) client.send("hello");
      const { code } = name.startsWith("close") ? await client.close() : await client.closed;
      assertEquals(code, name.startsWith("close") ? 1000 : 1011);
      await program.stderr.until(/a hook of the app threw/, from);
      await program.stderr.until(/the app's error hook threw.*even the error hook/, from);
      await isWell(program, held);
    });
  }
  await held.settle();
});
