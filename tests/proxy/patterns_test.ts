/** Path patterns and odd handshakes through each proxy, with the configuration that the command generates. */
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

/** Caddy answers 200 without a body where the service accepts another protocol than the client's first. */
const ANSWER = /^HTTP\/1\.[01] (?:101|200|4\d\d) /;

for (const kind of KINDS) {
  Deno.test(`${kind}: path patterns reach the service, and no other path does`, async () => {
    await using stage = await openGeneratedProxies(kind);
    if (stage === undefined) return;
    await using upstream = await startUpstream({ path: PATHS });
    await using proxy = await stage.start(
      kind,
      ...PATHS.flatMap((path) => ["--path", path]),
      "--upstream",
      upstream.address,
    );
    const { ca } = stage;
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

  Deno.test(`${kind}: an Upgrade list with h2c ends nothing`, async () => {
    await using stage = await openGeneratedProxies(kind);
    if (stage === undefined) return;
    await using upstream = await startUpstream();
    await using proxy = await stage.start(kind, "--upstream", upstream.address);
    const { ca } = stage;
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
        // HAProxy passes websocket on alone.
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
