/**
 * Serves until a signal stops the process, for a single process or for a supervisor.
 * @module
 */
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";

/** The actions of the signals. */
export interface SignalActions {
  /** SIGTERM, SIGINT: stops after the connections have drained. Resolves when all connections and processes have ended. */
  stop(): Promise<void>;
  /**
   * SIGHUP: reloads the admin keys; also the certificate and the tokens, neither of which changes if one is not usable.
   * @throws {StartError} if a file is not usable
   */
  reload(): Promise<void>;
  /**
   * SIGUSR2: starts the code that is on disk now. Resolves with the process id of the successor, or undefined if this
   * process continues.
   * @param signal aborted when this process stops
   * @throws {StartError} if the new code does not start, and the old code keeps serving; or if this process stops meanwhile
   */
  replace(signal: AbortSignal): Promise<number | undefined>;
  /** A second signal: kills the processes that this one started. */
  kill?(): void;
  /** The number of connections, for the log. */
  readonly peers?: number | undefined;
}

/**
 * Runs the actions of signals until the process has stopped.
 * @param stopController aborted when the stop begins
 * @returns the exit code
 */
export async function runUntilStopped(
  actions: SignalActions,
  log: Logger,
  stopController: AbortController,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let stopping = false;
  let replacing = false;

  function stop(why: string): void {
    stopping = true;
    stopController.abort();
    log.info(`${why}: stopping; a second signal exits at once`, { peers: actions.peers });
    actions.stop().then(() => resolve(0), reject);
  }
  function stopOrExit(signal: "SIGINT" | "SIGTERM"): void {
    if (!stopping) return stop(signal);
    actions.kill?.();
    Deno.exit(128 + (signal === "SIGINT" ? 2 : 15));
  }
  async function reload(): Promise<void> {
    log.info("SIGHUP: reloading");
    await actions.reload().catch((error) => {
      log.error(
        `the reload failed (a certificate or token file that is not usable keeps both as they were; the admin keys are ` +
          `reloaded independently): ${messageOf(error)}`,
      );
    });
  }
  async function replace(): Promise<void> {
    // Two successors would both take over the port.
    if (stopping || replacing) return log.info("SIGUSR2: the service is already being replaced or stopped");
    replacing = true;
    log.info("SIGUSR2: handing over to new processes");
    try {
      const pid = await actions.replace(stopController.signal);
      if (pid !== undefined && !stopping) stop(`process ${pid} has taken over`);
    } catch (error) {
      if (stopping) log.info("SIGUSR2: the service is not replaced, because it is stopping");
      else log.error(messageOf(error));
    } finally {
      replacing = false;
    }
  }

  const handlers: [Deno.Signal, () => void][] = [["SIGINT", () => stopOrExit("SIGINT")]];
  if (Deno.build.os !== "windows") {
    handlers.push(["SIGTERM", () => stopOrExit("SIGTERM")], ["SIGHUP", reload], ["SIGUSR2", replace]);
  }
  for (const [signal, handler] of handlers) Deno.addSignalListener(signal, handler);
  try {
    return await promise;
  } finally {
    for (const [signal, handler] of handlers) Deno.removeSignalListener(signal, handler);
    log.info("stopped");
  }
}
