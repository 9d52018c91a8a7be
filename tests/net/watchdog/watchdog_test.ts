/**
 * The watchdog against real clients, good and bad. It measures when connections end and what memory they leave.
 * @alone
 */
import { assert, assertEquals } from "@std/assert";
import { dial, dialUpgraded, endOf, handshake, readUntil, skip, tryWrite } from "../../support/raw.ts";
import { testAuthority } from "../certificates.ts";
import { maskedFrame, Opcode, textFrame } from "../../support/frames.ts";
import { python, ServerProcess, WATCHDOG } from "../process.ts";

const { ca, issue } = await testAuthority();
const tls = await issue("1a00");
const text = (value: string) => new TextEncoder().encode(value);

/** Echoes over one connection until told to stop; the times that it took. */
function steady(connection: Deno.Conn): { stop(): Promise<number[]> } {
  let going = true;
  const times: number[] = [];
  const done = (async () => {
    while (going) {
      const began = performance.now();
      if (!await tryWrite(connection, textFrame("hi"))) throw new Error("an honest connection was ended");
      await skip(connection, 4);
      times.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    connection.close();
    return times;
  })();
  // Whoever waits for it hears of it; until then it must not end the test's process.
  done.catch(() => {});
  return {
    stop() {
      going = false;
      return done;
    },
  };
}

for (const mode of ["plain", "tls"] as const) {
  Deno.test(`what never becomes a request is ended; the slow but honest beside it are not (${mode})`, async () => {
    const secure = mode === "tls" ? ca : undefined;
    await using server = await ServerProcess.start({ tls: mode === "tls" ? tls : undefined, watchdog: WATCHDOG });
    const { port } = server;

    // Honest: a quiet WebSocket, one that echoes, one whose message takes longer than every limit, one slow to begin.
    const quiet = await dialUpgraded({ port, ca: secure });
    const busy = steady(await dialUpgraded({ port, ca: secure }));
    const slow = await dialUpgraded({ port, ca: secure });
    const large = maskedFrame(Opcode.Binary, new Uint8Array(600_000));
    const sending = (async () => {
      for (let at = 0; at < large.length; at += 50_000) {
        assert(await tryWrite(slow, large.subarray(at, at + 50_000)));
        await new Promise((resolve) => setTimeout(resolve, 400));
      }
      await skip(slow, 600_000);
    })();
    const late = (async () => {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      await new Promise((resolve) => setTimeout(resolve, 500));
      const secured = secure === undefined
        ? connection
        : await Deno.startTls(connection, { hostname: "localhost", caCerts: [secure] });
      const request = handshake();
      for (let at = 0; at < request.length; at += 60) {
        assert(await tryWrite(secured, request.slice(at, at + 60)));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      await readUntil(secured, "\r\n\r\n");
      return secured;
    })();

    const bad: Record<string, Promise<number | undefined>> = {};
    const patience = 20_000;
    bad.silent = endOf(await dial({ port }), patience);
    const half = await dial({ port });
    await tryWrite(half, secure === undefined ? text("GE") : new Uint8Array([0x16, 0x03, 0x01]));
    bad.half = endOf(half, patience);
    bad.wordless = endOf(await dial({ port, ca: secure }), patience);
    const trickle = await dial({ port, ca: secure });
    let trickling = true;
    const drip = (async () => {
      await tryWrite(trickle, text("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "));
      while (trickling && await tryWrite(trickle, text("a"))) await new Promise((resolve) => setTimeout(resolve, 100));
    })();
    bad.trickle = endOf(trickle, patience);
    const short = await dial({ port, ca: secure });
    await tryWrite(short, text("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nshort"));
    bad.short = endOf(short, patience);
    const kept = await dial({ port, ca: secure });
    await tryWrite(kept, text("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    bad.kept = endOf(kept, patience);

    const ends: Record<string, number | undefined> = {};
    for (const [name, end] of Object.entries(bad)) ends[name] = await end;
    trickling = false;
    await drip;
    for (const [name, end] of Object.entries(ends)) {
      const least = name === "kept" ? WATCHDOG.keepAliveTimeout : WATCHDOG.handshakeTimeout;
      assert(end !== undefined && end > least * 0.8 && end < least + 8_000, `${name}: ${end} ms`);
    }
    await sending;
    const started = await late;
    for (const connection of [quiet, slow, started]) {
      await tryWrite(connection, textFrame("hi"));
      await skip(connection, 4);
      connection.close();
    }
    await busy.stop();
    const { ended } = (await server.stat()).watchdog!;
    assertEquals({ ...ended, handshake: ended.handshake! }, {
      handshake: 4,
      body: 1,
      idle: 1,
      flood: 0,
      payload: 0,
      close: 0,
      upgrade: 0,
      unfinished: 0,
      memory: 0,
      descriptors: 0,
    });
  });
}

for (const kind of ["pongs", "empty"] as const) {
  Deno.test(`a flood of ${kind} that freezes the loop is cut within a second; others go on`, async () => {
    await using server = await ServerProcess.start({ tls, watchdog: WATCHDOG });
    const bystanders = [];
    for (let count = 0; count < 5; count++) bystanders.push(steady(await dialUpgraded({ port: server.port, ca })));
    const flood = JSON.parse(await python("./flood.py", server.port, "tls", kind, 20)) as {
      cut: boolean;
      after: number;
    };
    assert(flood.cut && flood.after < 6, JSON.stringify(flood));
    for (const bystander of bystanders) {
      const times = (await bystander.stop()).toSorted((one, other) => one - other);
      assert(times[Math.floor(times.length / 2)]! < 100, `median ${times[times.length >> 1]} ms`);
      assert(times.at(-1)! < 6_000, `worst ${times.at(-1)} ms`);
    }
    const { reasons } = await server.settle((stat) => stat.reasons.length > 0);
    assertEquals(reasons.length, 1);
    assert(["flood", "payload"].includes(reasons[0]!), reasons[0]);
  });
}

Deno.test("a message in fragments that passes the limit before it is whole is ended; one below it is served", async () => {
  await using server = await ServerProcess.start({ watchdog: WATCHDOG });
  const honest = await dialUpgraded({ port: server.port });
  const part = new Uint8Array(10_000);
  for (let piece = 0; piece < 100; piece++) {
    await tryWrite(honest, maskedFrame(piece === 0 ? Opcode.Binary : Opcode.Continuation, part, { fin: false }));
  }
  await tryWrite(honest, maskedFrame(Opcode.Continuation, part));
  await skip(honest, 1_010_000);
  honest.close();
  const before = await server.stat();
  const { cut, sent } = JSON.parse(await python("./flood.py", server.port, "plain", "fragments", 30));
  assert(cut, `${sent} bytes`);
  const after = await server.settle((stat) => stat.reasons.length > 0);
  assert(["flood", "payload"].includes(after.reasons[0]!), after.reasons[0]);
  assert(after.rss < before.rss + 1024 ** 3, `${after.rss}`);
});

Deno.test("a client that pings for long and sends nothing else is left alone", async () => {
  await using server = await ServerProcess.start({ watchdog: { ...WATCHDOG, maxPayload: 1 } });
  const connection = await dialUpgraded({ port: server.port });
  const ping = maskedFrame(Opcode.Ping, new Uint8Array(100));
  for (let count = 0; count < 2_000; count++) {
    await tryWrite(connection, ping);
    await skip(connection, 102);
  }
  await server.settle((stat) => stat.watchdog!.fullScans > 4);
  await tryWrite(connection, textFrame("hi"));
  await skip(connection, 4);
  connection.close();
});

Deno.test("a peer that does not answer a close is ended after its time", async () => {
  await using server = await ServerProcess.start({ watchdog: WATCHDOG });
  const connection = await dialUpgraded({ port: server.port });
  await tryWrite(connection, textFrame("close me"));
  await skip(connection, 4);
  const end = await endOf(connection, 20_000);
  assert(end !== undefined && end > 1_000, `${end}`);
  const { reasons } = await server.settle((stat) => stat.reasons.length > 0);
  assertEquals(reasons, ["close"]);
});

Deno.test("terminate ends a peer that never reads, at once", async () => {
  await using server = await ServerProcess.start({ tls, watchdog: WATCHDOG });
  const connection = await dialUpgraded({ port: server.port, ca });
  for (let times = 0; times < 3; times++) await tryWrite(connection, textFrame("feed me"));
  await tryWrite(connection, textFrame("cut me"));
  const { closed } = await server.settle(({ closed }) => closed === 1);
  assertEquals(closed, 1);
  connection.close();
});

Deno.test("a peer that takes nothing for userTimeout is ended by the kernel; one that reads slowly is not", async () => {
  await using server = await ServerProcess.start({ userTimeout: 2_000 });
  const stuck = await dialUpgraded({ port: server.port });
  for (let times = 0; times < 3; times++) await tryWrite(stuck, textFrame("feed me"));
  const slow = await dialUpgraded({ port: server.port });
  await tryWrite(slow, textFrame("feed me"));
  const reading = (async () => {
    for (let left = 8 * 1024 ** 2; left > 0; left -= 500_000) {
      await skip(slow, Math.min(left, 500_000));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  })();
  const stat = await server.settle(({ closed }) => closed === 1);
  assertEquals([stat.closed, stat.sockets], [1, 1]);
  await reading;
  slow.close();
  stuck.close();
});

Deno.test("the watchdog costs little of a core at 10,000 connections, and ends none of them", async () => {
  await using server = await ServerProcess.start({ watchdog: WATCHDOG });
  const count = Math.min(10_000, Math.floor(server.started.limit * 0.45));
  const connections: Deno.Conn[] = [];
  while (connections.length < count) {
    const batch = Math.min(200, count - connections.length);
    connections.push(...await Promise.all(Array.from({ length: batch }, () => dialUpgraded({ port: server.port }))));
  }
  const before = await server.settle((stat) => stat.sockets === count);
  const began = performance.now();
  // Each scan is followed by a pause of 250 times its length.
  const after = await server.settle((stat) => stat.watchdog!.fullScans >= before.watchdog!.fullScans + 2, 60_000);
  const share = (after.watchdog!.spent - before.watchdog!.spent) / ((performance.now() - began) * 1000);
  assertEquals(after.sockets, count);
  // 0.4 % for each of two kinds of scan; 5 % while a busy machine makes the loop look as if it stood still.
  assert(share < 0.08, `${(share * 100).toFixed(2)} % of a core`);
  for (const connection of connections) connection.close();
  assertEquals((await server.settle((stat) => stat.sockets === 0)).sockets, 0);
});
