/**
 * What one peer has still to take: Deno's send buffer is unbounded, and nothing fires when it falls.
 * @module
 */
import { delay } from "@std/async/delay";
import type { Payload } from "../hub/topics.ts";
import type { WaitForDrainOptions } from "./app_types.ts";

/** How a send went. `gone`: the socket is not open; `wait`: over half the limit; `over`: over the limit. */
export type SendStatus = "fine" | "gone" | "wait" | "over";

/** The bytes on their way to one peer. */
export class SendBuffer {
  readonly #socket: WebSocket;
  readonly #most: number;
  /** An upper bound of bufferedAmount: asking Deno is a call that most sends can do without. */
  #atMost = 0;
  /** Set by the peer, which knows: asking the socket for its state costs more than the rest of a send here. */
  open = false;

  /** @param most bytes that may wait */
  constructor(socket: WebSocket, most: number) {
    this.#socket = socket;
    this.#most = most;
  }

  /** Bytes that wait, as Deno tells. */
  get buffered(): number {
    return this.#atMost = this.#socket.bufferedAmount;
  }

  /** See `Peer.waitForDrain`. */
  async drained({ threshold = 0, pollInterval = 100, signal }: WaitForDrainOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    while (this.open && this.buffered > threshold) {
      await delay(pollInterval, signal ? { signal } : {});
    }
  }

  /** Hands a message to Deno, and tells how full the buffer then is. */
  send(payload: Payload): SendStatus {
    if (!this.open) return "gone";
    this.#socket.send(payload);
    // A UTF-16 unit is three bytes at the most.
    this.#atMost += typeof payload === "string" ? payload.length * 3 : payload.byteLength;
    if (this.#atMost * 2 <= this.#most) return "fine";
    const { buffered } = this;
    return buffered > this.#most ? "over" : buffered * 2 > this.#most ? "wait" : "fine";
  }
}
