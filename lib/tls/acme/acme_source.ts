/**
 * A certificate that the service obtains and renews by ACME. If several processes share the state on disk, the one with
 * the lock answers challenges and renews. The others use the certificate that it writes; one of them takes over when it
 * ends.
 * @module
 */
import { delay } from "@std/async/delay";
import { messageOf, StartError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { formatDuration } from "../../duration_and_size.ts";
import type { TlsMaterial } from "../loaded_certificate.ts";
import type { CertificateSource } from "../certificate_source.ts";
import { watchFiles } from "../watch_files.ts";
import { type AcmeOptions, obtainCertificate } from "./obtain_certificate.ts";
import { AcmeError } from "./acme_error.ts";
import { inspectReach } from "./check_reachability.ts";
import { RenewalPlanner } from "./renewal_planner.ts";
import { RetryDelay } from "./retry_delay.ts";
import { AcmeStore, type CertificateStore, type Failure } from "./acme_store.ts";
import { reasonOf, type TimeLimit, timeLimit } from "./authority_timeout.ts";

/** The functions of the service that the source uses. */
export interface AcmeEnvironment {
  readonly log: Logger;
  /** Opens the port that answers challenges and redirects all other requests. */
  readonly listen: () => Promise<AsyncDisposable>;
  /** Answers challenges for a token on that port until the returned function is called. */
  readonly respond: (token: string, answer: string) => () => void;
}

/** Counts since the process started, for metrics. */
export interface AcmeStatus {
  /** Certificates obtained by this process. */
  readonly obtained: number;
  /** Attempts that failed. */
  readonly failed: number;
  /**
   * The problem type of the last failure, such as `rateLimited`; `unusable` if this machine does not accept the new
   * certificate; `local` if the cause is on this machine, such as a port in use; undefined if the last attempt
   * succeeded.
   */
  readonly problem: string | undefined;
  /** When the certificate will be renewed; undefined if another process does it. */
  readonly renewalAt: Date | undefined;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** Time limit for the first certificate, ms. */
export const FIRST_TIMEOUT = 3 * MINUTE;
/** Time limit for a renewal, which nothing waits for, ms. */
const RENEWAL_TIMEOUT = 10 * MINUTE;
/** Interval of attempts to take a lock that another process holds, ms. */
const LOCK_INTERVAL = 1_000;
/** The longest timer, ms. Timers stop while a machine sleeps, so the clock is read again after this. */
const MAX_SLEEP = HOUR;
/** Interval of progress messages while nothing else is logged, ms. */
const PROGRESS_INTERVAL = 15_000;
/** The type of a problem on this machine. */
const LOCAL = "local";
/** The number of names that are checked after a failure. */
const MAX_DIAGNOSED_NAMES = 3;

/** The certificate source for ACME; see the module comment. */
export class AcmeSource implements CertificateSource {
  readonly #options: AcmeOptions;
  readonly #environment: AcmeEnvironment;
  readonly #store: AcmeStore;
  readonly #certificate: CertificateStore;
  readonly #planner: RenewalPlanner;
  readonly #delay: RetryDelay;
  readonly #ending = new AbortController();
  #changed: () => Promise<void> = () => Promise.resolve();
  #watch: AsyncDisposable | undefined;
  #renewals: Promise<void> | undefined;
  #lock: Disposable | undefined;
  #port: AsyncDisposable | undefined;
  /** Ends the current sleep, or the next one if there is none. */
  #endSleep: () => void = () => {};
  #woken = false;
  #lastMessage = "";
  #obtained = 0;
  #failed = 0;
  /** The problem type of the last attempt. */
  #problem: string | undefined;
  /** Whether a problem on this machine prevents attempts. */
  #blocked = false;
  #renewalAt: Date | undefined;

  constructor(options: AcmeOptions, environment: AcmeEnvironment) {
    this.#options = options;
    this.#environment = environment;
    this.#store = new AcmeStore(options.folder, options.directory.folder);
    this.#certificate = this.#store.certificate(options.names[0]!);
    this.#planner = new RenewalPlanner(options, this.#store, this.#certificate, environment.log);
    this.#delay = new RetryDelay(this.#certificate);
  }

  get status(): AcmeStatus {
    const problem = this.#blocked ? LOCAL : this.#problem;
    return { obtained: this.#obtained, failed: this.#failed, problem, renewalAt: this.#renewalAt };
  }

  watch(changed: () => Promise<void>): void {
    this.#changed = changed;
  }

  async load(): Promise<TlsMaterial> {
    const { names } = this.#options;
    const current = this.#certificate.load(names);
    if (this.#renewals === undefined) {
      if (current === undefined) await this.#obtainFirst();
      // Watch before reading, so that no change is missed in between.
      const { chainFile, keyFile } = this.#certificate;
      this.#watch = watchFiles([chainFile, keyFile], () => this.#changed(), { log: this.#environment.log });
    }
    const material = this.#certificate.load(names);
    if (material === undefined) {
      this.#wake();
      throw new StartError(
        `Cannot use the certificate in ${this.#certificate.folder}: it is missing, damaged or expired${this.#outlook}`,
      );
    }
    this.#renewals ??= this.#runRenewals();
    return material;
  }

  /**
   * For a command that runs once: obtains the certificate if there is none, and renews it if that is due or `force` is
   * set. Earlier failures do not delay it, but a Retry-After of the authority is respected.
   * @returns the certificate, and whether it is new
   * @throws {StartError} if a running service already renews it, the authority demands a delay, or it could not be
   * obtained
   */
  async runOnce(force: boolean): Promise<{ readonly material: TlsMaterial; readonly renewed: boolean }> {
    const { names, directory } = this.#options;
    this.#lock ??= await this.#certificate.tryLock();
    const current = this.#certificate.load(names);
    if (this.#lock === undefined && current !== undefined && !force) return { material: current, renewed: false };
    if (this.#lock === undefined) {
      throw new StartError(
        `Cannot renew the certificate in ${this.#certificate.folder}: a running service uses it and renews it`,
      );
    }
    const failure = this.#certificate.failure();
    if (failure?.demanded && Date.parse(failure.notBefore) > Date.now()) {
      throw new StartError(
        `Cannot ask ${directory.title} before ${failure.notBefore}: it demanded this delay. The last problem was: ${failure.problem}`,
      );
    }
    if (current !== undefined && !force) {
      const plan = await this.#planner.plan(current, this.#ending.signal);
      if (Date.parse(plan.at) > Date.now()) return { material: current, renewed: false };
    }
    using bound = timeLimit(FIRST_TIMEOUT, this.#ending.signal);
    try {
      this.#port ??= await this.#environment.listen();
      return { material: await this.#attempt(bound.signal, current), renewed: true };
    } catch (error) {
      throw this.#obtainError(error, bound);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort(new Error("the service stops"));
    this.#wake();
    await this.#renewals;
    await this.#watch?.[Symbol.asyncDispose]();
    await this.#port?.[Symbol.asyncDispose]();
    this.#port = undefined;
    this.#lock?.[Symbol.dispose]();
    this.#lock = undefined;
  }

  /** What follows while there is no usable certificate, as the end of a sentence; empty if the start fails. */
  get #outlook(): string {
    if (this.#renewals === undefined) return "";
    const wait = Math.max(this.#delay.afterFailure(), this.#delay.afterSuccess());
    return wait === 0
      ? "; a new one is being obtained"
      : `; the next attempt to obtain one is at ${new Date(Date.now() + wait).toISOString()}`;
  }

  /** The first certificate, within {@link FIRST_TIMEOUT}. */
  async #obtainFirst(): Promise<void> {
    const { names } = this.#options;
    const { log } = this.#environment;
    log.info(
      `there is no certificate yet: obtaining ${this.#description}; this takes at most ${
        formatDuration(FIRST_TIMEOUT)
      }`,
    );
    using bound = timeLimit(FIRST_TIMEOUT, this.#ending.signal);
    try {
      while (this.#lock === undefined) {
        this.#lock = await this.#certificate.tryLock();
        // Another process has obtained it in the meantime.
        if (this.#certificate.load(names) !== undefined) return;
        if (this.#lock !== undefined) break;
        this.#logOnce("info", "another process is obtaining the certificate; waiting for it");
        await delay(LOCK_INTERVAL, { signal: bound.signal });
      }
      await this.#waitAfterFailure(bound.signal);
      this.#port ??= await this.#environment.listen();
      await this.#attempt(bound.signal, undefined);
    } catch (error) {
      this.#ending.signal.throwIfAborted();
      throw this.#obtainError(error, bound);
    }
  }

  #obtainError(error: unknown, bound: TimeLimit): StartError {
    if (error instanceof StartError && error.cause === undefined) return error;
    return new StartError(`Cannot obtain ${this.#description}:\n${reasonOf(error, bound)}`, { cause: error });
  }

  get #description(): string {
    const { names, directory } = this.#options;
    return `a certificate for ${names.join(", ")} from ${directory.title}`;
  }

  /**
   * Waits after an earlier failure: a process that restarts in a loop must not ask each time (RFC 8555 section 6.6).
   */
  async #waitAfterFailure(signal: AbortSignal): Promise<void> {
    const failure = this.#certificate.failure();
    const wait = this.#delay.afterFailure();
    if (failure === undefined || wait === 0) return;
    const who = failure.demanded ? "the authority allows no further attempt" : "the service makes no further attempt";
    if (wait > FIRST_TIMEOUT / 2) {
      const { failures, notBefore, problem, demanded } = failure;
      const count = `${failures} ${failures === 1 ? "attempt" : "attempts"}`;
      throw new StartError(
        `Cannot obtain ${this.#description}: ${count} failed; ${who} until ${notBefore}. The last problem was: ${problem}` +
          (demanded ? "" : "\nAfter fixing it, run the command cert with the same options to try again at once."),
      );
    }
    this.#environment.log.warn(`the last attempt failed: ${who} for ${formatDuration(Math.ceil(wait / 1000) * 1000)}`, {
      problem: failure.problem,
    });
    await delay(wait, { signal });
  }

  /**
   * One attempt, with the lock held and the port open. A delay begins in every case. A failure of the authority, or
   * after an order was requested, is stored on disk, so that a process that restarts in a loop respects the delay.
   * @throws the cause of the failure
   */
  async #attempt(signal: AbortSignal, current: TlsMaterial | undefined): Promise<TlsMaterial> {
    const { names } = this.#options;
    const { log, respond } = this.#environment;
    let last = "";
    let loggedAt = performance.now();
    const progress = (step: string) => {
      [last, loggedAt] = [step, performance.now()];
      log.info(`certificate: ${step}`);
    };
    const began = performance.now();
    const alive = setInterval(() => {
      if (performance.now() - loggedAt < PROGRESS_INTERVAL) return;
      log.info(`certificate: still in progress after ${Math.round((performance.now() - began) / 1000)} s (${last})`);
    }, PROGRESS_INTERVAL);
    let ordering = false;
    try {
      const { leaf } = current ?? {};
      await obtainCertificate(this.#options, {
        store: this.#store,
        certificate: this.#certificate,
        replaces: leaf,
        ordering: () => ordering = true,
        respond,
        progress,
        signal,
      });
      const material = this.#certificate.load(names);
      if (material === undefined) throw new AcmeError({ type: "unusable", detail: "it could not be read back" });
      this.#delay.succeeded(material);
      this.#obtained++;
      this.#problem = undefined;
      log.info(`certificate: obtained for ${names.join(", ")}`, { notAfter: material.notAfter.toISOString() });
      return material;
    } catch (error) {
      this.#ending.signal.throwIfAborted();
      this.#failed++;
      this.#problem = problemType(error, signal);
      const failure = this.#delay.failed(error);
      const stored = ordering || this.#problem !== LOCAL;
      // Before the diagnosis, which takes seconds in which the process may be killed.
      if (stored) this.#saveFailure({ ...failure, problem: messageOf(error) });
      const hints = error instanceof AcmeError ? await this.#diagnose(error.names) : [];
      const problem = [messageOf(error), ...hints].join("\n");
      if (stored && hints.length > 0) this.#saveFailure({ ...failure, problem });
      throw hints.length > 0 ? new Error(problem, { cause: error }) : error;
    } finally {
      clearInterval(alive);
    }
  }

  /** Stores a failure. A problem with that must not hide the failure itself. */
  #saveFailure(failure: Failure): void {
    try {
      this.#delay.save(failure);
    } catch (error) {
      this.#logOnce("error", `the failed attempt cannot be recorded for the next start: ${messageOf(error)}`);
    }
  }

  /** Results of checks from this machine of the names whose validation failed. */
  async #diagnose(names: readonly string[]): Promise<string[]> {
    const { respond } = this.#environment;
    const found = await Promise.all(names.slice(0, MAX_DIAGNOSED_NAMES).map((name) => inspectReach(name, { respond })));
    return found.flat().filter(({ level }) => level !== "ok")
      .map(({ fact, remedy }) => `From this machine: ${fact} ${remedy ?? ""}`.trim());
  }

  /** Renews for as long as the service runs. Never throws. */
  async #runRenewals(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      try {
        await this.#renewIfDue(signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#blocked = true;
        this.#logOnce("error", `the certificate cannot be kept up to date: ${messageOf(error)}`);
        await this.#sleep(MINUTE);
      }
    }
  }

  async #renewIfDue(signal: AbortSignal): Promise<void> {
    this.#lock ??= await this.#certificate.tryLock();
    if (this.#lock === undefined) return await this.#sleep(LOCK_INTERVAL);
    if (signal.aborted) return;
    // Throws if the port is in use or not permitted; the caller retries after a minute.
    this.#port ??= await this.#environment.listen();
    const current = this.#certificate.load(this.#options.names);
    const wait = await this.#timeUntilDue(current);
    this.#blocked = false;
    if (wait > 0) return await this.#sleep(Math.min(wait, MAX_SLEEP));
    using bound = timeLimit(RENEWAL_TIMEOUT, signal);
    try {
      await this.#attempt(bound.signal, current);
      this.#lastMessage = "";
    } catch (error) {
      if (signal.aborted) return;
      const until = current === undefined ? "" : `; the current one is valid until ${current.notAfter.toISOString()}`;
      // One line per event.
      const reason = reasonOf(error, bound).replaceAll("\n", "; ");
      this.#environment.log.error(`the certificate was not renewed${until}: ${reason}`, {
        problem: this.#problem,
        next: this.#delay.notBefore,
      });
    }
  }

  /** Milliseconds until the next attempt. */
  async #timeUntilDue(current: TlsMaterial | undefined): Promise<number> {
    const held = this.#delay.afterFailure();
    if (held > 0) return held;
    const pause = this.#delay.afterSuccess();
    if (current === undefined) return pause;
    const now = Date.now();
    const plan = await this.#planner.plan(current, this.#ending.signal);
    this.#renewalAt = new Date(plan.at);
    const next = Math.min(Date.parse(plan.at), Math.max(Date.parse(plan.askAgain), now + MINUTE));
    return Math.max(next - now, pause);
  }

  async #sleep(milliseconds: number): Promise<void> {
    if (!this.#woken && !this.#ending.signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, milliseconds);
        this.#endSleep = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#woken = false;
  }

  #wake(): void {
    this.#woken = true;
    this.#endSleep();
  }

  /** Logs a message, but not the same one twice in a row. */
  #logOnce(level: "info" | "error", message: string): void {
    if (this.#lastMessage === message) return;
    this.#lastMessage = message;
    this.#environment.log[level](message);
  }
}

function problemType(error: unknown, signal: AbortSignal): string {
  if (error instanceof AcmeError) return error.type;
  return signal.aborted ? "timeout" : LOCAL;
}
