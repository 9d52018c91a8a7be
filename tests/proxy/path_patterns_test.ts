/** Path patterns and unusual handshakes through each proxy with a generated configuration. */
import { assertEquals, assertMatch } from "@std/assert";
import { ask } from "../support/raw.ts";
import { KINDS, openGeneratedProxies } from "./generated_proxies.ts";
import { startUpstream } from "./upstream.ts";
import { connect } from "./ws_client.ts";

const PATHS = ["/wss", "/rooms/:id", "/files/*"];
const HANDSHAKE = [
  "Connection: Upgrade",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/** Caddy answers 200 without a body if the service accepts another protocol than the client's first. */
const ANSWER = /^HTTP\/1\.[01] (?:101|200|4\d\d) /;

for (const kind of KINDS) {
  Deno.test(`${kind}: forwards paths that match a pattern, and no other path`, async () => {
    await using proxies = await openGeneratedProxies(kind);
    if (proxies === undefined) return;
    await using upstream = await startUpstream({ path: PATHS });
    await using proxy = await proxies.start(
      kind,
      ...PATHS.flatMap((path) => ["--path", path]),
      "--upstream",
      upstream.address,
    );
    const { ca } = proxies;
    const { port } = proxy;
    for (const path of ["/wss", "/rooms/a", "/rooms/a%20b?x=1", "/rooms/%C3%A4", "/files/a/b.txt", "/files/"]) {
      const client = await connect({ ca, port, path });
      client.send("tom");
      assertEquals(await client.next(), "ok", path);
      const { url } = upstream.seen.at(-1)!;
      assertEquals(url.pathname + url.search, path);
      await client.close();
    }
    const seen = upstream.seen.length;
    for (const path of ["/", "/rooms/", "/rooms/a/b", "/rooms", "/files", "/wss/a", "/other"]) {
      const lines = [`GET ${path} HTTP/1.1`, `Host: localhost:${port}`, "Upgrade: websocket", ...HANDSHAKE];
      assertMatch(await ask({ port, ca, hostname: "::1" }, [...lines, "", ""].join("\r\n")), /^HTTP\/1\.1 404 /, path);
    }
    assertEquals(upstream.seen.length, seen);
  });

  Deno.test(`${kind}: answers an Upgrade list with h2c and keeps serving`, async () => {
    await using proxies = await openGeneratedProxies(kind);
    if (proxies === undefined) return;
    await using upstream = await startUpstream();
    await using proxy = await proxies.start(kind, "--upstream", upstream.address);
    const { ca } = proxies;
    const { port } = proxy;
    for (const version of ["HTTP/1.1", "HTTP/1.0"]) {
      for (
        const upgrade of [
          ["Upgrade: h2c", "Upgrade: websocket"],
          ["Upgrade: websocket", "Upgrade: h2c"],
          ["Upgrade: h2c, websocket"],
          ["Upgrade: TLS/1.2, websocket"],
          ["Upgrade: h2c"],
        ]
      ) {
        const lines = [`GET /wss ${version}`, `Host: localhost:${port}`, ...upgrade, ...HANDSHAKE];
        const answer = await ask({ port, ca, hostname: "::1" }, [...lines, "", ""].join("\r\n"));
        // HAProxy forwards only websocket.
        const upgraded = kind === "haproxy" && upgrade.join().includes("websocket");
        assertMatch(answer, upgraded ? /^HTTP\/1\.[01] 101 / : ANSWER, lines.join("\n"));
      }
    }
    const client = await connect({ ca, port });
    client.send("tom");
    assertEquals(await client.next(), "ok");
    await client.close();
  });
}
