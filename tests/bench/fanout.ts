/**
 * Fan-out load: one connection publishes, all others receive. When the last subscriber has received a publication, the
 * next one is sent.
 * @module
 */
import { maskedFrame, Opcode, serverFrame, textOf } from "../support/frames.ts";
import { closeQuietly, dialUpgraded, writeAll } from "../support/raw.ts";
import type { Job, Measured } from "./job.ts";
import { connectMany } from "./many.ts";
import { Window } from "./window.ts";

/** Runs the job. */
export async function fanout(job: Job): Promise<Measured> {
  const payload = textOf(job.size);
  const expected = serverFrame(Opcode.Text, payload);
  const publication = maskedFrame(Opcode.Binary, new Uint8Array([2, ...payload]));
  const subscribe = maskedFrame(Opcode.Binary, new Uint8Array([1]));
  const publisher = await dialUpgraded(job.target);
  const subscribers = await connectMany(job.target, job.connections);
  await Promise.all(subscribers.map((conn) => writeAll(conn, subscribe)));
  const window = new Window(job);
  const round = new Round(job, () => void writeAll(publisher, publication).catch((error) => window.fail(error)));
  for (const conn of subscribers) receive(conn, expected, round, window).catch((error) => window.fail(error));
  // Subscriptions use other connections than the publications. A late subscriber would miss the first publication,
  // and the load would wait forever.
  await settled(publisher);
  round.start();
  try {
    return await window.measure();
  } finally {
    closeQuietly(publisher);
    subscribers.forEach(closeQuietly);
  }
}

/** Waits for 100 echoes on the publisher's connection, by which time the server has handled the subscriptions. */
async function settled(publisher: Deno.Conn): Promise<void> {
  const frame = maskedFrame(Opcode.Text, textOf(1));
  const buffer = new Uint8Array(64);
  for (let i = 0; i < 100; i++) {
    await writeAll(publisher, frame);
    if (await publisher.read(buffer) === null) throw new Error("the server closed the publisher's connection");
  }
}

/** The publications in flight: the time at which each was sent, and how many subscribers have received it. */
class Round {
  readonly #job: Job;
  readonly #publish: () => void;
  readonly #sent: number[] = [];
  readonly #received: number[] = [];

  constructor(job: Job, publish: () => void) {
    this.#job = job;
    this.#publish = publish;
  }

  start(): void {
    for (let slot = 0; slot < this.#job.inFlight; slot++) this.#send(slot);
  }

  /** Records that a subscriber has received its nth publication. Returns the latency in ms. */
  took(nth: number): number {
    const slot = nth % this.#job.inFlight;
    const ms = performance.now() - this.#sent[slot]!;
    if (++this.#received[slot]! === this.#job.connections) this.#send(slot);
    return ms;
  }

  #send(slot: number): void {
    this.#sent[slot] = performance.now();
    this.#received[slot] = 0;
    this.#publish();
  }
}

async function receive(conn: Deno.Conn, expected: Uint8Array, round: Round, window: Window): Promise<void> {
  const buffer = new Uint8Array(4096);
  let rest = 0;
  let nth = 0;
  while (!window.over) {
    const length = await conn.read(buffer);
    if (length === null) throw new Error("the server closed a subscriber's connection");
    if (rest === 0 && buffer[0] !== expected[0]) throw new Error(`the server sent an unexpected frame: ${buffer[0]}`);
    for (rest += length; rest >= expected.length; rest -= expected.length) window.add(round.took(nth++), 1);
  }
}
