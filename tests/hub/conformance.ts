/**
 * Tests of the contract in lib/hub/broker.ts, for any engine.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type Broker, NODE_BYTES } from "../../lib/hub/broker.ts";
import { Channels } from "../../lib/hub/channel_names.ts";
import { topicKey } from "../../lib/hub/topic_names.ts";
import { peerTest } from "../peers/require.ts";
import type { Engine } from "./engines.ts";

/**
 * Adds the tests for an engine.
 * @param programs the programs that the engine needs
 */
export function conformance(name: string, start: () => Promise<Engine>, programs: readonly string[] = []): void {
  const test = (what: string, run: (engine: Engine) => Promise<void>) =>
    peerTest(programs, `broker ${name}: ${what}`, async () => {
      await using engine = await start();
      await run(engine);
    });

  test("a frame reaches each other subscribed node once, unchanged, and no other node", async (engine) => {
    await using a = await node(engine);
    await using b = await node(engine);
    await using c = await node(engine);
    await using stranger = await node(engine);
    for (const each of [a, b, c]) each.listen("x.t.one");
    stranger.listen("x.t.other");
    await settle(a, b, c, stranger);
    const bodies = [
      new Uint8Array(0),
      Uint8Array.from({ length: 256 }, (_, i) => i),
      new Uint8Array(100_000).fill(0xff),
    ];
    for (const body of bodies) assert(a.publish("x.t.one", body));
    await Promise.all([b.heard(3), c.heard(3)]);
    await settle(a, b, c, stranger);
    for (const each of [b, c]) assertEquals(each.frames.map(({ body }) => body), bodies);
    assertEquals([a.frames, stranger.frames], [[], []]);
  });

  test("frames of one node in one channel arrive in order and once, also in bursts", async (engine) => {
    await using a = await node(engine);
    await using b = await node(engine);
    await using c = await node(engine);
    for (const each of [b, c]) each.listen("x.t.order");
    await settle(b, c);
    const count = 20_000;
    let taken = 0;
    for (let i = 0; i < count; i++) {
      if (a.publish("x.t.order", uint32(taken))) taken++;
      if (i % 500 === 0) await settle(a);
    }
    assertEquals(taken, count);
    await Promise.all([b.heard(count), c.heard(count)]);
    await settle(a, b, c);
    const expected = Array.from({ length: count }, (_, i) => i);
    for (const each of [b, c]) assertEquals(each.frames.map(({ body }) => asUint32(body)), expected);
  });

  test("after an unsubscription no frame arrives; a new subscription in the same turn works", async (engine) => {
    await using a = await node(engine);
    await using b = await node(engine);
    b.listen("x.t.left");
    b.listen("x.t.again");
    await settle(b);
    b.broker.unsubscribe("x.t.left");
    b.broker.unsubscribe("x.t.again");
    b.listen("x.t.again");
    await settle(b);
    a.publish("x.t.left", uint32(1));
    a.publish("x.t.again", uint32(2));
    await b.heard(1);
    await settle(a, b);
    assertEquals(b.frames.map(({ channel, body }) => [channel, asUint32(body)]), [["x.t.again", 2]]);
  });

  test("every Unicode name has its own channel", async (engine) => {
    await using a = await node(engine);
    await using b = await node(engine);
    const channels = new Channels("wss");
    const long = "ä".repeat(5000);
    const names = [
      "",
      " ",
      ".",
      "..",
      "a.b",
      "*",
      ">",
      "a b",
      "@",
      "#",
      "%",
      "%2E",
      "\0",
      "\r\n",
      "\ud800",
      "\udfff",
      "💬",
    ];
    names.push("房间", "A", "a", long, `${long}x`);
    const pairs = ["", "shop", "a\0", "\x01"].flatMap((namespace) => names.map((topic) => topicKey(namespace, topic)));
    pairs.push(topicKey("a\0b", "c"), topicKey("a", "b\0c"));
    const all = pairs.map((key) => channels.topic(key));
    for (const channel of all) b.listen(channel);
    await settle(b);
    all.forEach((channel, i) => a.publish(channel, uint32(i)));
    await b.heard(all.length);
    await settle(a, b);
    // Frames of different channels arrive in any order.
    const frames = b.frames.map(({ channel, body }) => ({ channel, at: asUint32(body) })).sort((x, y) => x.at - y.at);
    assertEquals(frames, all.map((channel, at) => ({ channel, at })));
  });

  test("delivers on 10,000 channels with one subscriber each", async (engine) => {
    await using a = await node(engine);
    await using b = await node(engine);
    const count = 10_000;
    for (let i = 0; i < count; i++) b.listen(`x.t.many.${i}`);
    await settle(b);
    for (let i = 0; i < count; i++) {
      assert(a.publish(`x.t.many.${i}`, uint32(i)));
      if (i % 500 === 0) await settle(a);
    }
    await b.heard(count);
    assertEquals(new Set(b.frames.map(({ channel, body }) => `${channel}=${asUint32(body)}`)).size, count);
  });

  test("calls after disposal do nothing", async (engine) => {
    const a = await node(engine);
    a.listen("x.t.one");
    await a[Symbol.asyncDispose]();
    assertEquals(a.publish("x.t.one", uint32(1)), false);
    a.broker.unsubscribe("x.t.one");
    a.listen("x.t.two");
    assertEquals(a.told, []);
  });
}

/** A broker, and the frames that it delivered. */
export interface TestNode extends AsyncDisposable {
  readonly broker: Broker;
  readonly frames: { readonly channel: string; readonly body: Uint8Array }[];
  /** What the broker reported about its connection. */
  readonly told: string[];
  listen(channel: string): void;
  publish(channel: string, body: Uint8Array): boolean;
  /** Resolves once `count` frames have arrived. */
  heard(count: number): Promise<void>;
}

/** Connects a node. */
export async function node(
  engine: Engine,
  id = crypto.getRandomValues(new Uint8Array(NODE_BYTES)),
): Promise<TestNode> {
  const frames: { channel: string; body: Uint8Array }[] = [];
  const told: string[] = [];
  let enough: { count: number; resolve: () => void } | undefined;
  const broker = await engine.open({
    node: id,
    listener: {
      down: (reason) => told.push(`down: ${reason}`),
      up: () => told.push("up"),
      problem: (message) => told.push(`problem: ${message}`),
    },
  });
  return {
    broker,
    frames,
    told,
    listen(channel) {
      broker.subscribe(channel, (frame) => {
        frames.push({ channel, body: frame.slice(NODE_BYTES) });
        if (enough && frames.length >= enough.count) enough.resolve();
      });
    },
    publish(channel, body) {
      const frame = new Uint8Array(NODE_BYTES + body.length);
      frame.set(id);
      frame.set(body, NODE_BYTES);
      return broker.publish(channel, frame);
    },
    async heard(count) {
      if (frames.length >= count) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      enough = { count, resolve };
      await promise;
    },
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

/** Waits until the engine has processed all requests of these nodes. */
export async function settle(...nodes: readonly TestNode[]): Promise<void> {
  for (const { broker } of nodes) await broker.flush();
}

export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

export function asUint32(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
