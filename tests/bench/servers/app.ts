/**
 * The behaviour of every server of the benchmark, as an app of this service. Text is echoed. A binary message is a
 * command: its first byte is 1 to subscribe, 2 to publish the rest as text, or 3 to collect garbage and answer.
 * @module
 */
import { defineApp } from "../../../lib/ws/app_types.ts";

const decoder = new TextDecoder();
const { gc } = globalThis as { gc?: () => void };

export default defineApp({
  message(peer, message) {
    const { rawData } = message;
    if (typeof rawData === "string") {
      peer.send(rawData);
      return;
    }
    const bytes = message.uint8Array();
    if (bytes[0] === 1) peer.subscribe("all");
    if (bytes[0] === 2) peer.publish("all", decoder.decode(bytes.subarray(1)));
    if (bytes[0] === 3) {
      gc?.();
      peer.send("collected");
    }
  },
});
