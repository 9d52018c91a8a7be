/**
 * The app under attack. For each hook it prints one JSON line with the arguments and the peer's name (`?name=`) to
 * standard output. It carries out the commands that peers send.
 * @module
 */
import { defineApp, type Peer } from "../../lib/ws/app_types.ts";

interface Tally {
  messages: number;
  bytes: number;
}

const tallies = new WeakMap<Peer, Tally>();

export default defineApp({
  open(peer) {
    tallies.set(peer, { messages: 0, bytes: 0 });
    say(peer, { hook: "open", id: peer.id });
    if (nameOf(peer).startsWith("fragile")) throw new Error("open was told to fail");
  },

  message(peer, message) {
    const tally = tallies.get(peer)!;
    const data = message.rawData as string | ArrayBuffer;
    tally.messages++;
    tally.bytes += typeof data === "string" ? data.length : data.byteLength;
    if (nameOf(peer).startsWith("quiet")) return;
    if (typeof data === "string" && data.startsWith("!")) return obey(peer, data.slice(1).split(" "));
    peer.send(data);
  },

  close(peer, { code, reason }) {
    say(peer, { hook: "close", code, reason, ...tallies.get(peer)! });
    if (nameOf(peer).startsWith("sore")) throw new Error("close was told to fail");
  },

  error(peer, { message }) {
    say(peer, { hook: "error", message });
  },

  drain(peer) {
    say(peer, { hook: "drain", buffered: peer.bufferedAmount });
  },
});

function obey(peer: Peer, [order, ...args]: string[]): void | Promise<void> {
  switch (order) {
    case "throw":
      throw new Error("message was told to fail");
    case "reject":
      return Promise.reject(new Error("message was told to fail later"));
    case "close":
      return peer.close(Number(args[0]), args[1]);
    case "terminate":
      return peer.terminate();
    case "subscribe":
      return peer.subscribe("news");
    case "publish":
      return peer.publish("news", new Uint8Array(Number(args[0])));
    case "feed": {
      const fine = peer.send(new Uint8Array(Number(args[0])));
      return say(peer, { hook: "sent", fine, buffered: peer.bufferedAmount });
    }
  }
}

function nameOf(peer: Peer): string {
  return String(peer.context.name ??= new URL(peer.request.url).searchParams.get("name") ?? "nobody");
}

function say(peer: Peer, event: Record<string, unknown>): void {
  const bytes = new TextEncoder().encode(JSON.stringify({ name: nameOf(peer), ...event }) + "\n");
  for (let written = 0; written < bytes.length;) written += Deno.stdout.writeSync(bytes.subarray(written));
}
