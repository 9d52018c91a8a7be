/**
 * An app that computes, also used for messages between workers. Text is echoed after 0.1 ms of computing. A binary
 * message is a command: its first byte is 1 to subscribe, 2 to publish the rest as text, or 4 to answer with the
 * process ID.
 * @module
 */
import { defineApp } from "../../../lib/ws/app_types.ts";

const decoder = new TextDecoder();
/** Duration of the computing, ms. */
const WORK = 0.1;

function compute(rounds: number): number {
  let value = 1;
  for (let round = 0; round < rounds; round++) value = Math.imul(value, 1_103_515_245) + 12_345 | 0;
  return value;
}

/** Returns the number of rounds that take this time. Uses the fastest attempt, because others may use the core, too. */
function calibrate(): number {
  const rounds = 100_000;
  let best = Infinity;
  for (let attempt = 0; attempt < 100; attempt++) {
    const began = performance.now();
    compute(rounds);
    best = Math.min(best, performance.now() - began);
  }
  return Math.round(rounds * WORK / best);
}

const rounds = calibrate();

export default defineApp({
  message(peer, message) {
    const { rawData } = message;
    if (typeof rawData === "string") {
      compute(rounds);
      peer.send(rawData);
      return;
    }
    const bytes = message.uint8Array();
    if (bytes[0] === 1) peer.subscribe("all");
    if (bytes[0] === 2) peer.publish("all", decoder.decode(bytes.subarray(1)));
    if (bytes[0] === 4) peer.send(String(Deno.pid));
  },
});
