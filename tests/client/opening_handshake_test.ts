/** The opening handshake: its request, its response and the verification. */
import { assert, assertEquals } from "@std/assert";
import { encodeRequest, latin1Text, readBody, readHead } from "../../lib/client/opening_handshake.ts";
import { connectTcp } from "../../lib/client/raw_connection.ts";
import { bodyText, quote } from "../../lib/client/printable_text.ts";
import { verifyResponse } from "../../lib/client/verify_response.ts";
import { rawServer, writeAll } from "../check/test_servers.ts";

const forever = new AbortController().signal;
// RFC 6455 section 1.3.
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const REQUEST = { url: new URL("wss://domain.example:8443/a%20b?c=d"), subprotocols: ["a", "b"] };

/** Reads a response that arrives in the given pieces. */
async function read(...pieces: string[]) {
  await using server = rawServer(async (connection) => {
    for (const piece of pieces) {
      await writeAll(connection, piece);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
  await using connection = await connectTcp({ hostname: "127.0.0.1", port: server.port }, forever);
  const head = await readHead(connection, forever);
  return { head, body: "status" in head ? await readBody(connection, head, AbortSignal.timeout(5000)) : undefined };
}

Deno.test("encodes the request, in which a given header replaces a default one", () => {
  const text = (more: object = {}) => latin1Text(encodeRequest({ ...REQUEST, ...more }, KEY));
  assertEquals(
    text({ origin: "https://page.example" }),
    `GET /a%20b?c=d HTTP/1.1\r\nHost: domain.example:8443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\nOrigin: https://page.example\r\n` +
      `Sec-WebSocket-Protocol: a, b\r\n\r\n`,
  );
  const replaced = text({ headers: [["HOST", "other"], ["X-More", "1"]] });
  assert(replaced.includes("\r\nHOST: other\r\nX-More: 1\r\n") && !replaced.includes("domain.example"), replaced);
});

Deno.test("skips interim responses, however they are split", async () => {
  const { head } = await read(
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 10",
    "3 Early Hints\r\nLink: x\r\n",
    "\r\nHTTP/1.1 101 X\r\nA: 1\r\na: 2\r\n\r\nrest",
  );
  if (!("status" in head)) throw new Error(`no head: ${head.kind}`);
  assertEquals([head.status, head.headers.get("a"), head.headers.has("link")], [101, ["1", "2"], false]);
  assertEquals(latin1Text(head.rest), "rest");
});

Deno.test("reports a missing response, and bytes that are not HTTP", async () => {
  const cases: [pieces: string[], kind: string][] = [
    [[], "closed"],
    [["SSH-2.0-x\r\n"], "not-http"],
    [["HTTP/1.1 101 Swit"], "not-http"],
    [["HTTP/1.1 abc\r\n\r\n"], "not-http"],
    [["HTTP/1.1 200 OK\r\nno colon\r\n\r\n"], "not-http"],
    [["HTTP/1.1 103 Early Hints\r\n\r\n"], "closed"],
  ];
  for (const [pieces, kind] of cases) {
    const { head } = await read(...pieces);
    assertEquals("kind" in head && head.kind, kind, JSON.stringify(pieces));
  }
});

Deno.test("reads a body by its length, until the connection closes, or in chunks", async () => {
  assertEquals((await read("HTTP/1.1 403 X\r\nContent-Length: 5\r\n\r\nwhy", " not")).body, "why n");
  assertEquals((await read("HTTP/1.1 403 X\r\n\r\nuntil", " the end")).body, "until the end");
  const chunked = "HTTP/1.1 403 X\r\nTransfer-Encoding: chunked\r\n\r\n";
  assertEquals((await read(chunked, "4\r\nwhy \r\n", "3;x=y\r\nnot\r\n0\r\n\r\n")).body, "why not");
});

Deno.test("refuses an invalid 101 response", async () => {
  const right = { upgrade: "websocket", connection: "Upgrade", "sec-websocket-accept": ACCEPT };
  const cases: [changed: Record<string, string | undefined>, problems: string[]][] = [
    [{}, []],
    [{ upgrade: "WebSocket", connection: "keep-alive, upgrade" }, []],
    [{ upgrade: undefined }, ["response"]],
    [{ connection: "close" }, ["response"]],
    [{ "sec-websocket-accept": undefined }, ["response"]],
    [{ "sec-websocket-accept": KEY }, ["response"]],
    [{ "sec-websocket-protocol": "b" }, []],
    [{ "sec-websocket-protocol": "c" }, ["subprotocol"]],
    [{ "sec-websocket-extensions": "permessage-deflate" }, ["extension"]],
    [{ upgrade: "h2c", "sec-websocket-protocol": "c" }, ["response", "subprotocol"]],
  ];
  for (const [changed, kinds] of cases) {
    const headers = Object.entries({ ...right, ...changed }).flatMap(([name, value]) => {
      return value === undefined ? [] : [[name, [value]] as const];
    });
    const head = { version: "HTTP/1.1", status: 101, headers: new Map(headers), rest: new Uint8Array(0) };
    const { problems, subprotocol } = await verifyResponse(REQUEST, head, KEY);
    assertEquals(problems.map(({ kind }) => kind), kinds, JSON.stringify(changed));
    assertEquals(subprotocol, changed["sec-websocket-protocol"] === "b" ? "b" : undefined);
  }
});

Deno.test("extracts the text of a page, and limits the length of a quote", () => {
  assertEquals(bodyText("plain\n text "), "plain text");
  assertEquals(bodyText("<title>403</title><h1>Access &amp; denied</h1>"), "403: Access & denied");
  assertEquals(bodyText("<html><head><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>"), "502 Bad Gateway");
  assertEquals(bodyText("<style>p{}</style><p>why</p><!-- not -->"), "why");
  assertEquals(quote("x".repeat(400)), `"${"x".repeat(400)}"`);
  const long = quote(`${"First sentence that is long enough. ".repeat(11)}Second ${"y".repeat(100)}`);
  assert(long.endsWith('enough. …"') && long.length < 410, long);
});
