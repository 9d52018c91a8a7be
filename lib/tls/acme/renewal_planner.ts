/**
 * Plans the renewal of a certificate. The plan follows the authority's suggestion, is kept on disk, and is revised when
 * the authority is to be asked again.
 * @module
 */
import type { Logger } from "../../log.ts";
import type { TlsMaterial } from "../loaded_certificate.ts";
import { validityOf } from "../x509/inspect_chain.ts";
import type { AcmeStore, CertificateStore, RenewalPlan } from "./acme_store.ts";
import { type AcmeOptions, openClient } from "./obtain_certificate.ts";
import { AcmeError } from "./acme_error.ts";
import { defaultRenewalTime, randomRenewalTime, type RenewalInfo, renewalInfo } from "./renewal_info.ts";
import { reasonOf, timeLimit } from "./authority_timeout.ts";

const HOUR = 3_600_000;
/** Timeout for asking the authority when to renew, ms. */
const ASK_TIMEOUT = 60_000;
/** When to ask again if the authority could not be asked or offers no renewal information, ms. */
const ASK_AGAIN = { failed: HOUR, none: 24 * HOUR } as const;
/**
 * A certificate younger than this is not renewed, or an authority that always suggests a past date would cause endless
 * renewals. A third of the lifetime that was left at first, if that is shorter.
 */
const MIN_AGE = HOUR;

/** The answer of the authority, if there was one. */
interface Suggestion {
  readonly info: RenewalInfo | undefined;
  /** Milliseconds until the authority is asked again. */
  readonly askAgain: number;
  readonly asked: boolean;
}

/** Plans the renewals of one certificate. */
export class RenewalPlanner {
  readonly #options: AcmeOptions;
  readonly #store: AcmeStore;
  readonly #certificate: CertificateStore;
  readonly #log: Logger;

  constructor(options: AcmeOptions, store: AcmeStore, certificate: CertificateStore, log: Logger) {
    this.#options = options;
    this.#store = store;
    this.#certificate = certificate;
    this.#log = log;
  }

  /** When to renew. The plan is on disk, so that a restart does not ask the authority. */
  async plan(material: TlsMaterial, signal: AbortSignal): Promise<RenewalPlan> {
    const now = Date.now();
    const serial = material.leaf.serialNumber;
    const saved = this.#certificate.plan();
    const old = saved?.serial === serial ? saved : undefined;
    if (old !== undefined && now < Date.parse(old.askAgain)) return old;
    const { info, askAgain, asked } = await this.#ask(material, signal);
    const window = info && { start: info.start.toISOString(), end: info.end.toISOString() };
    const same = old !== undefined &&
      (!asked || (old.window?.start === window?.start && old.window?.end === window?.end));
    const moment = info === undefined ? defaultRenewalTime(material.leaf) : randomRenewalTime(info);
    const at = same ? old.at : this.#clampTime(moment, material).toISOString();
    const plan: RenewalPlan = {
      serial,
      at,
      window: same ? old.window : window,
      askAgain: new Date(now + askAgain).toISOString(),
    };
    this.#certificate.savePlan(plan);
    if (same) return plan;
    const reason = info === undefined ? "two thirds of its lifetime" : "the authority's suggestion";
    this.#log.info(`the certificate will be renewed at ${at} (${reason})`, { explanation: info?.explanation });
    return plan;
  }

  async #ask({ leaf }: TlsMaterial, signal: AbortSignal): Promise<Suggestion> {
    using bound = timeLimit(ASK_TIMEOUT, signal);
    try {
      using client = await openClient(this.#options, this.#store, bound.signal);
      const info = await renewalInfo(client, leaf);
      return { info, askAgain: info?.askAgain ?? ASK_AGAIN.none, asked: true };
    } catch (error) {
      signal.throwIfAborted();
      this.#log.warn("the authority's renewal information could not be requested", {
        reason: reasonOf(error, bound),
      });
      const retryAfter = error instanceof AcmeError ? error.retryAfter ?? 0 : 0;
      return { info: undefined, askAgain: Math.max(ASK_AGAIN.failed, retryAfter), asked: false };
    }
  }

  /**
   * Limits a moment: not when the certificate has nearly expired, and never while it is too young. The second matters
   * more: a certificate that has nearly expired when it is new (the clock is ahead) would be renewed without end.
   */
  #clampTime(moment: Date, { leaf, notAfter }: TlsMaterial): Date {
    const [from, to, savedAt] = [validityOf(leaf).from.getTime(), notAfter.getTime(), this.#certificate.savedAt()];
    const earliest = savedAt + Math.min(MIN_AGE, (to - Math.max(from, savedAt)) / 3);
    const latest = to - (to - from) / 10;
    return new Date(Math.max(Math.min(moment.getTime(), latest), earliest));
  }
}
