/**
 * The connected peers, and closing them at shutdown or revocation.
 * @module
 */
import { delay } from "@std/async/delay";
import { CloseCode } from "../close_codes.ts";
import type { Peer } from "./app_types.ts";

/** The open peers. */
export class PeerRegistry {
  readonly #peers = new Set<Peer>();
  readonly #keyIds = new Map<Peer, string>();
  #onEmpty: (() => void) | undefined;

  get all(): ReadonlySet<Peer> {
    return this.#peers;
  }

  get size(): number {
    return this.#peers.size;
  }

  /** @param keyId the secret or key that verified its token */
  add(peer: Peer, keyId?: string): void {
    this.#peers.add(peer);
    if (keyId !== undefined) this.#keyIds.set(peer, keyId);
  }

  /** Closes the peers whose secret or key is no longer valid. Returns their number. */
  closeRevoked(accepts: (keyId: string) => boolean): number {
    let count = 0;
    for (const [peer, keyId] of this.#keyIds) {
      if (accepts(keyId)) continue;
      peer.close(CloseCode.Unauthorized, "the token was revoked");
      count++;
    }
    return count;
  }

  /** Idempotent. */
  delete(peer: Peer): void {
    this.#peers.delete(peer);
    this.#keyIds.delete(peer);
    if (this.#peers.size === 0) this.#onEmpty?.();
  }

  /** Waits until no peer is left, at most this many milliseconds. */
  async waitUntilEmpty(timeout: number): Promise<void> {
    if (this.#peers.size === 0 || timeout === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeout);
    this.#onEmpty = resolve;
    await promise;
    clearTimeout(timer);
    this.#onEmpty = undefined;
  }

  /** Sends a close frame to all current peers, spread evenly over this many milliseconds; 0: at once. */
  async close(code: number, reason: string, duration = 0, signal?: AbortSignal): Promise<void> {
    const peers = [...this.#peers];
    for (const peer of peers) {
      if (signal?.aborted) return;
      peer.close(code, reason);
      if (duration > 0) await delay(duration / peers.length, { signal }).catch(() => {});
    }
  }

  /** Ends the remaining peers without a close handshake. */
  terminate(): void {
    for (const peer of this.#peers) peer.terminate();
  }
}
