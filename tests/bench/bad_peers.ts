/**
 * Peers that break the protocol or misuse the service. One run of any kind takes a few seconds at most, whatever the
 * service does.
 * @module
 */
import { FrameError, FrameReader } from "../../lib/client/frames.ts";
import { maskedFrame, Opcode, repeated, textOf } from "../support/frames.ts";
import { closeQuietly, dial, dialUpgraded, handshake, type RawTarget, readHead, writeAll } from "../support/raw.ts";
import { seeded } from "../support/seeded.ts";
import { BAD_FRAMES } from "./bad_frames.ts";

/** How often each kind ran, and what the service did wrong. */
export interface Tally {
  readonly times: Readonly<Record<string, number>>;
  readonly wrong: readonly string[];
}

/** What a kind of peer works with. */
interface Scene {
  readonly target: RawTarget;
  readonly random: (below: number) => number;
  /** Opens a connection. It is closed when the run of this kind ends. */
  open(kind: "tcp" | "tls" | "websocket"): Promise<Deno.Conn>;
  /** Reports a fault of the service. */
  wrong(text: string): void;
}

/** Longest run of a kind, ms. Connections that are still open then are closed. */
const LONGEST = 6_000;
/** How long a flood lasts, ms. */
const FLOOD = 700;

const empty = new Uint8Array(0);

/**
 * The kinds. Few of them check the service's answer: faults show in what the good peers get, and in the memory and
 * descriptors left afterwards.
 */
const KINDS: Readonly<Record<string, (scene: Scene) => Promise<void>>> = {
  async silentTcp({ open }) {
    await untilEnd(await open("tcp"));
  },
  async halfHello({ open, random }) {
    const conn = await open("tcp");
    const hello = new Uint8Array([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, ...new Uint8Array(64)]);
    await writeAll(conn, hello.slice(0, 1 + random(hello.length)));
    if (random(2) === 0) await untilEnd(conn);
  },
  async plainText({ open }) {
    const conn = await open("tcp");
    await writeAll(conn, handshake());
    await untilEnd(conn);
  },
  async halfRequest({ open, random }) {
    const conn = await open("tls");
    const request = handshake();
    await writeAll(conn, request.slice(0, random(request.length)));
    if (random(2) === 0) await untilEnd(conn);
  },
  async abortedUpgrade({ open }) {
    await writeAll(await open("tls"), handshake());
  },
  async refusedUpgrade({ open, random, wrong }) {
    const conn = await open("tls");
    const [from, to, status] = [
      ["GET / ", "GET /nowhere ", 404],
      ["GET / ", "POST / ", 405],
      ["Version: 13", "Version: 8", 426],
      ["Key: dGhl", "Key: d", 400],
      ["Connection: Upgrade", "Connection: close", 400],
    ][random(5)] as [string, string, number];
    const request = handshake().replace(from, to);
    await writeAll(conn, new TextEncoder().encode(request));
    const head = await readHead(conn);
    if (!head.startsWith(`HTTP/1.1 ${status} `)) {
      wrong(`${to}: expected status ${status}, not ${head.split("\r\n")[0]}`);
    }
  },
  async reset({ open, random }) {
    const conn = await open("websocket");
    // A socket that is closed with unread data in its buffer sends RST.
    await writeAll(conn, repeated(maskedFrame(Opcode.Text, textOf(512)), 1 + random(20)));
    await conn.read(new Uint8Array(1));
  },
  async vanished({ open, random }) {
    const conn = await open("websocket");
    await writeAll(conn, maskedFrame(Opcode.Text, textOf(random(100))));
    // Reads nothing and answers no ping, until the service closes the connection.
    await new Promise((resolve) => setTimeout(resolve, LONGEST));
  },
  textFlood: (scene) => flood(scene, maskedFrame(Opcode.Text, textOf(32))),
  pongFlood: (scene) => flood(scene, maskedFrame(Opcode.Pong, empty)),
  pingFlood: (scene) => flood(scene, maskedFrame(Opcode.Ping, textOf(100))),
  fragmentFlood: (scene) =>
    flood(
      scene,
      maskedFrame(Opcode.Continuation, empty, { fin: false }),
      maskedFrame(Opcode.Text, empty, { fin: false }),
    ),
  async endlessFragments({ open }) {
    const conn = await open("websocket");
    await writeAll(conn, maskedFrame(Opcode.Text, textOf(16_384), { fin: false }));
    const more = maskedFrame(Opcode.Continuation, textOf(16_384), { fin: false });
    for (let i = 0; i < 256; i++) await writeAll(conn, more);
    await untilEnd(conn);
  },
  async oversized({ open, random, wrong }) {
    const conn = await open("websocket");
    await writeAll(conn, maskedFrame(Opcode.Text, textOf(65_537 + random(100_000))));
    // Half of the peers do not answer the close frame. The service must close their connections, too.
    if (random(2) === 0) return await untilEnd(conn);
    const code = await closeCode(conn);
    if (code !== 1009) wrong(`a message that is too long: expected close code 1009, not ${code}`);
  },
  async hugeHeader({ open }) {
    const conn = await open("websocket");
    await writeAll(conn, maskedFrame(Opcode.Binary, new Uint8Array(64), { length: 65 * 1024 ** 2 }));
    await untilEnd(conn);
  },
  async halfFrame({ open, random }) {
    const conn = await open("websocket");
    const frame = maskedFrame(Opcode.Text, textOf(1_000));
    await writeAll(conn, frame.slice(0, 1 + random(frame.length - 1)));
    await untilEnd(conn);
  },
  async badFrame({ open, random }) {
    const conn = await open("websocket");
    await writeAll(conn, BAD_FRAMES[random(BAD_FRAMES.length)]!);
    await untilEnd(conn);
  },
  async slowReader({ open }) {
    const conn = await open("websocket");
    const frame = maskedFrame(Opcode.Text, textOf(32_768));
    // Requests 16 MiB of echoes and reads none: four times what the kernel's buffers and the limit hold together.
    for (let i = 0; i < 512; i++) await writeAll(conn, frame);
    await new Promise((resolve) => setTimeout(resolve, LONGEST));
  },
};

/** The names of the kinds. */
export const BAD_KINDS: readonly string[] = Object.keys(KINDS);

/** Sends as fast as the service accepts data, and reads nothing. */
async function flood({ open }: Scene, frame: Uint8Array, first?: Uint8Array<ArrayBuffer>): Promise<void> {
  const conn = await open("websocket");
  if (first) await writeAll(conn, first);
  const many = repeated(frame, Math.ceil(16_384 / frame.length));
  const until = performance.now() + FLOOD;
  while (performance.now() < until) await writeAll(conn, many);
}

/** Reads until the service closes the connection. */
async function untilEnd(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(16_384);
  while (await conn.read(buffer) !== null);
}

/**
 * Returns the code of the service's close frame and answers it. Undefined if the service sends something else. A ping
 * may come first: the service sends one when it has read nothing for a time, even if data is on its way.
 */
async function closeCode(conn: Deno.Conn): Promise<number | undefined> {
  const reader = new FrameReader(2 ** 20);
  const buffer = new Uint8Array(4096);
  for (let length; (length = await conn.read(buffer)) !== null;) {
    reader.push(buffer.slice(0, length));
    for (let frame; (frame = reader.next()) !== undefined;) {
      if (frame.opcode === Opcode.Ping) continue;
      if (frame.opcode !== Opcode.Close || frame.payload.length < 2) return undefined;
      await writeAll(conn, maskedFrame(Opcode.Close, frame.payload.slice(0, 2)));
      await untilEnd(conn);
      return (frame.payload[0]! << 8) | frame.payload[1]!;
    }
  }
  return undefined;
}

/**
 * Runs bad peers until the time is up.
 * @param count peers at a time. Each runs all kinds in random order, then all of them again.
 * @param until end, on the clock of `performance.now()`
 * @param names the kinds
 */
export async function misbehave(
  target: RawTarget,
  count: number,
  seed: number,
  until: number,
  names: readonly string[] = BAD_KINDS,
): Promise<Tally> {
  const times: Record<string, number> = Object.fromEntries(names.map((name) => [name, 0]));
  const wrong: string[] = [];
  await Promise.all(Array.from({ length: count }, async (_, nth) => {
    const random = seeded(seed + nth);
    const deck: string[] = [];
    while (performance.now() < until) {
      if (deck.length === 0) deck.push(...names);
      const [name] = deck.splice(random(deck.length), 1) as [string];
      times[name]!++;
      await play(target, random, KINDS[name]!, (text) => void wrong.push(`${name}: ${text}`));
    }
  }));
  return { times, wrong };
}

async function play(
  target: RawTarget,
  random: (below: number) => number,
  kind: (scene: Scene) => Promise<void>,
  wrong: (text: string) => void,
): Promise<void> {
  const conns: Deno.Conn[] = [];
  const open: Scene["open"] = async (layer) => {
    const conn = layer === "tcp"
      ? await Deno.connect({ hostname: "127.0.0.1", port: target.port })
      : await (layer === "tls" ? dial(target) : dialUpgraded(target));
    conns.push(conn);
    return conn;
  };
  const timer = setTimeout(() => conns.forEach(closeQuietly), LONGEST);
  try {
    await kind({ target, random, open, wrong });
  } catch (error) {
    if (error instanceof FrameError) wrong(error.message);
    // Any other error is expected: the service closes the connections of most kinds.
  } finally {
    clearTimeout(timer);
    conns.forEach(closeQuietly);
  }
}
