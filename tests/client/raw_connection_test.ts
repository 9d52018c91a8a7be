/** The TCP and TLS connections of the client. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { connectTcp, connectTls } from "../../lib/client/raw_connection.ts";
import { DeadlineError, within } from "../../lib/client/deadline.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { echoService, firewalledPort, listenOnly, rawServer } from "../check/test_servers.ts";
import { identityOf, makeAuthorities } from "../check/expect.ts";

const forever = new AbortController().signal;

Deno.test("a paused reader blocks the writer, and loses no bytes", async () => {
  const total = 100_000_000;
  let sent = 0;
  await using server = rawServer(async (connection) => {
    const block = new Uint8Array(100_000);
    while (sent < total) sent += await connection.write(block.subarray(0, Math.min(block.length, total - sent)));
  });
  await using connection = await connectTcp({ hostname: "127.0.0.1", port: server.port }, forever);
  // The writer stops when the buffers of the kernel and of the connection are full.
  let before = -1;
  while (sent !== before || sent === 0) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  assert(sent < total / 2, `${sent} bytes were accepted without a reader`);
  let received = 0;
  for (let chunk = await connection.read(forever); chunk; chunk = await connection.read(forever)) {
    received += chunk.length;
  }
  assertEquals(received, total);
});

Deno.test("connection attempts and reads end when their signal aborts", async () => {
  await using dropped = await firewalledPort();
  await assertRejects(
    () => within(100, forever, (signal) => connectTcp({ hostname: "127.0.0.1", port: dropped.port }, signal)),
    DeadlineError,
  );
  await using silent = rawServer(listenOnly);
  const endpoint = { hostname: "127.0.0.1", port: silent.port };
  await assertRejects(() => within(100, forever, (signal) => connectTls(endpoint, {}, signal)), DeadlineError);
  await using connection = await connectTcp(endpoint, forever);
  await assertRejects(() => within(100, forever, (signal) => connection.read(signal)), DeadlineError);
});

Deno.test({
  name: "a TLS connection on this Deno reports its chain, its trust and its resumption",
  ignore: !await hasOpenssl(),
}, async () => {
  await using pki = await openPki();
  const { sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService({ identity: await identityOf(full, sound.key) });
  const endpoint = { hostname: "127.0.0.1", port: echo.port };
  const show = async (options: Parameters<typeof connectTls>[1]) => {
    await using connection = await connectTls(endpoint, { serverName: "localhost", ...options }, forever);
    // Receives the session tickets that follow the handshake.
    await within(1_000, forever, (signal) => connection.read(signal)).catch(() => {});
    const { chain, verifyError, resumed, session } = connection;
    return { length: chain.length, trusted: verifyError === undefined, resumed, session };
  };
  const first = await show({});
  assertEquals([first.length, first.trusted, first.resumed], [2, false, false]);
  const { session } = first;
  assertEquals((await show({ ...session && { session } })).resumed, true);
  // With an authority, the chain also contains the root, which the server did not send.
  const judged = await show({ ca });
  assertEquals([judged.length, judged.trusted], [3, true]);
  // Without an authority, the chain is the one that the server sent, and no session is resumed.
  const fresh = await show({ ca: [] });
  assertEquals([fresh.length, fresh.trusted, fresh.resumed], [2, false, false]);
  // With `verify`, the name and the authority must match.
  await assertRejects(() => show({ verify: true }));
  await assertRejects(() => show({ verify: true, ca, serverName: "other.example" }));
  assertEquals((await show({ verify: true, ca })).trusted, true);
});
