/**
 * Floods a service from its own thread. It sends one block repeatedly and reads nothing, until the service closes the
 * connection or the test stops it.
 */
/// <reference lib="deno.worker" />
import { maskedFrame, Opcode, repeated, textFrame } from "../support/frames.ts";
import type { RawTarget } from "../support/raw.ts";
import { RawPeer } from "../support/raw_peer.ts";

/** The message that starts the flood. */
export interface FloodOrder {
  readonly service: RawTarget;
  readonly name: string;
  readonly kind: FloodKind;
  /** The maximum duration. */
  readonly seconds: number;
}

/** The message that reports the result. */
export interface Flooded {
  readonly cut: boolean;
  /** In milliseconds. */
  readonly after: number;
  readonly sent: number;
}

export type FloodKind = "text" | "pong" | "continuation" | "binary" | "text-16k";

const nothing = new Uint8Array();

function blocks(kind: FloodKind): Uint8Array<ArrayBuffer>[] {
  switch (kind) {
    case "text":
      return [nothing, repeated(textFrame("hi"), 8_192)];
    case "pong":
      return [nothing, repeated(maskedFrame(Opcode.Pong, nothing), 10_000)];
    case "continuation":
      return [
        maskedFrame(Opcode.Text, nothing, { fin: false }),
        repeated(maskedFrame(Opcode.Continuation, nothing, { fin: false }), 10_000),
      ];
    case "binary":
      return [nothing, maskedFrame(Opcode.Binary, new Uint8Array(1024 ** 2))];
    case "text-16k":
      return [nothing, repeated(textFrame("x".repeat(16_384)), 8)];
  }
}

self.onmessage = async ({ data }: MessageEvent<FloodOrder>) => {
  const { service, name, kind, seconds } = data;
  await using peer = await RawPeer.open(service, { name, reading: false });
  const [first, block] = blocks(kind);
  await peer.send(first!);
  self.postMessage("begun");
  const began = performance.now();
  let sent = 0;
  let cut = false;
  while (!cut && performance.now() - began < seconds * 1000) {
    cut = !await peer.send(block!);
    sent += block!.length;
  }
  self.postMessage({ cut, after: performance.now() - began, sent } satisfies Flooded);
};
