/**
 * Serves until a signal ends it. Used for a single process and for a supervisor of several.
 * @module
 */
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";

/** The actions of the signals. */
export interface Stoppable {
  /** SIGTERM, SIGINT: stops within the drain timeout. Resolves when everything has ended. */
  stop(): Promise<void>;
  /** SIGHUP. @throws {StartError} if nothing was reloaded */
  reload(): Promise<void>;
  /**
   * SIGUSR2: starts the code that is on disk now. Resolves with the process that serves from now on, or undefined if
   * this one continues.
   * @param signal aborted when this process is told to stop
   * @throws {StartError} if the new code does not serve; the old continues
   */
  replace(signal: AbortSignal): Promise<number | undefined>;
  /** A second signal: immediately ends the processes that this one started. */
  kill?(): void;
  /** Fields for the log line about the stop. */
  readonly peers?: number | undefined;
}

/** Serves until a signal ends it; returns the exit code. `leaving` is aborted when it begins to stop. */
export async function runUntilStopped(target: Stoppable, log: Logger, leaving: AbortController): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let stopping = false;
  let replacing = false;

  function stop(why: string): void {
    stopping = true;
    leaving.abort();
    log.info(`${why}: stopping; a second signal ends at once`, { peers: target.peers });
    target.stop().then(() => resolve(0), reject);
  }
  function end(signal: "SIGINT" | "SIGTERM"): void {
    if (!stopping) return stop(signal);
    target.kill?.();
    Deno.exit(128 + (signal === "SIGINT" ? 2 : 15));
  }
  async function reload(): Promise<void> {
    log.info("SIGHUP: reloading");
    await target.reload().catch((error) => {
      log.error(`the reload failed, and the previous files stay in use: ${messageOf(error)}`);
    });
  }
  async function replace(): Promise<void> {
    // Two successors would both take the port.
    if (stopping || replacing) return log.info("SIGUSR2: the service is being replaced or stopped already");
    replacing = true;
    log.info("SIGUSR2: handing over to new processes");
    try {
      const pid = await target.replace(leaving.signal);
      if (pid !== undefined && !stopping) stop(`process ${pid} has taken over`);
    } catch (error) {
      log.error(messageOf(error));
    } finally {
      replacing = false;
    }
  }

  const handlers: [Deno.Signal, () => void][] = [["SIGINT", () => end("SIGINT")]];
  if (Deno.build.os !== "windows") {
    handlers.push(["SIGTERM", () => end("SIGTERM")], ["SIGHUP", reload], ["SIGUSR2", replace]);
  }
  for (const [signal, handler] of handlers) Deno.addSignalListener(signal, handler);
  try {
    return await promise;
  } finally {
    for (const [signal, handler] of handlers) Deno.removeSignalListener(signal, handler);
    log.info("stopped");
  }
}
