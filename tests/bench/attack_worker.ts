/**
 * The attackers, in a separate thread from the honest client that is measured. On an order the worker opens all
 * connections and posts `ready`. On `go` it attacks and then posts the result.
 * @module
 */
/// <reference lib="deno.worker" />
import { maskedFrame, Opcode, repeated, textOf } from "../support/frames.ts";
import { closeQuietly, dialUpgraded, type RawTarget, writeAll } from "../support/raw.ts";
import { connectMany } from "./many.ts";
import { pause } from "./pause.ts";

/** The attack to prepare. */
export interface AttackOrder {
  readonly target: RawTarget;
  readonly kind: AttackKind;
  readonly connections: number;
  /** Messages per attacker. `publish`: lines; `pings`: seconds; `fragments`, `close`, `headers`: bytes per attacker. */
  readonly amount: number;
}

export type AttackKind = "publish" | "text" | "pings" | "unread" | "fragments" | "close" | "headers";

/** The result of an attack. */
export interface AttackResult {
  /** Attackers whose connection the service closed. */
  readonly cut: number;
  /** `publish` only: the share of the deliveries that arrived. */
  readonly delivered?: number;
}

const decoder = new TextDecoder();
const empty = new Uint8Array();
/** Bytes of a published line. */
const LINE = 24;
const pong = maskedFrame(Opcode.Pong, empty);
/** Interval of the pongs, ms. */
const ALIVE_EVERY = 7_000;
/** Longest wait for all deliveries, ms. */
const LONGEST = 120_000;

/** Reads until the wanted number of bytes has arrived or the service closes the connection. */
async function receive(conn: Deno.Conn, wanted: number, count = (_: number) => {}): Promise<number> {
  const buffer = new Uint8Array(65_536);
  let got = 0;
  while (got < wanted) {
    const length = await conn.read(buffer).catch(() => null);
    if (length === null) break;
    got += length;
    count(length);
  }
  return got;
}

/** Returns false if the service closes the connection before all bytes are sent. */
async function sends(conn: Deno.Conn, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
  return await writeAll(conn, bytes).then(() => true, () => false);
}

/** Counts the connections that end within this time, ms. */
async function ended(conns: readonly Deno.Conn[], within: number): Promise<number> {
  const done = await Promise.all(conns.map((conn) => Promise.race([receive(conn, Infinity), pause(within)])));
  return done.filter((bytes) => bytes !== undefined).length;
}

type Attack = () => Promise<AttackResult>;

/** Opens the connections and returns the function that attacks. */
async function prepare({ target, kind, connections, amount }: AttackOrder, opened: Deno.Conn[]): Promise<Attack> {
  const conns = await connectMany(target, connections);
  opened.push(...conns);
  switch (kind) {
    case "publish": {
      const publisher = await dialUpgraded(target);
      opened.push(publisher);
      for (const conn of conns) await writeAll(conn, maskedFrame(Opcode.Binary, new Uint8Array([1])));
      await pause(500);
      const line = maskedFrame(Opcode.Binary, new Uint8Array([2, ...textOf(LINE)]));
      const wanted = amount * (LINE + 2);
      return async () => {
        // The clients answer no pings. Unsolicited pongs keep the service from closing them as idle.
        const alive = setInterval(() => [publisher, ...conns].forEach((conn) => void sends(conn, pong)), ALIVE_EVERY);
        let all = 0;
        const reading = conns.map((conn) => receive(conn, wanted, (bytes) => all += bytes));
        await sends(publisher, repeated(line, amount));
        await Promise.race([Promise.all(reading), pause(LONGEST)]);
        clearInterval(alive);
        return { cut: await ended([publisher], 200), delivered: Math.min(1, all / (wanted * connections)) };
      };
    }
    case "text": {
      const burst = repeated(maskedFrame(Opcode.Text, textOf(2)), amount);
      return async () => {
        const sent = await Promise.all(conns.map((conn) => sends(conn, burst)));
        // The messages may still be in the kernel's buffers. Gives the service time to handle them.
        await pause(5_000);
        return { cut: sent.filter((fine) => !fine).length };
      };
    }
    case "pings": {
      const block = repeated(maskedFrame(Opcode.Ping, empty), 8_192);
      return async () => {
        const until = performance.now() + amount * 1000;
        const sent = await Promise.all(conns.map(async (conn) => {
          while (performance.now() < until) if (!await sends(conn, block)) return false;
          return true;
        }));
        return { cut: sent.filter((fine) => !fine).length };
      };
    }
    case "unread": {
      const block = repeated(maskedFrame(Opcode.Text, textOf(1)), 10_000);
      return async () => {
        const sent = await Promise.all(conns.map(async (conn) => {
          for (let left = amount; left > 0; left -= 10_000) if (!await sends(conn, block)) return false;
          return true;
        }));
        await pause(10_000);
        return { cut: sent.filter((fine) => !fine).length };
      };
    }
    case "fragments": {
      const first = maskedFrame(Opcode.Binary, new Uint8Array(16_384), { fin: false });
      const more = maskedFrame(Opcode.Continuation, new Uint8Array(16_384), { fin: false });
      return async () => {
        await Promise.all(conns.map(async (conn) => {
          if (!await sends(conn, first)) return;
          for (let left = amount - 16_384; left > 0; left -= 16_384) if (!await sends(conn, more)) return;
        }));
        await pause(45_000);
        return { cut: await ended(conns, 100) };
      };
    }
    case "close": {
      const frame = maskedFrame(Opcode.Close, new Uint8Array([3, 232, ...new Uint8Array(amount).fill(0x61)]));
      return async () => {
        await Promise.all(conns.map((conn) => sends(conn, frame).then(() => receive(conn, Infinity))));
        return { cut: conns.length };
      };
    }
    case "headers": {
      const head = maskedFrame(Opcode.Binary, empty, { length: amount });
      const part = new Uint8Array(65_536);
      return async () => {
        await Promise.all(conns.map(async (conn) => {
          if (!await sends(conn, head)) return;
          for (let left = amount - 65_536; left > 0; left -= part.length) if (!await sends(conn, part)) return;
        }));
        await pause(3_000);
        return { cut: await ended(conns, 100) };
      };
    }
  }
}

let go: (() => void) | undefined;

self.onmessage = async ({ data }: MessageEvent<AttackOrder | "go">) => {
  if (data === "go") return go?.();
  const opened: Deno.Conn[] = [];
  try {
    const attack = await prepare(data, opened);
    const started = new Promise<void>((resolve) => go = resolve);
    self.postMessage("ready");
    await started;
    self.postMessage(await attack());
  } catch (error) {
    self.postMessage({ failed: error instanceof Error ? error.message : decoder.decode(empty) });
  } finally {
    opened.forEach(closeQuietly);
  }
};
