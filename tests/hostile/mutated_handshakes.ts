/** Handshakes with seeded mutations: duplicate, missing, swapped or replaced lines, changed bytes, truncated ends. */
import { VALID } from "../support/raw.ts";
import { seeded } from "../support/seeded.ts";

const METHODS = ["GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PUT", "get", "PRI", "PROXY", "G\u0000T", ""];
const TARGETS = [
  ...["/", "/wss", "/healthz", "/other", "*", "//", "/%", "/%00", "/\u00e9", "", "/wss?token=a&token=b", "/#x"],
  ...["http://other.example/", "http://[::1", "wss://a/wss", "/" + "a".repeat(9_000), "/..//../wss", "/?%ff"],
];
const VERSIONS = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/11", "http/1.1", ""];
const HOSTS = ["localhost", "", "a b", "a/b", "a@b", "[::1]", "[::1", "evil.example", "localhost:0", ":", "\u00e9"];
const LINES = [
  ...["Upgrade: h2c", "Upgrade: websocket", "Upgrade: H2C, websocket", "upgrade:", "Upgrade: TLS/1.0", "Upgrade: ,,"],
  ...[
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    "Connection: close",
    "Connection: keep-alive, Upgrade, HTTP2-Settings",
  ],
  ...[
    "Connection:",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
  ],
  ...[
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Expect: 100-continue",
    "TE: trailers",
    "Trailer: a",
  ],
  ...["Origin: null", "Origin: https://evil.example", "Origin: http://[", "Origin:", "Cookie: a=1", "Cookie: \u0001"],
  ...["Authorization: Basic dG9t", "Authorization: Bearer x", "Authorization:", "Sec-Fetch-Site: same-origin"],
  ...["X-Forwarded-For: 192.0.2.1, ,unknown", "X-Real-IP: [::1]", 'Forwarded: for="', "Forwarded: for=_a;proto=https"],
  ...["X-Forwarded-Proto: http", "X-Forwarded-Proto: https", "X-Forwarded-Host: a/b", "X-SSL-Protocol: SSLv3"],
  ...[
    "Sec-WebSocket-Protocol: a,b",
    "Sec-WebSocket-Protocol: a,a",
    "Sec-WebSocket-Protocol:",
    "Sec-WebSocket-Protocol: \u00e9",
  ],
  ...[
    "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==",
    "Sec-WebSocket-Key: x",
    "Sec-WebSocket-Version: 8, 13",
    "Sec-WebSocket-Version: 14",
  ],
  ...["Sec-WebSocket-Extensions: permessage-deflate", 'Sec-WebSocket-Extensions: x; y="', "Range: bytes=0-", "Date: x"],
  ...["X: " + "y".repeat(20_000), ": nameless", "no colon", " folded", "X\u0000: y", "Host: second"],
];
const TAILS = [
  "",
  "",
  "",
  "\u0081\u0080\u0000\u0000\u0000\u0000",
  "\u0088\u0080\u0000\u0000\u0000\u0000",
  "GET / HTTP/1.1\r\n\r\n",
  "\u0000".repeat(50),
];

/** The n-th request of a seed. Each character is one byte. */
export function mutatedHandshake(seed: number, n: number): string {
  const random = seeded(seed * 1_000_003 + n);
  const any = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const rarely = (times: number) => random(times) === 0;
  const first = [
    rarely(8) ? any(METHODS) : "GET",
    rarely(6) ? any(TARGETS) : "/",
    rarely(6) ? any(VERSIONS) : "HTTP/1.1",
  ].join(" ");
  const lines = Object.entries({ ...VALID, ...(rarely(8) ? { Host: any(HOSTS) } : {}) }).map(([name, value]) =>
    `${name}: ${value}`
  );
  for (let changes = random(5); changes > 0; changes--) {
    const at = random(lines.length + 1);
    switch (random(5)) {
      case 0:
        lines.splice(at, 1);
        break;
      case 1:
        lines.splice(at, 0, any(LINES));
        break;
      case 2:
        lines.splice(at, 0, lines[random(lines.length)] ?? "");
        break;
      case 3:
        if (lines[at] !== undefined) lines[at] = rarely(2) ? lines[at].toLowerCase() : lines[at].toUpperCase();
        break;
      case 4:
        if (lines[at] !== undefined) lines.unshift(...lines.splice(at, 1));
    }
  }
  let text = [first, ...lines, "", any(TAILS)].join(rarely(30) ? "\n" : "\r\n");
  for (let changes = rarely(3) ? random(4) : 0; changes > 0; changes--) {
    const at = random(text.length);
    text = text.slice(0, at) + String.fromCharCode(random(256)) + text.slice(at + random(2));
  }
  return rarely(25) ? text.slice(0, random(text.length)) : text;
}
