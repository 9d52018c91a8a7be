/**
 * Listens again after an accept loop ended unexpectedly. Deno ends it permanently on EMFILE, ENFILE and ENOBUFS
 * (`server.finished` rejects), and if a handler upgrades a request but then returns another response (it resolves).
 * @module
 */
import { messageOf } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Ffi } from "../ffi/load_ffi.ts";
import { type DescriptorReserve, isExhaustion, MIN_FREE } from "./descriptor_reserve.ts";
import { sleep } from "./replace_accept_loop.ts";

/** Milliseconds between attempts: the first and the longest delay. */
const BACKOFF = [50, 500] as const;
/** Milliseconds between two log lines about the same failure. */
const LOG_INTERVAL = 10_000;

/** Options of {@link relisten}. */
export interface RelistenOptions {
  readonly where: string;
  readonly cause: unknown;
  /** Opens the address. */
  readonly open: () => Promise<void>;
  readonly reserve: DescriptorReserve;
  readonly ffi: Ffi | undefined;
  readonly log: Logger;
  /** Aborts the attempts. */
  readonly signal: AbortSignal;
}

/** Tries until it listens again or the signal aborts. Never throws. */
export async function relisten({ where, cause, open, reserve, ffi, log, signal }: RelistenOptions): Promise<void> {
  let hasDescriptors = reserve.size > 0 || !isExhaustion(cause);
  reserve.release();
  log.error(`This process no longer accepts connections on ${where}; trying to listen again`, {
    reason: messageOf(cause),
    descriptors: ffi?.sockets.open().length,
    limit: ffi?.sockets.descriptorLimit(),
  });
  const began = performance.now();
  let logged = began;
  for (let wait: number = BACKOFF[0]; !signal.aborted; wait = Math.min(wait * 2, BACKOFF[1])) {
    await sleep(wait, signal);
    // Without free descriptors a new loop would end at once.
    hasDescriptors ||= reserve.fill(MIN_FREE);
    if (!hasDescriptors || signal.aborted) continue;
    reserve.release();
    try {
      await open();
    } catch (error) {
      hasDescriptors = !isExhaustion(error);
      if (performance.now() - logged > LOG_INTERVAL) {
        logged = performance.now();
        log.error(messageOf(error));
      }
      continue;
    }
    log.warn(`Listening on ${where} again`, { after: Math.round(performance.now() - began) });
    return;
  }
}
