/**
 * The load generator's input and output: JSON between two processes.
 * @module
 */
import type { RawTarget } from "../support/raw.ts";
import type { Latency } from "./histogram.ts";

/** A piece of load. */
export interface Load {
  readonly kind: "echo" | "fanout" | "handshake" | "idle" | "burst";
  readonly connections: number;
  /** Messages in flight: per connection, or publications in total. */
  readonly inFlight: number;
  /** Bytes per message. */
  readonly size: number;
}

/** A load, its target and its duration. */
export interface Job extends Load {
  readonly target: RawTarget;
  /** Process whose CPU and memory are measured. */
  readonly pid: number;
  /** Further processes of the same server. Their CPU is added. */
  readonly workers?: readonly number[];
  /** Seconds before the measurement. */
  readonly warmUp: number;
  /** Seconds of the measurement. */
  readonly seconds: number;
}

/** The result of a job. */
export interface Measured {
  /** Number of echoes, deliveries, handshakes or connections. */
  readonly count: number;
  readonly seconds: number;
  /** Seconds of CPU that the server used during the measurement. */
  readonly serverCpu: number;
  /** Seconds of CPU that the generator used. If near `seconds`, the generator limited the throughput. */
  readonly generatorCpu: number;
  readonly latency: Latency;
  /** Connections that failed. */
  readonly failed: number;
  /**
   * Bytes of memory per connection. `resident`: of all connections, before garbage collection. `held`: of the second
   * half of the connections, after garbage collection.
   */
  readonly memory?: { readonly resident: number; readonly held: number };
}
