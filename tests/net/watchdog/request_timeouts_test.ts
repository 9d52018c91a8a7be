/** Clients that make no request, or stop in the middle of one, beside slow ones that must be served. */
import { assert, assertEquals } from "@std/assert";
import { maskedFrame, Opcode, textFrame } from "../../support/frames.ts";
import {
  dial,
  dialUpgraded,
  endOf,
  handshake,
  type RawTarget,
  readHead,
  request,
  skip,
  tryWrite,
  writeAll,
} from "../../support/raw.ts";
import { testAuthority } from "../certificates.ts";
import { ServerProcess, WATCHDOG } from "../process.ts";

const { ca, issue } = await testAuthority();
const tls = await issue("1a00");

/** How long a client waits for its end, ms: far more than the busiest machine needs. */
const PATIENCE = 30_000;
/** Longer than the pauses of the slow ones, on a busy machine too. */
const OPTIONS = { ...WATCHDOG, handshakeTimeout: 4_000, keepAliveTimeout: 6_000 };

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Measures from before the connection until its end, because the service measures from the connection. */
async function measured(work: () => Promise<number | undefined>): Promise<number | undefined> {
  const began = performance.now();
  return await work() === undefined ? undefined : performance.now() - began;
}

/** Each resolves when it was ended; with undefined if it was not. */
const STALLED: Readonly<Record<string, (target: RawTarget) => Promise<number | undefined>>> = {
  async "connects and is silent"({ port }) {
    return await endOf(await dial({ port }), PATIENCE);
  },
  async "sends half of its first message"({ port, ca }) {
    const conn = await dial({ port });
    await writeAll(conn, ca === undefined ? "GE" : new Uint8Array([0x16, 0x03, 0x01]));
    return await endOf(conn, PATIENCE);
  },
  async "is silent once TLS is ready"(target) {
    return await endOf(await dial(target), PATIENCE);
  },
  async "sends its headers a byte at a time"(target) {
    const conn = await dial(target);
    await writeAll(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
    const sending = (async () => {
      while (await tryWrite(conn, "a")) await pause(100);
    })();
    const end = await endOf(conn, PATIENCE);
    await sending;
    return end;
  },
  async "does not finish its body"(target) {
    const conn = await dial(target);
    await writeAll(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nshort");
    return await endOf(conn, PATIENCE);
  },
  async "keeps its connection after an answer"(target) {
    const conn = await dial(target);
    await writeAll(conn, request("/"));
    return await endOf(conn, PATIENCE);
  },
};

/** Each does its work and returns a connection, which must be served still when the others have gone. */
const SLOW: Readonly<Record<string, (target: RawTarget) => Promise<Deno.Conn>>> = {
  "a quiet WebSocket": (target) => dialUpgraded(target),
  async "a message that takes longer than every limit"(target) {
    const conn = await dialUpgraded(target);
    const message = maskedFrame(Opcode.Binary, new Uint8Array(600_000));
    for (let at = 0; at < message.length; at += 50_000) {
      await writeAll(conn, message.subarray(at, at + 50_000));
      await pause(OPTIONS.handshakeTimeout / 6);
    }
    // Its echo has a head of ten bytes.
    await skip(conn, 600_010);
    return conn;
  },
  async "a request in pieces"({ port, ca }) {
    const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
    await pause(500);
    const conn = ca === undefined ? tcp : await Deno.startTls(tcp, { hostname: "localhost", caCerts: [ca] });
    const head = handshake();
    for (let at = 0; at < head.length; at += 60) {
      await writeAll(conn, head.slice(at, at + 60));
      await pause(100);
    }
    await readHead(conn);
    return conn;
  },
};

for (const mode of ["plain", "tls"] as const) {
  Deno.test(`closes connections that make no request in time, and no others (${mode})`, async (t) => {
    await using server = await ServerProcess.start({ tls: mode === "tls" ? tls : undefined, watchdog: OPTIONS });
    const target = { port: server.port, ca: mode === "tls" ? ca : undefined };
    const slow = Object.entries(SLOW).map(([name, work]) => ({ name, work: work(target) }));
    const stalled = Object.entries(STALLED).map(([name, work]) => ({ name, end: measured(() => work(target)) }));
    await Promise.allSettled([...slow.map(({ work }) => work), ...stalled.map(({ end }) => end)]);

    for (const { name, end } of stalled) {
      await t.step(name, async () => {
        const least = name.startsWith("keeps") ? OPTIONS.keepAliveTimeout : OPTIONS.handshakeTimeout;
        const after = await end;
        assert(after !== undefined && after > least * 0.8, `${after} ms`);
      });
    }
    for (const { name, work } of slow) {
      await t.step(name, async () => {
        const conn = await work;
        await writeAll(conn, textFrame("hi"));
        await skip(conn, 4);
        conn.close();
      });
    }
    const { ended } = (await server.stat()).watchdog!;
    assertEquals(Object.entries(ended).filter(([, count]) => count > 0).sort(), [
      ["body", 1],
      ["handshake", 4],
      ["idle", 1],
    ]);
  });
}
