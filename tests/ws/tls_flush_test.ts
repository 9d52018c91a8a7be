/**
 * The service sends the end of a long message although Deno does not flush its TLS buffer. It sends a ping only for
 * this purpose.
 */
import { assert, assertEquals } from "@std/assert";
import { loadFfi } from "../../lib/net/ffi/load_ffi.ts";
import { defineApp } from "../../lib/ws/app_types.ts";
import { TlsFlush } from "../../lib/ws/tls_flush.ts";
import { Opcode, textFrame } from "../support/frames.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { serving } from "../support/serving.ts";

/** The level and the name of the Linux socket option for the size of the send buffer. */
const [SOL_SOCKET, SO_SNDBUF] = [1, 7];

Deno.test("a client that begins to read late gets each message whole", async () => {
  const app = defineApp({ message: (peer, message) => void peer.send(new Uint8Array(Number(message.text()))) });
  // Deno's own ping comes only after a minute.
  await using served = await serving(app, { idleTimeout: "120s" });
  await using peer = await RawPeer.open(served.raw, { reading: false });
  // As on a slow connection, the buffer is smaller than the data that Deno passes to the TLS layer at once.
  shrinkSendBuffers(served.raw.port, 32_768);
  const payloads = () =>
    peer.frames.filter(({ opcode }) => opcode === Opcode.Binary).map(({ payload }) => payload.length);
  const sizes = [300_000, 333_333, 400_000, 444_444, 500_000];
  const begin = performance.now();
  for (const [at, size] of sizes.entries()) {
    await peer.send(textFrame(String(size)));
    await peer.until(() => payloads().length > at);
  }
  assertEquals(payloads(), sizes);
  assert(performance.now() - begin < 50_000, `it took ${performance.now() - begin} ms`);
  assert(peer.frames.some(({ opcode }) => opcode === Opcode.Ping), "nothing was left in the TLS buffer to test with");
});

/** Limits the send buffers of the connections accepted on a port. */
function shrinkSendBuffers(port: number, bytes: number): void {
  const { sockets } = loadFfi().ffi!;
  for (const fd of sockets.open()) {
    if (sockets.localPort(fd) === port && !sockets.isListening(fd)) {
      assert(sockets.setOption(fd, SOL_SOCKET, SO_SNDBUF, bytes));
    }
  }
}

/** A connection with counts of its acknowledged bytes and of the pings sent. Initially all bytes are acknowledged. */
class Line {
  acknowledged = 1000;
  unacknowledged = 0;
  pings = 0;
  /** The number of additions to the poller. */
  polled = 0;
  readonly flush: TlsFlush;

  constructor() {
    const socket = { readyState: WebSocket.OPEN, bufferedAmount: 0 } as unknown as WebSocket;
    const connection = { acknowledged: () => this.acknowledged, unacknowledged: () => this.unacknowledged };
    this.flush = new TlsFlush(socket, connection, { add: () => void this.polled++ }, () => ++this.pings > 0);
    this.flush.open();
  }

  /** Sends a message of which `arrive` bytes arrive. */
  send(bytes: number, arrive: number): void {
    this.flush.sent(bytes);
    this.acknowledged += arrive;
  }
}

Deno.test("no ping is sent where every byte was acknowledged", () => {
  for (const overhead of [21, 22, 29]) {
    const line = new Line();
    for (let count = 0; count < 10; count++) line.send(100, 102 + overhead);
    assertEquals(line.polled, 0, "so few bytes need no check");
    line.send(20_000, 20_004 + 2 * overhead);
    line.send(70_000, 70_010 + 5 * overhead);
    assertEquals(line.polled, 1);
    assertEquals(line.flush.poll(0), true, "messages were sent since the last poll");
    line.unacknowledged = 1;
    assertEquals(line.flush.poll(50), true, "the peer has not acknowledged all");
    line.unacknowledged = 0;
    assertEquals(line.flush.poll(300), false);
    assertEquals(line.pings, 0);
  }
});

Deno.test("bytes that did not arrive are flushed with one ping; the count begins anew", () => {
  const line = new Line();
  line.send(100_000, 90_000);
  assertEquals([line.flush.poll(0), line.flush.poll(50), line.pings], [true, true, 1]);
  line.acknowledged += 10_010 + 7 * 22 + 24;
  assertEquals([line.flush.poll(300), line.pings], [false, 1]);
  line.send(20_000, 20_004 + 2 * 22);
  assertEquals([line.flush.poll(550), line.flush.poll(600), line.pings, line.polled], [true, false, 1, 2]);
});

Deno.test("more bytes than were counted can hide some that did not arrive: a ping is sent, but later", () => {
  const line = new Line();
  line.send(20_000, 60_000);
  assertEquals([line.flush.poll(0), line.flush.poll(50), line.flush.poll(450), line.pings], [true, true, true, 0]);
  assertEquals([line.flush.poll(700), line.pings], [true, 1]);
});
