/**
 * What the load generator is told, and what it answers: JSON between two processes.
 * @module
 */
import type { RawTarget } from "../support/raw.ts";
import type { Latency } from "./histogram.ts";

/** A piece of load. */
export interface Load {
  readonly kind: "echo" | "fanout" | "handshake" | "idle" | "burst";
  readonly connections: number;
  /** Messages on their way at once: per connection, or publications. */
  readonly inFlight: number;
  /** Bytes of a message. */
  readonly size: number;
}

/** The load, where to, and for how long. */
export interface Job extends Load {
  readonly target: RawTarget;
  /** Whose CPU and memory is measured. */
  readonly pid: number;
  /** Further processes of the same server, whose CPU counts too. */
  readonly workers?: readonly number[];
  readonly warmUp: number;
  /** Seconds measured. */
  readonly seconds: number;
}

/** What came of it. */
export interface Measured {
  /** Messages echoed or delivered, handshakes or connections. */
  readonly count: number;
  readonly seconds: number;
  /** Seconds of CPU that the server used meanwhile. */
  readonly serverCpu: number;
  /** The same of the generator: near `seconds`, it was the limit. */
  readonly generatorCpu: number;
  readonly latency: Latency;
  /** Connections that failed. */
  readonly failed: number;
  /** Bytes of memory that a connection took, before the collector ran; and one of the second half, after it had. */
  readonly memory?: { readonly resident: number; readonly held: number };
}
