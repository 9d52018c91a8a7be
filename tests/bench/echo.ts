/**
 * Echo load: each connection keeps a fixed number of messages in flight.
 * @module
 */
import { maskedFrame, Opcode, repeated, serverFrame, textOf } from "../support/frames.ts";
import { closeQuietly, dialUpgraded, writeAll } from "../support/raw.ts";
import type { Job, Measured } from "./job.ts";
import { Window } from "./window.ts";

/** Runs the job. */
export async function echo(job: Job): Promise<Measured> {
  const payload = textOf(job.size);
  const frame = maskedFrame(Opcode.Text, payload);
  const batches = Array.from({ length: job.inFlight + 1 }, (_, times) => repeated(frame, times));
  const answer = serverFrame(Opcode.Text, payload);
  const conns = await Promise.all(Array.from({ length: job.connections }, () => dialUpgraded(job.target)));
  const window = new Window(job);
  for (const conn of conns) interact(conn, batches, answer, window).catch((error) => window.fail(error));
  try {
    return await window.measure();
  } finally {
    conns.forEach(closeQuietly);
  }
}

/** All answers have the same length, so their number is the number of bytes divided by it. */
async function interact(
  conn: Deno.Conn,
  batches: readonly Uint8Array<ArrayBuffer>[],
  answer: Uint8Array,
  window: Window,
): Promise<void> {
  const inFlight = batches.length - 1;
  const sent = new Float64Array(inFlight).fill(performance.now());
  const buffer = new Uint8Array(Math.max(65_536, answer.length));
  let next = 0;
  let rest = 0;
  let checked = false;
  await writeAll(conn, batches[inFlight]!);
  while (!window.over) {
    const length = await conn.read(buffer);
    if (length === null) throw new Error("the server closed a connection");
    if (!checked && rest === 0) {
      // Compares the whole of one answer, then only the header of each: that is enough to detect another frame.
      if (length >= answer.length) checked = answer.every((byte, i) => buffer[i] === byte);
      if (length >= answer.length && !checked) throw new Error("the server did not echo what was sent");
    }
    if (rest === 0 && (buffer[0] !== answer[0] || (length > 1 && buffer[1] !== answer[1]))) {
      throw new Error(`the server sent a frame that is not an echo: ${buffer.subarray(0, 2)}`);
    }
    rest += length;
    const whole = Math.floor(rest / answer.length);
    if (whole === 0) continue;
    rest -= whole * answer.length;
    const now = performance.now();
    for (let i = 0; i < whole; i++) {
      window.add(now - sent[next]!, 1);
      sent[next] = now;
      next = next + 1 === inFlight ? 0 : next + 1;
    }
    await writeAll(conn, batches[whole]!);
  }
}
