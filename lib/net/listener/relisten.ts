/**
 * Listening again after an accept loop ended by itself. Deno ends it for good on EMFILE, ENFILE and ENOBUFS, and when a
 * handler upgrades a request and then answers otherwise; `server.finished` rejects in the one case and resolves in the
 * other.
 * @module
 */
import { messageOf } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Ffi } from "../ffi/load_ffi.ts";
import { type DescriptorReserve, isExhaustion, ROOM } from "./descriptor_reserve.ts";
import { sleep } from "./replace_accept_loop.ts";

/** Milliseconds between attempts: the first, and the most. */
const BACKOFF = [50, 500] as const;
/** Milliseconds between two log lines about the same trouble. */
const LOG_EVERY = 10_000;

/** What listening again takes. */
export interface RelistenOptions {
  readonly where: string;
  readonly cause: unknown;
  /** Opens the address. */
  readonly open: () => Promise<void>;
  readonly reserve: DescriptorReserve;
  readonly ffi: Ffi | undefined;
  readonly log: Logger;
  /** Gives up. */
  readonly signal: AbortSignal;
}

/** Tries until it listens or is told to stop. Never throws. */
export async function relisten({ where, cause, open, reserve, ffi, log, signal }: RelistenOptions): Promise<void> {
  let room = reserve.size > 0 || !isExhaustion(cause);
  reserve.release();
  log.error(`The accept loop on ${where} ended by itself; listening again`, {
    reason: messageOf(cause),
    descriptors: ffi?.sockets.open().length,
    limit: ffi?.sockets.descriptorLimit(),
  });
  const began = performance.now();
  let logged = began;
  for (let wait: number = BACKOFF[0]; !signal.aborted; wait = Math.min(wait * 2, BACKOFF[1])) {
    await sleep(wait, signal);
    // A loop that opens without room to accept would end at once.
    room ||= reserve.fill(ROOM);
    if (!room || signal.aborted) continue;
    reserve.release();
    try {
      await open();
    } catch (error) {
      room = !isExhaustion(error);
      if (performance.now() - logged > LOG_EVERY) {
        logged = performance.now();
        log.error(messageOf(error));
      }
      continue;
    }
    log.warn(`Listening on ${where} again`, { after: Math.round(performance.now() - began) });
    return;
  }
}
