/**
 * An app with work to do, and for messages between workers: text comes back after 0.1 ms of computing; a binary message
 * is a command, its first byte 1 to subscribe, 2 to publish the rest as text, 4 to answer with the process's id.
 * @module
 */
import { defineApp } from "../../../lib/ws/app_types.ts";

const decoder = new TextDecoder();
/** Milliseconds. */
const WORK = 0.1;

function compute(rounds: number): number {
  let value = 1;
  for (let round = 0; round < rounds; round++) value = Math.imul(value, 1_103_515_245) + 12_345 | 0;
  return value;
}

/** How many rounds take the time, at the best of many attempts: others may have the core meanwhile. */
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
