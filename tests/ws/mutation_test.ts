import { assert, assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { rawExchange, VALID } from "../support/raw.ts";
import { seeded } from "../support/seeded.ts";
import { serving } from "../support/serving.ts";

/** The seed. Set another one with `WSS_SEED=7 deno task test tests/ws/mutation_test.ts`. */
const SEED = Number(Deno.env.get("WSS_SEED") ?? 6455);
const PLAIN = 600;
const TLS = 60;
/** The number of concurrent requests. */
const LANES = 8;

const METHODS = [
  "POST",
  "HEAD",
  "PUT",
  "OPTIONS",
  "TRACE",
  "CONNECT",
  "get",
  "G\0T",
  "GET GET",
  "",
  "BREW",
  "X".repeat(9000),
];
const TARGETS = [
  "/elsewhere",
  "*",
  "//evil.example/",
  "http://evil.example/",
  "http://",
  "http://[::1/",
  "localhost:1",
  "/%zz",
  "/\0",
  "/..",
  "/?" + "q".repeat(30_000),
  "/" + "x".repeat(70_000),
  "",
  "?",
  "#",
  "\\",
  "/ /",
  "/healthz",
];
const VERSIONS = ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "HTTP/9.9", "http/1.1", "HTTP", "", "HTTP/1.1 x"];
const VALUES = [
  "",
  " ",
  ",",
  "\0",
  "\x7f",
  "\xff\xfe",
  "\r",
  "a\tb",
  "x".repeat(5000),
  "x".repeat(66_000),
  "[",
  "[::1",
  "a b",
  "a/b",
  "a@b",
  "localhost:99999",
  "%00",
  "\u00e9",
  "13, 13",
  "-1",
  "9".repeat(40),
  "websocket, websocket",
  "chunked",
  ";;;",
  '"',
  "xn--",
  "0x7f.1",
];
const NAMES = [
  ...Object.keys(VALID),
  "Origin",
  "Cookie",
  "Authorization",
  "Content-Length",
  "Transfer-Encoding",
  "Sec-WebSocket-Protocol",
  "Sec-WebSocket-Extensions",
  "X-Forwarded-For",
  "X-Forwarded-Host",
  "X-Forwarded-Proto",
  "X-Real-IP",
  "Forwarded",
  "Expect",
  "TE",
  "Trailer",
  "HTTP2-Settings",
];

type Random = ReturnType<typeof seeded>;

function pick<T>(random: Random, list: readonly T[]): T {
  return list[random(list.length)]!;
}

/** The valid handshake with one to three invalid or unusual changes. */
function mutated(random: Random): string {
  let [method, target, version] = ["GET", "/", "HTTP/1.1"];
  let headers: string[] = Object.entries(VALID).map(([name, value]) => `${name}: ${value}`);
  let bytes = (text: string) => text;
  for (let count = 1 + random(3); count > 0; count--) {
    const at = random(headers.length);
    switch (random(14)) {
      case 0:
        method = pick(random, METHODS);
        break;
      case 1:
        target = pick(random, TARGETS);
        break;
      case 2:
        version = pick(random, VERSIONS);
        break;
      case 3:
      case 4:
        headers.splice(at, 1);
        break;
      case 5:
        headers.push(headers[at] ?? "");
        break;
      case 6:
      case 7:
      case 8:
        headers.push(`${pick(random, NAMES)}: ${pick(random, VALUES)}`);
        break;
      case 9:
        headers[at] = `${headers[at]?.split(":")[0]}: ${pick(random, VALUES)}`;
        break;
      case 10:
        headers[at] = pick(random, ["no colon", ": no name", " folded", "a b: c", "\0: x", "é: x", "X: \r\n y"]);
        break;
      case 11:
        headers.push(...Array.from({ length: 50 + random(200) }, (_, index) => `X-${index}: y`));
        break;
      case 12:
        headers = headers.map((line) => line.toUpperCase());
        break;
      default: {
        // Replaces a byte at a random position.
        const [where, what] = [random(400), String.fromCharCode(random(256))];
        bytes = (text) => text.slice(0, where) + what + text.slice(where + 1);
      }
    }
  }
  // The end of the head is always intact, so the service never waits for more bytes.
  return bytes([`${method} ${target} ${version}`, ...headers].join("\r\n")) + "\r\n\r\n\r\n\r\n";
}

/** The expected statuses. 101 and 200 follow harmless changes. 503 is for limits, which this test does not set. */
function isRight(status: number): boolean {
  return status === 101 || status === 200 || (status >= 400 && status < 500) || status === 505;
}

for (const [mode, count] of [["proxied", PLAIN], ["direct", TLS]] as const) {
  Deno.test(`an invalid request never causes a 500, and the service keeps running (${mode}, seed ${SEED})`, async () => {
    const app = defineApp({ message: (peer) => void peer.send("ok") });
    await using served = await serving(app, { mode, handshakeTimeout: "3s" });
    const random = seeded(SEED);
    const requests = Array.from({ length: count }, () => mutated(random));
    const seen = new Map<number, number>();
    const wrong: string[] = [];
    const queue = requests.entries();
    await Promise.all(Array.from({ length: LANES }, async () => {
      for (const [index, request] of queue) {
        const status = (await rawExchange(served.raw, request))?.status ?? 0;
        seen.set(status, (seen.get(status) ?? 0) + 1);
        if (status !== 0 && !isRight(status)) {
          wrong.push(`${index}: ${status} to ${JSON.stringify(request.slice(0, 300))}`);
        }
      }
    }));
    assertEquals(wrong, []);
    assertEquals(served.logged("a request failed"), []);
    assertEquals(served.lines.filter(({ level }) => level === "error"), []);
    // The mutations reach the handler and cause each of its results, and some are harmless.
    const needed = mode === "proxied" ? [101, 400, 404, 405, 426] : [101, 400];
    for (const status of needed) assert(seen.has(status), `no ${status} among ${JSON.stringify([...seen])}`);

    await using client = await served.connect();
    assertEquals(await client.ask("tom"), "ok");
  });
}
