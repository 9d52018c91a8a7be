import { assert, assertEquals } from "@std/assert";
import project from "../../deno.json" with { type: "json" };
import { Client } from "../support/client.ts";
import { closeFrame, maskedFrame, Opcode, textFrame, utf8 } from "../support/frames.ts";
import { dial, readHead, writeAll } from "../support/raw.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { eventually, RecordedService } from "./recorded_service.ts";

const TOKEN = "correct-horse-battery-staple-0123456789";
const WRONG = "wrong-horse-battery-staple-9876543210";
const SECRET = "what-was-said-in-confidence";
// This text ends a line, begins another, sets a colour, reverses the text direction and ends a JSON string.
const HOSTILE =
  '\r\n2026-01-01T00:00:00.000Z error forged="1"\n{"level":"error","message":"forged"}\u001b[31m\u2028\u202e\u0085"';

/** Sends the lines of a request unchanged. Returns the head of the response, or "" if the connection just ends. */
async function request(service: RecordedService, ...lines: string[]): Promise<string> {
  const conn = await dial(service);
  try {
    // Each character from U+0080 to U+00FF is sent as one byte.
    await writeAll(conn, Uint8Array.from(lines.join("\r\n") + "\r\n\r\n", (character) => character.charCodeAt(0)));
    return await readHead(conn).catch(() => "");
  } finally {
    conn.close();
  }
}

function handshake(path: string, ...headers: string[]): string[] {
  return [
    `GET ${path} HTTP/1.1`,
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...headers,
  ];
}

function status(head: string): number {
  return Number(head.split(" ")[1] ?? 0);
}

for (const format of ["json", "text"]) {
  Deno.test(`no message and no token is logged, not even at debug (${format})`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "wss-test-" });
    try {
      await Deno.writeTextFile(`${folder}/tokens`, `${TOKEN}\n`);
      await using service = await RecordedService.start(
        ["--auth-token-file", "tokens", "--auth-query", "--log-format", format, "--max-payload", "64KiB"],
        { folder },
      );
      const { url, ca } = service.program;
      // These clients are accepted, one for each of the three ways to send a token.
      const clients = [
        await Client.open(`${url}?name=by-header`, { ca, headers: { authorization: `Bearer ${TOKEN}` } }),
        await Client.open(`${url}?name=by-list`, { ca, protocols: ["wss.v1", `bearer.${TOKEN}`] }),
        await Client.open(`${url}?name=by-query&token=${TOKEN}`, { ca }),
      ];
      for (const client of clients) {
        assertEquals(await client.ask(SECRET), SECRET);
        client.send(utf8(SECRET));
        client.send(`!throw ${SECRET}`);
        assertEquals((await client.closed).code, 1011);
      }
      // These requests are refused: their tokens are wrong, malformed, duplicated or in the wrong place.
      const refused = [
        await request(service, ...handshake("/", `Authorization: Bearer ${WRONG}`)),
        await request(service, ...handshake("/", `Authorization: Basic ${btoa(`me:${WRONG}`)}`)),
        await request(service, ...handshake("/", `Authorization: Bearer ${WRONG} ${TOKEN}`)),
        await request(service, ...handshake(`/?token=${WRONG}`)),
        await request(service, ...handshake(`/?token=${WRONG}&token=${TOKEN}`)),
        await request(service, ...handshake("/", `Sec-WebSocket-Protocol: wss.v1, bearer.${WRONG}`)),
        await request(service, ...handshake(`/nowhere/${TOKEN}?token=${TOKEN}`, `Authorization: Bearer ${TOKEN}`)),
        await request(service, ...handshake("/", `Cookie: session=${TOKEN}`, "Origin: https://elsewhere.example")),
      ];
      for (const head of refused) assert(status(head) >= 400 && status(head) < 500, head);
      // Invalid frames that contain the secret.
      const bad = [
        maskedFrame(Opcode.Text, utf8(SECRET), { reserved: 4 }),
        maskedFrame(3, utf8(SECRET)),
        maskedFrame(Opcode.Text, new Uint8Array([...utf8(SECRET), 0xff])),
        maskedFrame(Opcode.Ping, utf8(SECRET.repeat(6))),
        textFrame(SECRET.repeat(4_000)),
      ];
      for (const frame of bad) {
        const conn = await dial(service);
        await writeAll(conn, utf8(`${handshake(`/?name=bad&token=${TOKEN}`).join("\r\n")}\r\n\r\n`));
        assertEquals(status(await readHead(conn)), 101);
        await writeAll(conn, frame);
        await conn.read(new Uint8Array(256)).catch(() => {});
        conn.close();
      }
      await service.until(0);
      const { stderr } = await service.stop();
      assert(stderr.split("\n").length > 20, "the log is all but empty");
      for (const secret of [TOKEN, WRONG, SECRET, btoa(`me:${WRONG}`), "session="]) {
        assert(!stderr.includes(secret), stderr.split("\n").find((line) => line.includes(secret)));
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

  Deno.test(`client data cannot break a log line (${format})`, async () => {
    await using service = await RecordedService.start(["--log-format", format, "--mode", "proxied"]);
    const line = 'x" level=error message="forged\t\u0085\u009b31m\u00ff';
    await request(
      service,
      ...handshake("/").map((header) => header.replace(/^(Sec-WebSocket-Version: ).*/, `$1${line}`)),
    );
    await request(service, ...handshake("/").map((header) => header.replace(/^(Sec-WebSocket-Key: ).*/, `$1${line}`)));
    await request(service, ...handshake("/", `Sec-WebSocket-Protocol: ${line}`));
    await request(service, ...handshake("/", `X-Forwarded-For: ${line}`, `Origin: https://${line}`));
    await request(service, ...handshake("/", `X-Forwarded-For: 192.0.2.1`, `X-Real-IP: 192.0.2.2`));
    await request(service, ...handshake("/%0d%0a%1b[31m?%0aforged", `X-Forwarded-Host: ${line}`));
    await request(service, ...handshake("/").map((header) => header.replace(/^Host: .*/, `Host: ${line}`)));
    await request(service, `FORGED\tGET / HTTP/1.1`, "Host: localhost");
    await request(service, "BREW / HTTP/1.1", "Host: localhost");
    // The close reason is the only client text that the log contains.
    const reasons = [HOSTILE.slice(0, 60), HOSTILE.slice(60), "\u2066\u0000\u007f tab\t", "plain words"];
    for (const [index, reason] of reasons.entries()) {
      const name = `reason-${index}`;
      await using peer = await RawPeer.open(service, { name });
      await peer.send(closeFrame(4000, reason));
      await peer.ended;
      assertEquals((await service.call(name, "close")).reason, reason);
    }
    await eventually(() => service.program.stderr.text.includes("plain words"), "the last line");
    const { stderr } = await service.stop();
    // deno-lint-ignore no-control-regex -- they are what must not be there
    assertEquals(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/.exec(stderr), null);
    const lines = stderr.split("\n").filter((text) => text !== "");
    assert(lines.length > reasons.length + 8, stderr);
    for (const text of lines) {
      if (format === "text") assert(/^\d{4}-\d\d-\d\dT[\d:.]+Z (error|warn |info |debug) \S/.test(text), text);
      const { level } = format === "json" ? JSON.parse(text) : { level: text.split(/ +/)[1] };
      assert(level !== "error", text);
    }
  });
}

Deno.test("repeated refusals of an address are five lines and a count, and no refusal is lost", async () => {
  await using service = await RecordedService.start(["--mode", "proxied", "--log-level", "info"]);
  for (let index = 0; index < 150; index++) {
    assertEquals(status(await request(service, ...handshake("/nowhere", "X-Forwarded-For: 192.0.2.1"))), 404);
    if (index % 3 === 0) await request(service, ...handshake(`/${index}`, `X-Forwarded-For: 2001:db8::${index}`));
  }
  await request(service, ...handshake("/nowhere", "X-Forwarded-For: 192.0.2.99"));
  await service.stop();
  const about = (address: string) => service.log.filter((line) => String(line.address).startsWith(address));
  for (const [address, count] of [["192.0.2.1", 150], ["2001:db8", 50]] as const) {
    const lines = about(address).filter(({ address }) => address !== "192.0.2.99");
    const written = lines.filter(({ message }) => message === "refused");
    const counted = lines.filter(({ message }) => /^refused: and \d+ more in the last \d+ s$/.test(message));
    // A slow machine may take more than one interval of ten seconds.
    assert(written.length >= 5 && written.length < 30, `${written.length} lines`);
    assertEquals(counted.length + written.length, lines.length);
    assertEquals(written.length + counted.reduce((sum, { more }) => sum + Number(more), 0), count);
  }
  assertEquals(about("192.0.2.99").length, 1);
});

Deno.test("an app whose hook always throws is five stacks and a count, not one a message", async () => {
  await using service = await RecordedService.start(["--log-level", "info"]);
  const count = 200;
  for (let index = 0; index < count; index++) {
    const client = await service.client(`thrower-${index}`);
    client.send("!throw");
    assertEquals((await client.closed).code, 1011);
  }
  await service.stop();
  const failures = service.log.filter(({ message }) => message.startsWith("a hook of the app threw"));
  const written = failures.filter(({ more }) => more === undefined);
  // A slow machine may need more than one interval of ten seconds.
  assert(written.length >= 5 && written.length < 30, `${written.length} lines`);
  assertEquals(written.length + failures.reduce((sum, { more = 0 }) => sum + Number(more), 0), count);
  for (const { error } of written) assert(/was told to fail[^]*recording_app\.ts/.test(String(error)), String(error));
});

Deno.test("with deno run -q, as deno task start has it, HTTP/2 streams that are reset leave no line of Deno's own", async () => {
  const words = project.tasks.start.split(" ");
  const permissions = words.slice(2, -1).map((word) => word === "-P" ? "-A" : word);
  await using service = await RecordedService.start([], { permissions });
  for (let round = 0; round < 5; round++) {
    const conn = await Deno.connectTls({
      hostname: "localhost",
      port: service.port,
      caCerts: [service.ca!],
      alpnProtocols: ["h2"],
    });
    const streams = Array.from({ length: 200 }, (_, index) => resetStream(index * 2 + 1));
    // The service may close the connection before it has read the whole request.
    await writeAll(conn, concat([utf8("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), h2Frame(4, 0, 0), ...streams])).catch(
      () => {},
    );
    await conn.read(new Uint8Array(64)).catch(() => {});
    conn.close();
  }
  await using client = await service.client("honest");
  await client.close();
  const { stderr } = await service.stop();
  for (const line of stderr.split("\n").filter((text) => text !== "")) JSON.parse(line);
});

function h2Frame(type: number, flags: number, stream: number, payload = new Uint8Array()): Uint8Array {
  const frame = new Uint8Array(9 + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, payload.length << 8 | type);
  frame[4] = flags;
  view.setUint32(5, stream);
  frame.set(payload, 9);
  return frame;
}

/** HEADERS of `GET https://localhost/` (RFC 7541, appendix A), and RST_STREAM with CANCEL after it. */
function resetStream(stream: number): Uint8Array {
  const authority = utf8("localhost");
  const headers = new Uint8Array([0x82, 0x87, 0x84, 0x41, authority.length, ...authority]);
  return concat([h2Frame(1, 0x5, stream, headers), h2Frame(3, 0, stream, new Uint8Array([0, 0, 0, 8]))]);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}
