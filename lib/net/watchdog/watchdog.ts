/**
 * Ends connections that never become a request, flood the service, never finish a message or do not answer a close frame,
 * and prevents leaks by upgrades whose client has disconnected. Its thread is scanner_worker.ts.
 * @module
 */
import { canonicalAddress } from "../../ip.ts";
import type { Logger } from "../../log.ts";
import { createWatchdogContext, type WatchdogContext, WatchedConnection } from "./watched_connection.ts";
import { DescriptorFinder } from "./descriptor_finder.ts";
import { ABORT_REASONS, type AbortReason, ConnectionTable, Header } from "./connection_table.ts";
import type { ScannerReport, ScannerTask } from "./scanner_worker.ts";
import { type Ffi, loadFfi } from "../ffi/load_ffi.ts";
import { CLOSE_TIMEOUT, defaultKeepAliveTimeout, type WatchdogLimits } from "./watchdog_rules.ts";

/** The listener to watch, and the limits. */
export interface WatchdogOptions extends Partial<WatchdogLimits> {
  /** The address of the listener (`Listener.addr`). A unix socket has no watchdog: its connections cannot be found by address. */
  readonly addr: Deno.Addr;
  /** Milliseconds: `--handshake-timeout`. */
  readonly handshakeTimeout: number;
  /** Bytes: `--max-payload`. */
  readonly maxPayload: number;
  /** Milliseconds: `--message-timeout`. Default: no limit. */
  readonly messageTimeout?: number;
  /** The maximum bytes of all unfinished messages together. Default: no limit. */
  readonly unfinishedBudget?: number;
  readonly log: Logger;
}

/** The counters of the watchdog. */
export interface WatchdogStats {
  /** Connections ended, by reason. */
  readonly ended: Readonly<Record<AbortReason, number>>;
  readonly scans: number;
  /** Scans of every connection, not only of those before the upgrade. */
  readonly fullScans: number;
  /** Microseconds that the scans took. */
  readonly scanMicroseconds: number;
  /** Upgrades that were not started because the client had disconnected. */
  readonly abandonedUpgrades: number;
}

const BEAT_EVERY = 100;
/** Milliseconds to wait for the thread to start or end. */
const THREAD_TIMEOUT = 5_000;

/** The watchdog of one listener. */
export class Watchdog {
  readonly #context: WatchdogContext;
  /** Undefined before the thread starts, and after it has ended. */
  #worker: Worker | undefined;
  readonly #log: Logger;
  readonly #beat: ReturnType<typeof setInterval>;
  readonly #start: ReturnType<typeof setTimeout>;
  readonly #ended = new Map<AbortReason, number>();
  readonly #ready = Promise.withResolvers<boolean>();
  readonly #stopped = Promise.withResolvers<void>();

  /**
   * Creates a watchdog, and starts its thread shortly afterwards; `connection` may be called at once. Returns undefined
   * without the C library, on systems other than Linux, and for a unix socket, where the proxy in front limits such
   * clients. Requires `--allow-ffi` without a path.
   */
  static start(options: WatchdogOptions): Watchdog | undefined {
    const { ffi } = loadFfi();
    if (ffi?.libc.linux !== true || !("port" in options.addr)) return undefined;
    return new Watchdog(options, options.addr.port, ffi);
  }

  private constructor(options: WatchdogOptions, port: number, { sockets, libc }: Ffi) {
    this.#log = options.log;
    const table = ConnectionTable.create(sockets.descriptorLimit());
    const finder = new DescriptorFinder(sockets, port, table.rows);
    this.#context = createWatchdogContext({ table, finder, sockets, solSocket: libc.constants.SOL_SOCKET });
    const { header } = table;
    this.#beat = setInterval(() => {
      Atomics.add(header, Header.beat, 1);
      if (header[Header.unfinished]! > 0) this.#context.onUnfinished?.();
    }, BEAT_EVERY);
    this.#beat.unref();
    // Creating a thread takes 20 ms (measured), so the service first reports that it listens.
    this.#start = setTimeout(() => this.#startThread(options, port), 0);
  }

  /** Resolves to whether the thread is running. Connections are recorded even before it resolves. */
  get ready(): Promise<boolean> {
    return this.#ready.promise;
  }

  #startThread(options: WatchdogOptions, port: number): void {
    const { handshakeTimeout, maxPayload } = options;
    const { keepAliveTimeout = defaultKeepAliveTimeout(handshakeTimeout), closeTimeout = CLOSE_TIMEOUT } = options;
    const { messageTimeout = Infinity, unfinishedBudget = Infinity } = options;
    const limits = { handshakeTimeout, keepAliveTimeout, closeTimeout, maxPayload, messageTimeout, unfinishedBudget };
    const task: ScannerTask = { buffer: this.#context.table.buffer, port, limits };
    // The thread has all permissions of the program. Restricting them requires an `unstable` entry in deno.json, without
    // which Deno ends the process with exit code 70.
    const worker = new Worker(new URL("./scanner_worker.ts", import.meta.url), { type: "module", name: "watchdog" });
    this.#worker = worker;
    const fail = (reason: string) => {
      this.#log.error(
        `The watchdog does not run (${reason}): connections that stall, flood the service or never finish a message are not ended`,
      );
      this.#end();
    };
    worker.onmessage = ({ data }: MessageEvent<ScannerReport>) => {
      if (data.kind === "ready") {
        this.#log.debug("the watchdog runs");
        this.#ready.resolve(true);
      } else if (data.kind === "failed") fail(data.reason);
      else if (data.kind === "stopped") this.#end();
      else if (data.kind === "short") this.#short(data);
      else this.#report(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      fail(event.message);
    };
    worker.postMessage(task);
  }

  /**
   * Records a request. Returns its connection.
   * @param remote `info.remoteAddr`, read before any upgrade
   * @param body whether the request has a body, which must then be complete within `handshakeTimeout`
   */
  connection(remote: Deno.Addr, body: boolean): WatchedConnection {
    let fd = -1;
    if ("hostname" in remote) {
      const hostname = canonicalAddress(remote.hostname) ?? remote.hostname;
      fd = this.#context.finder.find({ hostname, port: remote.port });
    }
    return new WatchedConnection(this.#context, fd, body);
  }

  /** Returns the current values of the counters. */
  stats(): WatchdogStats {
    const ended = Object.fromEntries(
      ABORT_REASONS.slice(1).map((reason) => [reason, this.#ended.get(reason as AbortReason) ?? 0]),
    );
    const { header } = this.#context.table;
    return {
      ended: ended as Record<AbortReason, number>,
      scans: Atomics.load(header, Header.scans),
      fullScans: Atomics.load(header, Header.fullScans),
      scanMicroseconds: Atomics.load(header, Header.scanMicroseconds),
      abandonedUpgrades: this.#context.abandonedUpgrades,
    };
  }

  /** Stops the thread. Idempotent. Returns at once if the thread has not started or has ended. */
  async stop(): Promise<void> {
    const { header } = this.#context.table;
    Atomics.store(header, Header.stop, 1);
    Atomics.notify(header, Header.stop);
    if (this.#worker === undefined) return this.#end();
    const timer = setTimeout(() => this.#end(), THREAD_TIMEOUT);
    await this.#stopped.promise;
    clearTimeout(timer);
  }

  #end(): void {
    clearInterval(this.#beat);
    clearTimeout(this.#start);
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#ready.resolve(false);
    this.#stopped.resolve();
  }

  #short({ closed, open, limit }: Extract<ScannerReport, { kind: "short" }>): void {
    this.#log.warn("Descriptors run short: the oldest connections that made no request were closed", {
      closed,
      descriptors: open,
      limit,
    });
  }

  #report(report: Extract<ScannerReport, { kind: "ended" }>): void {
    const { reason, peer, received } = report;
    this.#ended.set(reason, (this.#ended.get(reason) ?? 0) + 1);
    this.#log.debug("The watchdog ended a connection", { reason, peer, received });
  }
}
