/**
 * A broker inside one process (`--broker local:NAME`). Services of one program that use the same name share their topics,
 * for example one service in direct mode and one in proxied mode.
 * @module
 */
import type { Broker, Deliver } from "../broker.ts";

/** The maximum number of bytes that may wait within one turn of the event loop. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

const buses = new Map<string, Set<LocalBroker>>();

/** Joins the bus of this name. */
export function openLocal(name: string): Broker {
  const bus = buses.get(name) ?? new Set();
  buses.set(name, bus);
  return new LocalBroker(name, bus);
}

class LocalBroker implements Broker {
  readonly maxFrame = Infinity;
  connected = true;
  readonly #name: string;
  readonly #bus: Set<LocalBroker>;
  readonly #subscriptions = new Map<string, Deliver>();
  #waiting: { readonly channel: string; readonly frame: Uint8Array<ArrayBuffer> }[] = [];
  #bytes = 0;

  constructor(name: string, bus: Set<LocalBroker>) {
    this.#name = name;
    this.#bus = bus;
    bus.add(this);
  }

  publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean {
    if (!this.connected || this.#bytes + frame.length > MAX_WAITING_BYTES) return false;
    if (this.#waiting.push({ channel, frame }) === 1) queueMicrotask(() => this.#send());
    this.#bytes += frame.length;
    return true;
  }

  subscribe(channel: string, deliver: Deliver): void {
    this.#subscriptions.set(channel, deliver);
  }

  unsubscribe(channel: string): void {
    this.#subscriptions.delete(channel);
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#send();
    this.connected = false;
    this.#bus.delete(this);
    if (this.#bus.size === 0) buses.delete(this.#name);
    return Promise.resolve();
  }

  #send(): void {
    const frames = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    for (const { channel, frame } of frames) {
      for (const other of this.#bus) {
        if (other !== this) other.#subscriptions.get(channel)?.(frame);
      }
    }
  }
}
