import { assertEquals, assertMatch } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { ACCEPT, type Changes, handshake, KEY, rawResponse } from "../support/raw.ts";
import { startProgram } from "../support/program.ts";
import { type Served, serving } from "../support/serving.ts";

const ok = defineApp({ message: (peer) => void peer.send("ok") });

/** The response to one change of the valid request. */
interface RefusedCase {
  readonly what: string;
  readonly change: Changes;
  readonly status: number;
  readonly body: RegExp;
  readonly headers?: Readonly<Record<string, string>>;
}

const REFUSED: readonly RefusedCase[] = [
  {
    what: "POST",
    change: { method: "POST" },
    status: 405,
    body: /^405 Method Not Allowed\nA WebSocket handshake must use GET, not POST\.\n$/,
    headers: { allow: "GET" },
  },
  {
    what: "another path",
    change: { target: "/elsewhere" },
    status: 404,
    body: /^404 Not Found\nThis path is not served\. WebSocket connections are accepted at \/ and \/wss\.\n$/,
  },
  {
    what: "no Upgrade",
    change: { headers: { Upgrade: null } },
    status: 426,
    body: /no Upgrade: websocket\. A proxy may have removed it/,
    headers: { upgrade: "websocket" },
  },
  {
    what: "Connection: keep-alive",
    change: { headers: { Connection: "keep-alive" } },
    status: 400,
    body: /no Connection: Upgrade\. A proxy may have removed it/,
  },
  {
    what: "version 12",
    change: { headers: { "Sec-WebSocket-Version": "12" } },
    status: 426,
    body: /Sec-WebSocket-Version must be 13, but is "12"\./,
    headers: { "sec-websocket-version": "13" },
  },
  {
    what: "no version",
    change: { headers: { "Sec-WebSocket-Version": null } },
    status: 426,
    body: /Sec-WebSocket-Version must be 13, but is missing\./,
    headers: { "sec-websocket-version": "13" },
  },
  {
    what: "a short key",
    change: { headers: { "Sec-WebSocket-Key": "c2hvcnQ=" } },
    status: 400,
    body: /Sec-WebSocket-Key must be 16 bytes in base64, but is "c2hvcnQ="\./,
  },
  {
    what: "no key",
    change: { headers: { "Sec-WebSocket-Key": null } },
    status: 400,
    body: /Sec-WebSocket-Key must be 16 bytes in base64, but is missing\./,
  },
  {
    what: "a subprotocol twice",
    change: { headers: { "Sec-WebSocket-Protocol": "chat, chat" } },
    status: 400,
    body: /Sec-WebSocket-Protocol must be a list of distinct tokens/,
  },
  { what: "no Host", change: { headers: { Host: null } }, status: 400, body: /requires a Host header/ },
  { what: "an empty Host", change: { headers: { Host: "" } }, status: 400, body: /requires a Host header/ },
  {
    what: "a Host with a path",
    change: { headers: { Host: "a/wss" } },
    status: 400,
    body: /A valid Host header is required\./,
  },
  {
    what: "a Host with a user",
    change: { headers: { Host: "a@b" } },
    status: 400,
    body: /A valid Host header is required\./,
  },
  {
    what: "a Host with a space",
    change: { headers: { Host: "a b" } },
    status: 400,
    body: /A valid Host header is required\./,
  },
  {
    what: "a page of another site with cookies",
    change: { headers: { Origin: "https://evil.example", Cookie: "session=1" } },
    status: 403,
    body: /^403 Forbidden\nA page of https:\/\/evil\.example connects to localhost with the user's cookies/,
  },
  {
    what: "a page of another site, of a service on loopback",
    change: { headers: { Origin: "https://evil.example" } },
    status: 403,
    body: /listens on loopback and accepts only pages of this machine/,
  },
  {
    what: "an ordinary request",
    change: {
      headers: { Upgrade: null, Connection: "close", "Sec-WebSocket-Key": null, "Sec-WebSocket-Version": null },
    },
    status: 426,
    body: /This is a WebSocket endpoint\. Connect to it with wss:\/\//,
    headers: { upgrade: "websocket" },
  },
];

async function stillAnswers(served: Served): Promise<void> {
  await using client = await served.connect();
  assertEquals(await client.ask("tom"), "ok");
}

Deno.test("handshake on the wire: a valid one is upgraded, with and without TLS", async () => {
  for (const mode of ["direct", "proxied"] as const) {
    await using served = await serving(ok, { mode });
    const { status, headers } = await rawResponse(served.raw, handshake());
    assertEquals(status, 101);
    assertEquals(headers.get("upgrade")?.toLowerCase(), "websocket");
    assertEquals(headers.get("connection")?.toLowerCase(), "upgrade");
    assertEquals([KEY, headers.get("sec-websocket-accept")], ["dGhlIHNhbXBsZSBub25jZQ==", ACCEPT]);
    assertEquals(headers.has("sec-websocket-protocol"), false);
    assertEquals(headers.has("sec-websocket-extensions"), false);
    // Names and tokens are case-insensitive, and a token may be in a list.
    const spelled = { Upgrade: "TLS/1.2,WebSocket", Connection: "keep-alive, UPGRADE" };
    assertEquals((await rawResponse(served.raw, handshake({ target: "/wss?x=1", headers: spelled }))).status, 101);
  }
});

Deno.test("handshake on the wire: each invalid change is refused with its status, reason and headers", async () => {
  await using served = await serving(ok);
  for (const { what, change, status, body, headers = {} } of REFUSED) {
    const response = await rawResponse(served.raw, handshake(change));
    assertEquals(response.status, status, what);
    assertMatch(response.body, body, what);
    for (const [name, value] of Object.entries(headers)) assertEquals(response.headers.get(name), value, what);
    assertEquals(response.headers.get("content-type"), "text/plain; charset=utf-8", what);
    assertEquals(response.headers.get("x-content-type-options"), "nosniff", what);
  }
  // Deno itself refuses this request before it calls a handler.
  assertEquals((await rawResponse(served.raw, handshake({ headers: { "Content-Length": "3" } }))).status, 400);
  assertEquals(served.service.peers.size, 0);
  await stillAnswers(served);
});

Deno.test("handshake on the wire: 503 with Retry-After beyond a connection limit, until another connection closes", async () => {
  const gone = Promise.withResolvers<void>();
  const app = { ...ok, close: () => gone.resolve() };
  await using served = await serving(app, { maxConnections: 2, maxConnectionsPerAddress: 1 });
  const first = await served.connect();
  const refused = await rawResponse(served.raw, handshake());
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "10"]);
  assertMatch(refused.body, /Connection limit of one client address reached \(1\)\./);
  await first.close();
  await gone.promise;
  await stillAnswers(served);
});

Deno.test("handshake on the wire: a draining service refuses with 503, and its health check reports draining", async () => {
  await using served = await serving(ok, { drainTimeout: "30s" });
  const client = await served.connect();
  // A connection from before the drain, because the accept loop then ends and accepts no new ones.
  const conn = await Deno.connectTls({ hostname: "localhost", port: served.raw.port, caCerts: [served.raw.ca!] });
  const ask = async (request: string) => {
    await conn.write(new TextEncoder().encode(request));
    const buffer = new Uint8Array(4096);
    let text = "";
    while (!/\r\n\r\n[^]*\n?$/.test(text) || !/\}$|\.\n$/.test(text)) {
      const read = await conn.read(buffer);
      if (read === null) throw new Error("the connection was closed");
      text += new TextDecoder().decode(buffer.subarray(0, read));
    }
    return text;
  };
  assertMatch(
    await ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    /^HTTP\/1\.1 200 [^]*\{"status":"ok","peers":1\}$/,
  );
  const stopped = served.service.stop();
  assertMatch(
    await ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    /^HTTP\/1\.1 503 [^]*\{"status":"draining","peers":1\}$/,
  );
  const refused = await ask(handshake());
  assertMatch(refused, /^HTTP\/1\.1 503 /);
  assertMatch(refused, /retry-after: 1\r\n/i);
  assertMatch(refused, /The service is stopping\. Try again\.\n$/);
  conn.close();
  await client.close();
  await stopped;
});

Deno.test("handshake on the wire: h2c in any Upgrade line is refused, and the process survives", async () => {
  for (const mode of ["direct", "proxied"] as const) {
    await using served = await serving(ok, { mode });
    for (const version of ["HTTP/1.1", "HTTP/1.0"]) {
      for (
        const upgrade of [
          "h2c\r\nUpgrade: websocket",
          "H2C\r\nupgrade:WebSocket",
          "websocket, h2c",
          "a,h2c\r\nUpgrade: websocket",
        ]
      ) {
        const { status, body } = await rawResponse(served.raw, handshake({ version, headers: { Upgrade: upgrade } }));
        assertEquals(status, 400, upgrade);
        assertMatch(body, /Upgrade must offer websocket without h2c, but is "/, upgrade);
      }
    }
    // Without Sec-WebSocket-Key this is an ordinary request, as curl --http2 sends it.
    const plain = {
      Upgrade: "h2c",
      Connection: "Upgrade, HTTP2-Settings",
      "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA",
    };
    const none = { "Sec-WebSocket-Key": null, "Sec-WebSocket-Version": null };
    assertEquals((await rawResponse(served.raw, handshake({ headers: { ...plain, ...none } }))).status, 426);
    await stillAnswers(served);
  }
});

Deno.test("handshake on the wire: a subprotocol is chosen from every list format of RFC 9110", async () => {
  const token = "correct-horse-battery-staple-0123456789";
  await using served = await serving(ok, async (folder) => {
    await Deno.writeTextFile(`${folder}/tokens`, token);
    return { authTokenFile: `${folder}/tokens` };
  });
  for (
    const list of [
      `wss.v1, bearer.${token}`,
      `wss.v1,bearer.${token}`,
      `bearer.${token},wss.v1`,
      `wss.v1\t,\tbearer.${token}`,
      `wss.v1,,bearer.${token},`,
      `wss.v1\r\nSec-WebSocket-Protocol: bearer.${token}`,
      `other,wss.v1\r\nSec-WebSocket-Protocol:bearer.${token}`,
    ]
  ) {
    const { status, headers } = await rawResponse(
      served.raw,
      handshake({ headers: { "Sec-WebSocket-Protocol": list } }),
    );
    assertEquals([status, headers.get("sec-websocket-protocol")], [101, "wss.v1"], list);
  }
});

Deno.test("handshake on the wire: Sec-WebSocket-Accept is computed from the key as received, even with nonzero unused bits", async () => {
  await using served = await serving(ok, { mode: "proxied" });
  const key = "AQIDBAUGBwgJCgsMDQ4PEC==";
  const { status, headers } = await rawResponse(served.raw, handshake({ headers: { "Sec-WebSocket-Key": key } }));
  const guid = new TextEncoder().encode(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
  const accept = new Uint8Array(await crypto.subtle.digest("SHA-1", guid)).toBase64();
  assertEquals([status, headers.get("sec-websocket-accept")], [101, accept]);
});

Deno.test("path patterns on the wire: each path has its own namespace", async () => {
  const app = defineApp({
    open: (peer) => peer.subscribe("news"),
    message(peer, message) {
      peer.send(peer.namespace);
      peer.publish("news", message.text());
    },
  });
  await using served = await serving(app, { mode: "proxied", path: ["/wss", "/rooms/:id", "/files/*"] });
  await using a = await served.connect({ path: "/rooms/a" });
  await using a2 = await served.connect({ path: "/rooms/a?token=1" });
  await using b = await served.connect({ path: "/rooms/b" });
  await using deep = await served.connect({ path: "/files/a/b.txt" });
  assertEquals([await a.ask("in a"), await deep.ask("in deep"), await b.ask("in b")], [
    "/rooms/a",
    "/files/a/b.txt",
    "/rooms/b",
  ]);
  assertEquals([await a2.next(), await a2.ask("x")], ["in a", "/rooms/a"]);
  assertEquals(await a.next(), "x");
  const { status, body } = await rawResponse(served.raw, handshake({ target: "/rooms/a/b" }));
  assertEquals(status, 404);
  assertMatch(body, /WebSocket connections are accepted at \/wss and \/rooms\/:id and \/files\/\*\./);
});

Deno.test("an untrusted proxy's forwarding headers are logged once per address", async () => {
  await using served = await serving(ok, { mode: "proxied", trustedProxy: ["192.0.2.1"] });
  for (let time = 0; time < 3; time++) {
    await rawResponse(served.raw, handshake({ headers: { "X-Forwarded-For": `192.0.2.${time + 7}` } }));
  }
  assertEquals(served.logged("sends X-Forwarded-For").map(({ level, message }) => [level, message]), [[
    "warn",
    "127.0.0.1 sends X-Forwarded-For, which is ignored; add --trusted-proxy 127.0.0.1 if it is your proxy",
  ]]);
});

Deno.test("two proxies in a row: the refusal explains how the inner proxy forwards the outer proxy's header", async () => {
  await using served = await serving(ok, { mode: "proxied" });
  const { status, body } = await rawResponse(served.raw, handshake({ headers: { "X-Forwarded-Proto": "http" } }));
  assertEquals(status, 426);
  assertMatch(
    body,
    /client connected without TLS \(X-Forwarded-Proto: http\)\. Connect to the proxy with wss:\/\/\. If an outer proxy terminates TLS/,
  );
  const passed = { "X-Forwarded-Proto": "https" };
  assertEquals((await rawResponse(served.raw, handshake({ headers: passed }))).status, 101);
});

Deno.test("the development service accepts only localhost names and IP addresses as Host", async () => {
  await using program = await startProgram();
  const target = { port: program.port, ca: await Deno.readTextFile(program.ca) };
  const ask = (host: string, headers: Record<string, string | null> = {}) =>
    rawResponse(target, handshake({ headers: { Host: host, ...headers } }));
  for (const host of ["localhost", `localhost:${program.port}`, "127.0.0.1", "[::1]:8282", "app.localhost"]) {
    assertEquals((await ask(host)).status, 101, host);
  }
  for (const host of ["evil.example", `evil.example:${program.port}`, "localhost.evil.example"]) {
    const { status, body } = await ask(host, { Origin: `https://${host}` });
    assertEquals(status, 421, host);
    assertMatch(
      body,
      /This development service accepts localhost and IP addresses as Host, not .*, to prevent DNS rebinding\./,
    );
    const plain = { Upgrade: null, "Sec-WebSocket-Key": null };
    assertEquals((await ask(host, plain)).status, 421, host);
  }
});
