import { assertEquals, assertMatch } from "@std/assert";
import { verifyHandshake } from "../../lib/handshake/verify_handshake.ts";
import { VALID } from "../support/raw.ts";

/** Returns the verdict on the valid request with changed headers. A header whose value is null is omitted. */
function judge(change: { readonly [name: string]: string | null | undefined } = {}, method = "GET") {
  const headers = new Headers();
  for (const [name, value] of Object.entries({ ...VALID, ...change })) {
    if (typeof value === "string") headers.set(name, value);
  }
  return verifyHandshake(method, headers);
}

Deno.test("handshake: accepts the valid request and its permitted variations", () => {
  const accepted = { kind: "upgrade", offered: [] };
  assertEquals(judge(), accepted);
  for (
    const change of [
      { Upgrade: "WebSocket" },
      { Upgrade: "TLS/1.2, websocket" },
      { Upgrade: ", websocket,WEBSOCKET" },
      { Connection: "keep-alive, upgrade" },
      { Connection: "UPGRADE" },
      { "Content-Length": "0" },
      { "Sec-WebSocket-Extensions": "permessage-deflate" },
      { "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==" },
      { "Sec-WebSocket-Key": "/+/+/+/+/+/+/+/+/+/+/w==" },
      // The unused bits of the base64 are not zero, as in RFC 6455's example in section 4.1.
      { "Sec-WebSocket-Key": "AQIDBAUGBwgJCgsMDQ4PEC==" },
      { "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZR==" },
      { Host: "example.com:8282" },
    ]
  ) assertEquals(judge(change), accepted, JSON.stringify(change));
  assertEquals(judge({ "Sec-WebSocket-Protocol": "b, a" }), { kind: "upgrade", offered: ["b", "a"] });
  // Every form of a list: without spaces, with tabs, with empty elements. Several header lines arrive joined.
  for (const list of ["b,a", "b\t,\ta", "b, a,", ",b,,a", "b , a"]) {
    assertEquals(judge({ "Sec-WebSocket-Protocol": list }), { kind: "upgrade", offered: ["b", "a"] }, list);
  }
});

Deno.test("handshake: treats a request without Upgrade and key as an ordinary request, with any method", () => {
  for (const method of ["GET", "HEAD", "POST"]) {
    assertEquals(judge({ Upgrade: null, "Sec-WebSocket-Key": null }, method), { kind: "plain" });
    assertEquals(judge({ Upgrade: "h2c", "Sec-WebSocket-Key": null }, method), { kind: "plain" });
  }
});

Deno.test("handshake: each invalid change is refused with its status, reason and headers", () => {
  const upgrade = { upgrade: "websocket", connection: "Upgrade" };
  const version = { "sec-websocket-version": "13", ...upgrade };
  const key = /^Sec-WebSocket-Key must be 16 bytes in base64, but is /;
  const list = /^Sec-WebSocket-Protocol must be a list of distinct tokens/;
  for (
    const [change, status, reason, headers] of [
      [{ Upgrade: null }, 426, /but no Upgrade: websocket\. A proxy may have removed it: nginx needs/, upgrade],
      [{ Upgrade: "websockets" }, 426, /but no Upgrade: websocket\./, upgrade],
      [{ Upgrade: "websocket/13" }, 426, /but no Upgrade: websocket\./, upgrade],
      [
        { Upgrade: "h2c, websocket" },
        400,
        /^Upgrade must offer websocket without h2c, but is "h2c, websocket"\.$/,
        undefined,
      ],
      [{ Upgrade: "websocket,H2C" }, 400, /^Upgrade must offer websocket without h2c/, undefined],
      [{ Upgrade: null, Connection: null, Host: null }, 400, /^The request came over HTTP\/2, /, undefined],
      [{ Connection: null }, 400, /but no Connection: Upgrade\. A proxy may have removed it/, undefined],
      [{ Connection: "close" }, 400, /but no Connection: Upgrade\./, undefined],
      [{ Connection: "not-upgrade" }, 400, /but no Connection: Upgrade\./, undefined],
      [{ Host: null }, 400, /requires a Host header \(RFC 6455, section 4\.2\.1\)/, undefined],
      [{ "Sec-WebSocket-Version": null }, 426, /^Sec-WebSocket-Version must be 13, but is missing\.$/, version],
      [{ "Sec-WebSocket-Version": "8" }, 426, /^Sec-WebSocket-Version must be 13, but is "8"\.$/, version],
      [{ "Sec-WebSocket-Version": "13, 8" }, 426, /but is "13, 8"\.$/, version],
      [{ "Sec-WebSocket-Version": "013" }, 426, /but is "013"\.$/, version],
      [{ "Sec-WebSocket-Key": null }, 400, key, undefined],
      [{ "Sec-WebSocket-Key": "" }, 400, key, undefined],
      [{ "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ" }, 400, key, undefined],
      [{ "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQAA" }, 400, key, undefined],
      [{ "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ== " + "x".repeat(500) }, 400, /but is ".{64}"\.$/, undefined],
      [{ "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j-_==" }, 400, key, undefined],
      [{ "Content-Length": "1" }, 400, /^A WebSocket handshake must not have a body\.$/, undefined],
      [{ "Content-Length": "none" }, 400, /^A WebSocket handshake must not have a body\.$/, undefined],
      [{ "Transfer-Encoding": "chunked" }, 400, /^A WebSocket handshake must not have a body\.$/, undefined],
      [{ "Sec-WebSocket-Protocol": "" }, 400, list, undefined],
      [{ "Sec-WebSocket-Protocol": " , " }, 400, list, undefined],
      [{ "Sec-WebSocket-Protocol": "a, a" }, 400, list, undefined],
      [{ "Sec-WebSocket-Protocol": "a b" }, 400, list, undefined],
    ] as const
  ) {
    const verdict = judge(change);
    const shown = JSON.stringify(change);
    if (verdict.kind !== "refuse") throw new Error(`${shown} is ${verdict.kind}`);
    assertEquals(verdict.refusal.status, status, shown);
    assertMatch(verdict.refusal.reason, reason, shown);
    assertEquals(verdict.refusal.headers, headers, shown);
  }
  for (const method of ["POST", "HEAD", "PUT", "CONNECT", "get"]) {
    assertEquals(judge({}, method), {
      kind: "refuse",
      refusal: { status: 405, reason: `A WebSocket handshake must use GET, not ${method}.`, headers: { allow: "GET" } },
    });
  }
});
