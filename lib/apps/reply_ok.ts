/**
 * The default app: answers `ok` to every message.
 * @module
 */
import { defineApp } from "../ws/app_types.ts";

export default defineApp({
  message(peer) {
    peer.send("ok");
  },
});
