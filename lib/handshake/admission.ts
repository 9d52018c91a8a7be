/**
 * Admission control: how many connections a service takes, in all and from one client address. Verdicts only; answering
 * 503 is the caller's.
 * @module
 */
import { addressKey, canonicalAddress } from "../ip.ts";

/** How many connections are taken at once. */
export interface AdmissionLimits {
  /** In all. Undefined: unlimited. */
  readonly maxConnections?: number | undefined;
  /** From one client address, an IPv6 address counting by its /64. 0, the default, is unlimited. */
  readonly maxConnectionsPerAddress?: number;
  /** In this process, whatever others have. Undefined: unlimited. */
  readonly maxConnectionsHere?: number | undefined;
  /** Undefined: this process alone counts. */
  readonly others?: OtherConnections | undefined;
}

/** What other workers on the same port have, where limits are meant for all of them. */
export interface OtherConnections {
  /** Their connections. */
  readonly total: number;
  /** Their connections from one client address or /64. */
  ofAddress(key: string): number;
  /** Called with each change here: how many there are, and how many from this address or /64. */
  changed(total: number, key: string | undefined, held: number): void;
}

/** One admitted connection. It counts until `release`, which may be called any number of times. */
export interface Slot {
  readonly ok: true;
  release(): void;
}

/** Why a connection is not admitted: answer 503 with Retry-After, before the upgrade. */
export interface AdmissionRefusal {
  readonly ok: false;
  readonly status: 503;
  /** The option whose limit was reached. */
  readonly limit: "maxConnections" | "maxConnectionsPerAddress";
  /** Its value. */
  readonly most: number;
  /** For the Retry-After header, in seconds. */
  readonly retryAfter: number;
  /** For the body and the log. Names no address. */
  readonly reason: string;
}

/** Connections end within seconds on a busy service; a shorter wait would only bring everybody back at once. */
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

  /** Connections that count now. */
  get open(): number {
    return this.#open;
  }

  /** Clients (addresses, /64 networks) that have a connection now. */
  get clients(): number {
    return this.#perAddress.size;
  }

  /**
   * Takes one more connection or refuses it.
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
