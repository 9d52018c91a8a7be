/**
 * The supervisor of several worker processes on one port. It serves no connections itself. It starts the workers, replaces
 * workers that die or hang, reloads all of them together, and relays messages between them.
 * @module
 */
import { delay } from "@std/async/delay";
import { join } from "node:path";
import { messageOf, StartError } from "../errors.ts";
import { IpcServer } from "../hub/brokers/ipc_server.ts";
import type { Logger } from "../log.ts";
import type { ReloadResult } from "../service/credential_reloader.ts";
import { ConnectionSums } from "./sum_connection_counts.ts";
import type { ServiceDescription } from "./control_channel.ts";
import { HeartbeatMonitor } from "./heartbeat_monitor.ts";
import { SharedPort } from "./shared_port.ts";
import { ControlListener, describeStatus, WorkerProcess } from "./worker_process.ts";

/** Options of a supervisor. */
export interface SupervisorOptions {
  /** The number of workers. */
  readonly count: number;
  /** The program and the arguments of a worker. */
  readonly command: () => readonly string[];
  /** Whether the supervisor relays messages between the workers. False if a broker connects them. */
  readonly relay: boolean;
  /** Milliseconds without a heartbeat after which a worker is replaced. After a tenth of it, new connections go elsewhere. */
  readonly workerTimeout: number;
  /** Milliseconds within which a worker must listen. */
  readonly startTimeout: number;
  /** Milliseconds that open connections get when a worker stops. */
  readonly drainTimeout: number;
  readonly log: Logger;
}

/** Milliseconds beyond the drain timeout after which a stopping worker is killed. */
const STOP_TIMEOUT = 15_000;
/** Delays before a dead worker is restarted, ms: the first and the longest. */
const BACKOFF = [100, 30_000] as const;
/** Milliseconds after which a worker counts as stable: its next restart begins with the first delay again. */
const STABLE_AFTER = 60_000;

/** The supervisor of one service. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #folder: string;
  readonly #control: ControlListener;
  readonly #ipcServer: IpcServer | undefined;
  readonly #hung = new Set<WorkerProcess>();
  readonly #port = new SharedPort(this.#hung);
  readonly #counts: ConnectionSums<WorkerProcess>;
  readonly #heartbeats: HeartbeatMonitor;
  /** All processes that have not exited. */
  readonly #processes = new Set<WorkerProcess>();
  /** The current worker of each slot. */
  readonly #slots: (WorkerProcess | undefined)[];
  readonly #failures: number[];
  readonly #stopping = new AbortController();
  #listening: ServiceDescription | undefined;
  /** Resolves when the latest change of sockets is done. */
  #lastChange: Promise<unknown> = Promise.resolve();
  /** The reloads that have not begun, by whether they include the tokens. */
  readonly #reloads = new Map<boolean, Promise<void>>();
  #stopped: Promise<void> | undefined;

  private constructor(options: SupervisorOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
    this.#slots = new Array(options.count).fill(undefined);
    this.#failures = new Array(options.count).fill(0);
    this.#counts = new ConnectionSums((worker, counts) => worker.send({ type: "counts", counts }));
    this.#heartbeats = new HeartbeatMonitor({
      workerTimeout: options.workerTimeout,
      log: options.log,
      hung: this.#hung,
      // A new worker has clients before it is in its slot. Old ones that drain after a replacement are in no slot.
      monitored: () =>
        [...this.#processes].filter((worker) =>
          worker.isListening && (!worker.stopping || this.#slots.includes(worker))
        ),
      steer: () => this.#steer(),
      reload: () => this.reload(),
    });
    this.#control = new ControlListener(
      join(folder, "control.sock"),
      (token) => [...this.#processes].find((worker) => worker.token === token),
    );
    this.#ipcServer = options.relay
      ? new IpcServer({
        path: join(folder, "relay.sock"),
        onStall: () =>
          options.log.warn(
            "a worker accepted no messages for a second; its connection to the relay was closed, and it will reconnect",
          ),
      })
      : undefined;
  }

  /**
   * Starts the workers. The first one starts alone, so that a start error is reported only once.
   * @throws {WorkerFailure} if a worker exited before it listened; the worker has printed the reason
   * @throws {StartError} if a worker did not listen in time
   */
  static async start(options: SupervisorOptions): Promise<Supervisor> {
    const folder = await Deno.makeTempDir({ prefix: "wss-workers-" });
    const supervisor = new Supervisor(options, folder);
    try {
      await supervisor.#startWorker(0);
      await Promise.all(supervisor.#slots.slice(1).map((_, slot) => supervisor.#startWorker(slot + 1)));
    } catch (error) {
      supervisor.#stopping.abort();
      for (const worker of supervisor.#processes) worker.kill();
      await supervisor.#close();
      throw error;
    }
    supervisor.#heartbeats.start();
    return supervisor;
  }

  /** Called after all workers have switched to another certificate. */
  onReload: () => Promise<void> = () => Promise.resolve();

  /** The first worker's description of the service. */
  get listening(): ServiceDescription {
    return this.#listening!;
  }

  /**
   * Reloads the certificate in all workers, and the tokens, too, if `tokens` is set. Calls before it begins share it.
   * @throws {StartError} if the new files are not usable; all workers then keep the old ones
   */
  reload(tokens = true): Promise<void> {
    const pending = this.#reloads.get(tokens);
    if (pending) return pending;
    const done = this.#exclusively(() => {
      this.#reloads.delete(tokens);
      return this.#reload(tokens);
    });
    this.#reloads.set(tokens, done);
    return done;
  }

  /**
   * Replaces all workers by new ones that run the code now on disk. The old workers drain their connections.
   * @throws {StartError} if the new workers do not start, and the old ones keep serving; or if the supervisor stops meanwhile
   */
  replace(): Promise<void> {
    return this.#exclusively(async () => {
      const known = this.#port.sockets;
      const fresh: WorkerProcess[] = [];
      const newest = (slot: number) => fresh.findLast(({ index }) => index === slot + 1);
      try {
        await this.#port.replace(async () => {
          // Another attempt replaces only the new workers that have died. The others keep their sockets.
          for (const slot of this.#slots.keys()) {
            if (newest(slot)?.hasExited === false) continue;
            const worker = this.#spawn(slot);
            fresh.push(worker);
            await this.#listen(worker, true);
          }
        }, true);
      } catch (error) {
        await this.#port.closeOthers(known);
        // Those that listen may have connections already. They drain them.
        for (const worker of fresh) this.#stopWorker(worker, true);
        await Promise.all(fresh.filter(({ isListening }) => !isListening).map(({ exited }) => exited));
        const kept = this.#stopping.signal.aborted ? "" : "; the old ones keep serving";
        throw new StartError(`Cannot replace the workers${kept}: ${messageOf(error)}`, { cause: error });
      }
      // A worker that was restarted meanwhile is one of them.
      const before = this.#slots.filter((worker) => worker !== undefined);
      for (const slot of this.#slots.keys()) {
        // One that has already exited is restarted.
        const worker = this.#slots[slot] = newest(slot)!;
        this.#failures[slot] = 0;
        this.#watchExit(slot, worker);
      }
      for (const worker of before) if (!worker.stopping) this.#stopWorker(worker, true);
    });
  }

  /** Stops all workers after their connections have drained. Resolves when all processes have exited. Idempotent. */
  stop(): Promise<void> {
    return this.#stopped ??= (async () => {
      this.#stopping.abort();
      this.#heartbeats.stop();
      for (const worker of this.#processes) this.#stopWorker(worker, false);
      // A replacement in progress now starts no other worker. The workers that it has already started are stopped, too.
      await this.#lastChange;
      for (const worker of this.#processes) if (!worker.stopping) this.#stopWorker(worker, false);
      await this.#close();
    })();
  }

  /** Kills all workers at once. */
  kill(): void {
    for (const worker of this.#processes) worker.kill();
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#processes].map(({ exited }) => exited));
    this.#counts.stop();
    this.#control[Symbol.dispose]();
    await this.#ipcServer?.[Symbol.asyncDispose]();
    await Deno.remove(this.#folder, { recursive: true }).catch(() => {});
  }

  /** Runs a change of sockets after all earlier ones. */
  #exclusively<T>(run: () => Promise<T>): Promise<T> {
    const done = this.#lastChange.then(run);
    this.#lastChange = done.catch(() => {});
    return done;
  }

  /** @throws {StartError} if the supervisor is stopping, or the program cannot be started */
  #spawn(slot: number): WorkerProcess {
    if (this.#stopping.signal.aborted) throw new StartError("Cannot start a worker: the service is stopping");
    const { count, command } = this.#options;
    const parameters = {
      index: slot + 1,
      count,
      control: join(this.#folder, "control.sock"),
      ...(this.#ipcServer ? { relay: join(this.#folder, "relay.sock") } : {}),
      token: crypto.randomUUID(),
    };
    const prepared = Promise.withResolvers<void>();
    const worker = new WorkerProcess({ command: command(), parameters }, {
      prepared: () => prepared.resolve(),
      socket: (worker, change) => {
        if (change === "lost") this.#port.removeNewest(worker);
        else this.#port.add(worker);
      },
      counts: (from, counts) => this.#counts.update(from, counts),
      terminated: (worker) => void this.#exclusively(() => this.#terminate(worker)),
      reload: (tokens) => this.reload(tokens),
    });
    this.#prepared.set(worker, prepared.promise);
    this.#processes.add(worker);
    void worker.exited.then(() => {
      this.#processes.delete(worker);
      this.#port.remove(worker);
      this.#counts.remove(worker);
      // New connections avoid a hanging worker by socket indexes, which have changed.
      if (this.#hung.size > 0) void this.#steer();
      this.#hung.delete(worker);
    });
    return worker;
  }

  readonly #prepared = new WeakMap<WorkerProcess, Promise<void>>();

  /**
   * Waits until a worker is prepared, then lets it listen.
   * @param exclusive whether the caller already runs exclusively
   * @throws {WorkerFailure} if the worker exited
   * @throws {StartError} if the worker did not listen in time
   */
  async #listen(worker: WorkerProcess, exclusive: boolean): Promise<ServiceDescription> {
    const { startTimeout } = this.#options;
    const timeout = new AbortController();
    const late = delay(startTimeout, { signal: timeout.signal }).then(() => {
      worker.kill();
      throw new StartError(`Cannot start worker ${worker.index}: it did not listen within ${startTimeout / 1000} s`);
    });
    try {
      await Promise.race([this.#prepared.get(worker), worker.listening, late]);
      const letListen = async () => {
        // The service may have begun to stop while the worker waited for its turn.
        if (worker.stopping) throw new StartError(`Cannot start worker ${worker.index}: it was stopped`);
        // It may have connections, and report them, as soon as it listens. One that has exited would never be removed.
        if (!worker.hasExited) this.#counts.add(worker);
        const port = this.#listening?.port;
        worker.listen({ join: this.#port.isOpen, ...(port ? { port } : {}) });
        const service = await Promise.race([worker.listening, late]);
        this.#port.add(worker);
        // If it fails, another worker has died. Its exit steers again.
        if (this.#hung.size > 0) await this.#port.steer().catch(() => {});
        return service;
      };
      const service = exclusive ? await letListen() : await this.#exclusively(letListen);
      worker.heardAt = performance.now();
      return service;
    } finally {
      timeout.abort();
      late.catch(() => {});
    }
  }

  async #startWorker(slot: number): Promise<void> {
    const worker = this.#spawn(slot);
    this.#slots[slot] = worker;
    this.#listening = await this.#listen(worker, false);
    this.#watchExit(slot, worker);
  }

  /** Restarts a worker that exits unexpectedly. */
  #watchExit(slot: number, worker: WorkerProcess): void {
    const startedAt = performance.now();
    void worker.exited.then((status) => {
      if (this.#slots[slot] !== worker || this.#stopping.signal.aborted) return;
      const { log } = this.#options;
      const level = worker.stopping ? "warn" : "error";
      log[level](`worker ${slot + 1} exited (${describeStatus(status)}); restarting it`, { pid: worker.pid });
      if (performance.now() - startedAt > STABLE_AFTER) this.#failures[slot] = 0;
      void this.#restart(slot);
    });
  }

  /** Restarts a worker that has exited, unless a replacement fills its slot meanwhile. */
  async #restart(slot: number): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#stopping;
    let worker = this.#slots[slot];
    for (;;) {
      const [first, longest] = BACKOFF;
      await delay(Math.min(first * 2 ** this.#failures[slot]!++, longest), { signal }).catch(() => {});
      if (signal.aborted || this.#slots[slot] !== worker) return;
      try {
        worker = this.#slots[slot] = this.#spawn(slot);
        await this.#listen(worker, false);
      } catch (error) {
        if (signal.aborted || this.#slots[slot] !== worker) return;
        log.error(`worker ${slot + 1} did not start: ${messageOf(error)}; retrying`);
        continue;
      }
      log.info(`worker ${slot + 1} is serving again`, { pid: worker.pid });
      this.#watchExit(slot, worker);
      return;
    }
  }

  /** Stops one worker while the others go on. It is replaced when it has exited. */
  async #terminate(worker: WorkerProcess): Promise<void> {
    if (worker.stopping) return;
    worker.stopping = true;
    // If it fails, another worker has died or hangs. The sockets then close with the worker.
    await this.#port.close(worker).catch(() => {});
    this.#stopWorker(worker, true);
  }

  #stopWorker(worker: WorkerProcess, followed: boolean): void {
    worker.stop(followed);
    const timer = setTimeout(() => worker.kill(), this.#options.drainTimeout + STOP_TIMEOUT);
    void worker.exited.then(() => clearTimeout(timer));
  }

  /** Directs new connections to the workers that answer. */
  #steer(): Promise<void> {
    return this.#exclusively(() => this.#port.steer()).catch((error) => {
      this.#options.log.error(messageOf(error));
    });
  }

  async #reload(tokens: boolean): Promise<void> {
    for (const worker of this.#processes) worker.reloadBegins(tokens);
    const workers = this.#reloadable();
    const loaded = await Promise.allSettled(workers.map((worker) => worker.request("load", { tokens })));
    const failure = loaded.find((each, index) => each.status === "rejected" && !workers[index]!.hasExited);
    if (failure?.status === "rejected") {
      await this.#settle("failed");
      throw new StartError(messageOf(failure.reason), { cause: failure.reason });
    }
    const changed = loaded.some((each) => each.status === "fulfilled" && each.value.changed);
    if (!changed) return await this.#settle("unchanged");
    const known = this.#port.sockets;
    try {
      await this.#port.replace(async () => {
        for (const worker of this.#reloadable()) {
          await worker.request("bind", undefined).then(
            () => this.#port.add(worker),
            (error) => {
              // A dead worker has no sockets, and restarts with the new certificate.
              if (!worker.hasExited && !worker.stopping) throw error;
            },
          );
        }
      }, false);
    } catch (error) {
      await this.#port.closeOthers(known);
      await this.#settle("failed");
      throw new StartError(messageOf(error), { cause: error });
    }
    await this.#settle("applied").then(this.onReload);
  }

  async #settle(result: ReloadResult): Promise<void> {
    await Promise.allSettled(this.#reloadable().map((worker) => worker.request("settle", result)));
  }

  /** The listening workers that answer. Those that are stopping still answer, for example that the service drains. */
  answering(): WorkerProcess[] {
    const workers = this.#slots.filter((worker) => worker !== undefined);
    return workers.filter((worker) => worker.isListening && !worker.hasExited && !this.#hung.has(worker));
  }

  /** The workers that are reloaded. One that is stopping must not listen again. */
  #reloadable(): WorkerProcess[] {
    return this.answering().filter((worker) => !worker.stopping);
  }
}
