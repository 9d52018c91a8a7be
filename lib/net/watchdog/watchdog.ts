/**
 * Watches over the connections of the service: ends those that never become a request, flood, hoard or do not answer,
 * and keeps upgrades whose client has gone from leaking. Its thread is guard_worker.ts.
 * @module
 */
import { canonicalAddress } from "../../ip.ts";
import type { Logger } from "../../log.ts";
import { Connection, type Ledger, openLedger } from "./watched_connection.ts";
import { Finder } from "./descriptor_finder.ts";
import { GuardTable, type Reason, REASONS } from "./connection_table.ts";
import type { GuardReport, GuardTask } from "./scanner_worker.ts";
import { loadNative, type Native } from "../ffi/load_ffi.ts";
import type { GuardLimits } from "./tracked_socket.ts";

/** What to watch, and the bounds. */
export interface GuardOptions extends Partial<GuardLimits> {
  /** Where the service listens (`Listener.addr`). A unix socket has no guard: its peers have no addresses to find. */
  readonly addr: Deno.Addr;
  /** Milliseconds: `--handshake-timeout`. */
  readonly handshakeTimeout: number;
  /** Bytes: `--max-payload`. */
  readonly maxPayload: number;
  readonly log: Logger;
}

/** What the guard has done. */
export interface GuardStats {
  /** Connections ended, by reason. */
  readonly ended: Readonly<Record<Reason, number>>;
  readonly scans: number;
  /** Scans that looked at every connection, not only at those that are no WebSocket yet. */
  readonly fullScans: number;
  /** Microseconds that the scans took. */
  readonly spent: number;
  /** Upgrades that were not begun because the client had gone. */
  readonly gone: number;
}

const KEEP_ALIVE = 75_000;
const CLOSE = 5_000;
const BEAT_EVERY = 100;
/** Milliseconds to wait for the thread to start or end. */
const PATIENCE = 5_000;
/** See the module. */
export class Guard {
  readonly #ledger: Ledger;
  readonly #worker: Worker;
  readonly #log: Logger;
  readonly #beat: ReturnType<typeof setInterval>;
  readonly #ended = new Map<Reason, number>();
  #stopped: (() => void) | undefined;

  /** Whether its thread runs; resolves once that is known. Connections are written down from the start. */
  readonly ready: Promise<boolean>;

  /**
   * Starts the guard's thread, which takes a moment; connections can be told of at once. Undefined without the C
   * library, not on Linux, and on a unix socket, where the proxy in front keeps such clients away. Needs a bare
   * `--allow-ffi`.
   */
  static start(options: GuardOptions): Guard | undefined {
    const { native } = loadNative();
    if (native?.libc.linux !== true || !("port" in options.addr)) return undefined;
    return new Guard(options, options.addr.port, native);
  }

  private constructor(options: GuardOptions, port: number, { sockets, libc }: Native) {
    this.#log = options.log;
    const table = GuardTable.create(sockets.descriptorLimit());
    const finder = new Finder(sockets, port, table.rows);
    this.#ledger = openLedger({ table, finder, sockets, solSocket: libc.constants.SOL_SOCKET });
    this.#worker = new Worker(new URL("./scanner_worker.ts", import.meta.url), {
      type: "module",
      name: "guard",
      deno: { permissions: { ffi: true } },
    });
    const { header } = table;
    this.#beat = setInterval(() => Atomics.add(header, 0, 1), BEAT_EVERY);
    this.#beat.unref();
    this.ready = this.#start(options, port);
  }

  #start(options: GuardOptions, port: number): Promise<boolean> {
    const { handshakeTimeout, keepAliveTimeout = KEEP_ALIVE, closeTimeout = CLOSE, maxPayload } = options;
    const limits = { handshakeTimeout, keepAliveTimeout, closeTimeout, maxPayload };
    const task: GuardTask = { buffer: this.#ledger.table.buffer, port, limits };
    return new Promise((resolve) => {
      const fail = (reason: string) => {
        this.#log.error(`The guard does not run (${reason}): nobody ends connections that stall, flood or hoard`);
        this.#stopped?.();
        this.#end();
        resolve(false);
      };
      this.#worker.onmessage = ({ data }: MessageEvent<GuardReport>) => {
        if (data.kind === "ready") resolve(true);
        else if (data.kind === "failed") fail(data.reason);
        else if (data.kind === "stopped") this.#stopped?.();
        else this.#report(data);
      };
      this.#worker.onerror = (event) => {
        event.preventDefault();
        fail(event.message);
      };
      this.#worker.postMessage(task);
    });
  }

  /**
   * A request came in.
   * @param remote `info.remoteAddr`, read before any upgrade
   * @param body whether it has one: then it must be whole within `handshakeTimeout`
   */
  connection(remote: Deno.Addr, body: boolean): Connection {
    let fd = -1;
    if ("hostname" in remote) {
      const hostname = canonicalAddress(remote.hostname) ?? remote.hostname;
      fd = this.#ledger.finder.find({ hostname, port: remote.port });
    }
    return new Connection(this.#ledger, fd, body);
  }

  stats(): GuardStats {
    const ended = Object.fromEntries(
      REASONS.slice(1).map((reason) => [reason, this.#ended.get(reason as Reason) ?? 0]),
    );
    const { header } = this.#ledger.table;
    return {
      ended: ended as Record<Reason, number>,
      scans: Atomics.load(header, 3),
      fullScans: Atomics.load(header, 5),
      spent: Atomics.load(header, 4),
      gone: this.#ledger.gone,
    };
  }

  /** Ends the thread. */
  async stop(): Promise<void> {
    Atomics.store(this.#ledger.table.header, 1, 1);
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve) => {
      this.#stopped = resolve;
      timer = setTimeout(resolve, PATIENCE);
    });
    clearTimeout(timer);
    this.#end();
  }

  #end(): void {
    clearInterval(this.#beat);
    this.#worker.terminate();
  }

  #report(report: Extract<GuardReport, { kind: "ended" }>): void {
    const { reason, peer, received } = report;
    this.#ended.set(reason, (this.#ended.get(reason) ?? 0) + 1);
    this.#log.debug("The guard ended a connection", { reason, peer, received });
  }
}
