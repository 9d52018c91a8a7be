/**
 * Fan-out over three nodes through a real broker, compared with one node without a broker: deliveries per second, time
 * from a publication to its last delivery, and CPU of each node per delivery. Also the time for 10,000 subscriptions.
 * @module
 */
import { silent } from "../../lib/log.ts";
import { Hub, type Member } from "../../lib/hub/hub.ts";
import { natsServer, redisServer, type Server } from "../hub/engines.ts";
import { Histogram, type Latency } from "./histogram.ts";
import { connectMany } from "./many.ts";
import { pause } from "./pause.ts";
import { maskedFrame, Opcode, serverFrame, textOf } from "../support/frames.ts";
import { closeQuietly, dialUpgraded, writeAll } from "../support/raw.ts";
import { cpuSeconds } from "../support/proc.ts";
import { type Certificate, makeCertificate, startServer } from "./server.ts";

/** Options of the measurement. */
export interface BrokerOptions {
  readonly seconds: number;
  readonly warmUp: number;
  readonly json: boolean;
  print(text: string): void;
}

/** The result of one run. */
interface Figures {
  readonly broker: string;
  readonly nodes: number;
  /** Subscribers per node. */
  readonly subscribers: number;
  /** Publications in flight. */
  readonly inFlight: number;
  readonly publications: number;
  readonly deliveries: number;
  /** Time from a publication to its last delivery, ms. */
  readonly latency: Latency;
  /** Microseconds of CPU per delivery: of the publisher's node, then of the other nodes. */
  readonly cpu: readonly number[];
}

const BROKERS = ["none", "nats", "redis"] as const;
const SIZE = 64;
/** Many subscribers with one publication in flight, and one subscriber per node with many publications in flight. */
const SHAPES = [{ subscribers: 1000, inFlight: 1 }, { subscribers: 1, inFlight: 16 }] as const;

/** `deno task bench -- broker`. */
export async function brokerCommand({ seconds, warmUp, json, print }: BrokerOptions): Promise<number> {
  await using certificate = await makeCertificate();
  const runs: Figures[] = [];
  for (const shape of SHAPES) {
    for (const broker of BROKERS) {
      await using server = await startBroker(broker);
      runs.push(await measure(broker, server, certificate, shape, seconds, warmUp));
      if (!json) print(describe(runs.at(-1)!, runs));
    }
  }
  const subscribing: Record<string, number> = {};
  for (const broker of ["nats", "redis"] as const) {
    await using server = (await startBroker(broker))!;
    subscribing[broker] = await subscribeMany(server, 10_000);
    if (!json) {
      print(`${broker}: subscribed to 10,000 topics with one subscriber each in ${subscribing[broker]} ms (goal 2000)`);
    }
  }
  if (json) print(JSON.stringify({ deno: Deno.version.deno, runs, subscribing }, null, 2));
  return 0;
}

async function startBroker(broker: typeof BROKERS[number]): Promise<Server | undefined> {
  if (broker === "none") return undefined;
  return broker === "nats" ? await natsServer() : await redisServer();
}

async function measure(
  broker: string,
  server: Server | undefined,
  certificate: Certificate,
  { subscribers, inFlight }: typeof SHAPES[number],
  seconds: number,
  warmUp: number,
): Promise<Figures> {
  await using stack = new AsyncDisposableStack();
  const nodes = [];
  for (let i = 0; i < (server ? 3 : 1); i++) {
    const options = server ? ["--broker", server.url] : [];
    nodes.push(stack.use(await startServer("wss", certificate, { options })));
  }
  const targets = nodes.map(({ port }) => ({ port, ca: certificate.ca }));
  const payload = textOf(SIZE);
  const publication = maskedFrame(Opcode.Binary, new Uint8Array([2, ...payload]));
  const subscribe = maskedFrame(Opcode.Binary, new Uint8Array([1]));
  const publisher = await dialUpgraded(targets[0]!);
  stack.defer(() => closeQuietly(publisher));
  const conns = (await Promise.all(targets.map((target) => connectMany(target, subscribers)))).flat();
  stack.defer(() => conns.forEach(closeQuietly));
  await Promise.all(conns.map((conn) => writeAll(conn, subscribe)));
  // Subscriptions use other connections than the publications. One second is ample time for all of them.
  await pause(1000);

  const histogram = new Histogram();
  const sent: number[] = [];
  const received: number[] = [];
  let publications = 0;
  let deliveries = 0;
  let over = false;
  const publish = (slot: number) => {
    sent[slot] = performance.now();
    received[slot] = 0;
    publications++;
    writeAll(publisher, publication).catch(() => {});
  };
  const frame = serverFrame(Opcode.Text, payload).length;
  const { promise: failed, reject: fail } = Promise.withResolvers<never>();
  failed.catch(() => {});
  for (const conn of conns) {
    (async () => {
      const buffer = new Uint8Array(64 * 1024);
      let rest = 0;
      for (let nth = 0; !over;) {
        const length = await conn.read(buffer);
        if (length === null) throw new Error("a node closed a subscriber's connection");
        for (rest += length; rest >= frame; rest -= frame) {
          deliveries++;
          const slot = nth++ % inFlight;
          if (++received[slot]! < conns.length) continue;
          histogram.add(performance.now() - sent[slot]!);
          publish(slot);
        }
      }
    })().catch((error) => over || fail(error));
  }
  for (let slot = 0; slot < inFlight; slot++) publish(slot);
  await Promise.race([pause(warmUp * 1000), failed]);
  [publications, deliveries] = [0, 0];
  histogram.clear();
  const before = nodes.map(({ pid }) => cpuSeconds(pid));
  const began = performance.now();
  await Promise.race([pause(seconds * 1000), failed]);
  const elapsed = (performance.now() - began) / 1000;
  const each = deliveries / nodes.length;
  const cpu = nodes.map(({ pid }, i) => (cpuSeconds(pid) - before[i]!) * 1e6 / each);
  over = true;
  const rate = (count: number) => Math.round(count / elapsed);
  return {
    broker,
    nodes: nodes.length,
    subscribers,
    inFlight,
    publications: rate(publications),
    deliveries: rate(deliveries),
    latency: histogram.latency(),
    cpu,
  };
}

/** Measures the time until the broker has that many subscriptions of one node, ms. */
async function subscribeMany(server: Server, count: number): Promise<number> {
  const hub = new Hub(silent);
  let settled = () => Promise.resolve();
  await hub.connect({
    shown: server.url,
    prefix: "wss",
    async open(start) {
      const broker = await server.open(start);
      settled = () => broker.flush();
      return broker;
    },
  });
  try {
    const member: Member = {
      id: hub.peerId(),
      user: undefined,
      namespace: "",
      deliver() {},
      subscribe() {},
      unsubscribe() {},
      close() {},
    };
    const began = performance.now();
    for (let i = 0; i < count; i++) hub.topics.subscribe(`topic ${i}`, member);
    await settled();
    return Math.round(performance.now() - began);
  } finally {
    await hub.stop();
  }
}

function describe(run: Figures, runs: readonly Figures[]): string {
  const { broker, nodes, subscribers, inFlight, publications, deliveries, latency, cpu } = run;
  const local = runs.find((other) => other.broker === "none" && other.subscribers === subscribers)!.cpu[0]!;
  const figure = (value: number) => value.toFixed(1);
  const costs = cpu.map((micros) => `${figure(micros)} (${(micros / local).toFixed(2)})`).join(", ");
  return `${broker.padEnd(6)} ${nodes} x ${subscribers}, ${inFlight} in flight: ${publications} publications/s, ` +
    `${deliveries} deliveries/s, last delivery p50 ${figure(latency.p50)} ms, p99 ${figure(latency.p99)} ms; ` +
    `CPU per delivery, µs (relative to one node without a broker): ${costs}`;
}
