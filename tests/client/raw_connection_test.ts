/** The probes' own connections. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { connectTcp, connectTls } from "../../lib/client/raw_connection.ts";
import { DeadlineError, within } from "../../lib/client/deadline.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { echoService, firewalledPort, listenOnly, rawServer } from "../check/test_servers.ts";
import { identityOf, makeAuthorities } from "../check/expect.ts";

const forever = new AbortController().signal;

Deno.test("a reader that does not read makes the writer wait, and loses nothing", async () => {
  const total = 100_000_000;
  let sent = 0;
  await using server = rawServer(async (connection) => {
    const block = new Uint8Array(100_000);
    while (sent < total) sent += await connection.write(block.subarray(0, Math.min(block.length, total - sent)));
  });
  await using connection = await connectTcp({ hostname: "127.0.0.1", port: server.port }, forever);
  // The writer stands still once the kernel's buffers and ours are full.
  let before = -1;
  while (sent !== before || sent === 0) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  assert(sent < total / 2, `${sent} bytes were taken without a reader`);
  let received = 0;
  for (let chunk = await connection.read(forever); chunk; chunk = await connection.read(forever)) {
    received += chunk.length;
  }
  assertEquals(received, total);
});

Deno.test("a connection attempt and a read end with their signal", async () => {
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

Deno.test({ name: "what a TLS connection shows, on this Deno", ignore: !await hasOpenssl() }, async () => {
  await using pki = await openPki();
  const { sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService({ identity: await identityOf(full, sound.key) });
  const endpoint = { hostname: "127.0.0.1", port: echo.port };
  const show = async (options: Parameters<typeof connectTls>[1]) => {
    await using connection = await connectTls(endpoint, { serverName: "localhost", ...options }, forever);
    // Takes in the tickets that come behind the handshake.
    await within(100, forever, (signal) => connection.read(signal)).catch(() => {});
    const { chain, verifyError, resumed, session } = connection;
    return { length: chain.length, trusted: verifyError === undefined, resumed, session };
  };
  const first = await show({});
  assertEquals([first.length, first.trusted, first.resumed], [2, false, false]);
  const { session } = first;
  assertEquals((await show({ ...session && { session } })).resumed, true);
  // With an authority the root is added to what was sent.
  const judged = await show({ ca });
  assertEquals([judged.length, judged.trusted], [3, true]);
  // Without any authority nothing is added, and nothing resumed.
  const fresh = await show({ ca: [] });
  assertEquals([fresh.length, fresh.trusted, fresh.resumed], [2, false, false]);
  // Verified, the name and the authority count.
  await assertRejects(() => show({ verify: true }));
  await assertRejects(() => show({ verify: true, ca, serverName: "other.example" }));
  assertEquals((await show({ verify: true, ca })).trusted, true);
});
