/**
 * Admission control: limits the connections of a service, in total and per client address. It only decides; the caller
 * answers with 503.
 * @module
 */
import { addressKey, canonicalAddress } from "../ip.ts";

/** The connection limits. */
export interface AdmissionLimits {
  /** The most connections in total. Undefined: unlimited. */
  readonly maxConnections?: number | undefined;
  /** The most connections per client address; IPv6 addresses are counted by /64. Default 0: unlimited. */
  readonly maxConnectionsPerAddress?: number;
  /** The most connections in this process. Undefined: unlimited. */
  readonly maxConnectionsHere?: number | undefined;
  /** Undefined: only this process counts. */
  readonly others?: OtherConnections | undefined;
}

/** The connections of the other workers on the same port, if the limits apply to all together. */
export interface OtherConnections {
  /** Their connections. */
  readonly total: number;
  /** Their connections from one client address or /64. */
  ofAddress(key: string): number;
  /** Called after each change in this process, with the total and the count of this address or /64. */
  changed(total: number, key: string | undefined, held: number): void;
}

/** One admitted connection. It counts until `release`, which may be called any number of times. */
export interface Slot {
  readonly ok: true;
  release(): void;
}

/** A refused connection. The caller answers 503 with Retry-After, before the upgrade. */
export interface AdmissionRefusal {
  readonly ok: false;
  readonly status: 503;
  /** The option whose limit was reached. */
  readonly limit: "maxConnections" | "maxConnectionsPerAddress";
  /** The value of that option. */
  readonly most: number;
  /** For the Retry-After header, in seconds. */
  readonly retryAfter: number;
  /** The text for the body and the log. Contains no address. */
  readonly reason: string;
}

/** Connections end within seconds on a busy service. A shorter delay would only make all clients return at once. */
const RETRY_AFTER = 10;

/**
 * Counts open connections, in all and by client. Its memory is bounded by what is open: a client's entry goes with its
 * last connection.
 */
export class Admission {
  readonly #most: number;
  readonly #mostPerAddress: number;
  readonly #mostHere: number;
  readonly #others: OtherConnections | undefined;
  readonly #perAddress = new Map<string, number>();
  #open = 0;

  constructor(limits: AdmissionLimits) {
    this.#most = limits.maxConnections ?? Infinity;
    this.#mostPerAddress = limits.maxConnectionsPerAddress || Infinity;
    this.#mostHere = limits.maxConnectionsHere ?? Infinity;
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
   * @param address the client's own; undefined where there is none (a unix socket without a header), which then counts
   * towards the total alone
   */
  admit(address: string | undefined): Slot | AdmissionRefusal {
    if (this.#open + (this.#others?.total ?? 0) >= this.#most) {
      return refusal("maxConnections", this.#most, "connection limit reached");
    }
    if (this.#open >= this.#mostHere) {
      return refusal("maxConnections", this.#mostHere, "connection limit of this worker reached");
    }
    const key = address === undefined ? undefined : addressKey(canonicalAddress(address) ?? address);
    if (key !== undefined) {
      const held = this.#perAddress.get(key) ?? 0;
      if (held + (this.#others?.ofAddress(key) ?? 0) >= this.#mostPerAddress) {
        const reason = "connection limit of one client address reached";
        return refusal("maxConnectionsPerAddress", this.#mostPerAddress, reason);
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

function refusal(limit: AdmissionRefusal["limit"], most: number, reason: string): AdmissionRefusal {
  return { ok: false, status: 503, limit, most, retryAfter: RETRY_AFTER, reason: `${reason} (${most})` };
}
