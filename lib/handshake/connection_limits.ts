/**
 * Admission control: limits the connections of a service, in total and per client address. It returns a decision; the
 * caller sends the 503.
 * @module
 */
import { addressKey, canonicalAddress } from "../ip.ts";

/** The connection limits. */
export interface AdmissionLimits {
  /** The maximum number of connections in total. Undefined: unlimited. */
  readonly maxConnections?: number | undefined;
  /** The maximum number of connections per client address or IPv6 /64. Default 0: unlimited. */
  readonly maxConnectionsPerAddress?: number;
  /** The maximum number of connections of this process. Undefined: unlimited. */
  readonly maxConnectionsHere?: number | undefined;
  /** The connections of the other workers. Undefined: only the connections of this process are counted. */
  readonly others?: OtherConnections | undefined;
}

/** The connections of the other workers on the same port, for limits that apply to all workers together. */
export interface OtherConnections {
  /** The number of their connections. */
  readonly total: number;
  /** The number of their connections from one client address or /64. */
  ofAddress(key: string): number;
  /** Called after each change in this process, with its total and its count for this address or /64. */
  changed(total: number, key: string | undefined, held: number): void;
}

/** One admitted connection. It is counted until `release` is called; further calls have no effect. */
export interface Slot {
  readonly ok: true;
  release(): void;
}

/** A refused connection. The caller responds with 503 and Retry-After before the upgrade. */
export interface AdmissionRefusal {
  readonly ok: false;
  readonly status: 503;
  /** The option whose limit was reached. */
  readonly limit: "maxConnections" | "maxConnectionsPerAddress";
  /** The value of that option. */
  readonly max: number;
  /** The value of the Retry-After header in seconds. */
  readonly retryAfter: number;
  /** The text for the body and the log. Contains no address. */
  readonly reason: string;
}

/** Seconds. On a busy service connections end within seconds. A shorter delay would make all clients return at once. */
const RETRY_AFTER = 10;

/**
 * Counts open connections, in total and per client. Its memory is bounded by the open connections: a client's entry is
 * removed with its last connection.
 */
export class Admission {
  readonly #max: number;
  readonly #maxPerAddress: number;
  readonly #maxHere: number;
  readonly #others: OtherConnections | undefined;
  readonly #perAddress = new Map<string, number>();
  #open = 0;

  constructor(limits: AdmissionLimits) {
    this.#max = limits.maxConnections ?? Infinity;
    this.#maxPerAddress = limits.maxConnectionsPerAddress || Infinity;
    this.#maxHere = limits.maxConnectionsHere ?? Infinity;
    this.#others = limits.others;
  }

  /** The number of current connections. */
  get open(): number {
    return this.#open;
  }

  /** The number of clients (addresses, /64 networks) with a connection. */
  get clients(): number {
    return this.#perAddress.size;
  }

  /**
   * Admits or refuses one connection.
   * @param address the client's address. Undefined if it is unknown (a unix socket without a forwarding header); the
   * connection is then counted in the total only
   */
  admit(address: string | undefined): Slot | AdmissionRefusal {
    if (this.#open + (this.#others?.total ?? 0) >= this.#max) {
      return refusal("maxConnections", this.#max, "connection limit reached");
    }
    if (this.#open >= this.#maxHere) {
      return refusal("maxConnections", this.#maxHere, "connection limit of this worker reached");
    }
    const key = address === undefined ? undefined : addressKey(canonicalAddress(address) ?? address);
    if (key !== undefined) {
      const held = this.#perAddress.get(key) ?? 0;
      if (held + (this.#others?.ofAddress(key) ?? 0) >= this.#maxPerAddress) {
        const reason = "connection limit of one client address reached";
        return refusal("maxConnectionsPerAddress", this.#maxPerAddress, reason);
      }
      this.#perAddress.set(key, held + 1);
    }
    this.#open++;
    this.#changed(key);
    let held = true;
    return {
      ok: true,
      release: () => {
        if (!held) return;
        held = false;
        this.#release(key);
      },
    };
  }

  #release(key: string | undefined): void {
    this.#open--;
    const left = key === undefined ? 0 : this.#perAddress.get(key)! - 1;
    if (key !== undefined && left === 0) this.#perAddress.delete(key);
    else if (key !== undefined) this.#perAddress.set(key, left);
    this.#changed(key);
  }

  #changed(key: string | undefined): void {
    this.#others?.changed(this.#open, key, key === undefined ? 0 : this.#perAddress.get(key) ?? 0);
  }
}

function refusal(limit: AdmissionRefusal["limit"], max: number, reason: string): AdmissionRefusal {
  return { ok: false, status: 503, limit, max, retryAfter: RETRY_AFTER, reason: `${reason} (${max})` };
}
