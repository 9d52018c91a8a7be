/**
 * Sends every message back: text as text, binary as binary.
 * @module
 */
import { defineApp } from "../ws/app_types.ts";

export default defineApp({
  message(peer, message) {
    peer.send(message.rawData);
  },
});
