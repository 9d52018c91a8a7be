/**
 * The delay between two attempts to obtain a certificate. It is kept on disk, so that a restart respects it, and in
 * memory, because the disk may be full.
 * @module
 */
import type { TlsMaterial } from "../loaded_certificate.ts";
import { validityOf } from "../x509/inspect_chain.ts";
import { AcmeError } from "./acme_error.ts";
import type { CertificateStore, Failure } from "./acme_store.ts";
import { backoff, MAX_BACKOFF } from "./renewal_info.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/**
 * At least this long after every attempt this process makes no other one, whatever the disk and the clock say, ms.
 * After a success a third of the certificate's lifetime, if that is shorter.
 */
const MIN_PAUSE = MINUTE;

/** The delay of one certificate. */
export class RetryDelay {
  readonly #certificate: CertificateStore;
  /** After a failure no attempt before this value of `performance.now()`, which a correction of the clock leaves alone. */
  #earliest = 0;
  /** The same after a success. */
  #pausedUntil = 0;
  /** Failures in a row of this process. */
  #failures = 0;
  #notBefore: string | undefined;

  constructor(certificate: CertificateStore) {
    this.#certificate = certificate;
  }

  /** When the attempt after the last failure of this process is allowed, ISO 8601. */
  get notBefore(): string | undefined {
    return this.#notBefore;
  }

  /**
   * Milliseconds that remain of the delay after a failure; 0 if an attempt is allowed.
   * @throws {StartError} if the failure on disk may not be read
   */
  afterFailure(): number {
    return Math.max(remainingOf(this.#certificate.failure()), this.#earliest - performance.now(), 0);
  }

  /** Milliseconds that remain of the pause after a success; 0 if an attempt is allowed. */
  afterSuccess(): number {
    return Math.max(this.#pausedUntil - performance.now(), 0);
  }

  /** Starts the pause after an attempt that obtained a certificate. */
  succeeded({ leaf, notAfter }: TlsMaterial): void {
    this.#failures = 0;
    this.#notBefore = undefined;
    const lifetime = notAfter.getTime() - validityOf(leaf).from.getTime();
    this.#pausedUntil = performance.now() + Math.min(MIN_PAUSE, lifetime / 3);
  }

  /** Starts the delay after an attempt that failed, in memory only. Never throws. */
  failed(error: unknown): Omit<Failure, "problem"> {
    const failures = Math.max(this.#failures, this.#savedFailures()) + 1;
    const limited = error instanceof AcmeError && error.type === "rateLimited";
    const retryAfter = error instanceof AcmeError ? error.retryAfter ?? (limited ? HOUR : undefined) : undefined;
    const wait = backoff(failures, retryAfter);
    const notBefore = new Date(Date.now() + wait).toISOString();
    this.#failures = failures;
    this.#earliest = performance.now() + wait;
    this.#notBefore = notBefore;
    return { failures, notBefore, demanded: retryAfter !== undefined };
  }

  /**
   * Stores a failure, so that a restart respects its delay.
   * @throws {StartError} if it cannot be written; the delay in memory is in force all the same
   */
  save(failure: Failure): void {
    this.#certificate.saveFailure(failure);
    // From now on the file counts, which an operator may remove after fixing the problem.
    this.#earliest = Math.min(this.#earliest, performance.now() + MIN_PAUSE);
  }

  #savedFailures(): number {
    try {
      return this.#certificate.failure()?.failures ?? 0;
    } catch {
      // The next call of `afterFailure` reports it.
      return 0;
    }
  }
}

function remainingOf(failure: Failure | undefined): number {
  if (failure === undefined) return 0;
  const wait = Date.parse(failure.notBefore) - Date.now();
  // The program never chooses a longer delay: the clock was ahead at the failure and was corrected since.
  return !failure.demanded && wait > MAX_BACKOFF ? 0 : wait;
}
