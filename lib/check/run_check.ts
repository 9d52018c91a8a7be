/**
 * Runs the probes in the order in which a connection is made, under one timeout.
 * @module
 */
import type { Finding } from "../diagnostic_finding.ts";
import { DeadlineError, within } from "../client/deadline.ts";
import type { TlsOptions } from "../client/raw_connection.ts";
import { ClientSession } from "../client/websocket_session.ts";
import { formatDuration } from "../duration_and_size.ts";
import { type CheckOptions, type ClientName, DEFAULT_TIMEOUT } from "./check_options.ts";
import type { Evidence, Target } from "./probe_target.ts";
import { checkClientProfile, defaultOrigin } from "./client_requirements.ts";
import { finding, type Observation, type Probe, PROBES } from "./finding_codes.ts";
import { explainHandshakeFailure, probeAlpn, type TlsHandshake } from "./probes/alpn.ts";
import { probeChain } from "./probes/certificate_chain.ts";
import type { Version } from "./probes/client_hello.ts";
import { probeContentLength } from "./probes/content_length.ts";
import { probeDns } from "./probes/dns.ts";
import { probeIdleTimeout } from "./probes/idle_timeout.ts";
import { LocalFailure } from "./probes/local_failure.ts";
import { type ExchangeResult, probeClose, probeMessage, probePing, probeWelcome } from "./probes/message_exchange.ts";
import { probeProtocol } from "./probes/port_protocol.ts";
import { probeResumption } from "./probes/session_resumption.ts";
import { probeTcp } from "./probes/tcp.ts";
import { probeVersions } from "./probes/tls_versions.ts";
import { probeUrl } from "./probes/url.ts";
import { probeUpgrade, type UpgradeResult } from "./probes/websocket_handshake.ts";

/** The version of the JSON report. It increases when a field changes its meaning or is removed, not when one is added. */
export const REPORT_SCHEMA = 1;

/**
 * - `sound`: no warnings and no errors.
 * - `warnings`: some clients cannot connect, or their connection is unreliable.
 * - `errors`: the client given by `for`, or any client, cannot connect.
 * - `unreachable`: no TCP connection could be made, or the URL is invalid.
 * - `unfinished`: the check ended before every step was done.
 */
export type Verdict = "sound" | "warnings" | "errors" | "unreachable" | "unfinished";

/** The result of a check. README.md in this folder documents its JSON. */
export interface Report {
  readonly schema: typeof REPORT_SCHEMA;
  readonly url: string;
  readonly for?: ClientName;
  readonly verdict: Verdict;
  /** 0 sound; 1 warnings or errors; 2 unreachable, misused, or a check that did not finish. */
  readonly exit: 0 | 1 | 2;
  /** The problem to fix first: the first error, or else an early end of the check, or else the first warning. */
  readonly first?: Observation;
  /** In the order of the probes. */
  readonly observations: readonly Observation[];
  /** Steps that were not done. */
  readonly unfinished: readonly Probe[];
  /** The duration of the check, in milliseconds. */
  readonly ms: number;
}

/** Callbacks and cancellation of a check. */
export interface CheckContext {
  /** Called with each observation as it is made. */
  readonly onObservation?: (observation: Observation) => void;
  /** Ends the check early; the report is then `unfinished`. */
  readonly signal?: AbortSignal;
}

/** The part of the timeout that is reserved for the probes after the message, in milliseconds. */
const RESERVED_TIME = 2000;

/** How long to wait for a probe that ignores its signal, in milliseconds. */
const ABANDON_AFTER = 3000;

/**
 * Runs the probes that apply to a URL. The check takes at most `timeout` plus `hold`, and up to a few seconds to clean
 * up. A fault of the server or of this machine is reported and never thrown.
 *
 * ```ts
 * import { runCheck } from "./run_check.ts";
 *
 * const { verdict, first } = await runCheck({ url: "wss://localhost:1/", timeout: 1000 });
 * console.log(verdict, first?.code, first?.remedy); // unreachable tcp-refused …
 * ```
 * @throws {StartError} if `ca` holds no certificate
 */
export async function runCheck(options: CheckOptions, context: CheckContext = {}): Promise<Report> {
  const start = performance.now();
  const run = new CheckRun(options, context);
  try {
    await run.probeAll();
  } catch (error) {
    if (error instanceof LocalFailure) run.fail(error);
    else if (!(error instanceof DeadlineError)) throw error;
  }
  run.complete();
  return run.report(Math.round(performance.now() - start));
}

class CheckRun {
  readonly #options: CheckOptions;
  readonly #context: CheckContext;
  readonly #signal: AbortSignal;
  readonly #observations: Observation[] = [];
  /** Steps that apply and are not done yet. */
  readonly #pending = new Set<Probe>(["url"]);
  readonly #evidence: Evidence = {};
  readonly #start = performance.now();
  /** The duration of the hold in milliseconds, which does not count toward the timeout. */
  #holdTime = 0;
  #target: Target | undefined;
  /** The fault of this machine that ended the check. */
  #failure: LocalFailure | undefined;

  constructor(options: CheckOptions, context: CheckContext) {
    const origin = options.origin ?? defaultOrigin(options);
    this.#options = origin === undefined ? options : { ...options, origin };
    this.#context = context;
    this.#signal = context.signal ?? new AbortController().signal;
  }

  /**
   * Runs the probes. Steps that are not done stay pending.
   * @throws {DeadlineError} if the timeout ends first
   * @throws {LocalFailure} if this machine cannot continue
   */
  async probeAll(): Promise<void> {
    const { findings, target } = probeUrl(this.#options);
    this.#addFindings("url", findings);
    if (target === undefined) return;
    this.#target = target;
    this.#planSteps(target);
    const upgraded = await this.#withinTimeout((signal) => this.#connectAndUpgrade(target, signal));
    if (upgraded?.connection !== undefined) {
      await using connection = upgraded.connection;
      await this.#probeWebSocket(target, new ClientSession(connection, upgraded.rest), upgraded.upgradedAt);
    }
    // An earlier finding makes the remaining steps pointless.
    this.#pending.clear();
  }

  /** Records the fault of this machine that ended the check. */
  fail(failure: LocalFailure): void {
    this.#failure = failure;
  }

  /** Adds the findings of the client profile, and a finding about steps that were not done. */
  complete(): void {
    const { for: client } = this.#options;
    if (client !== undefined && this.#target !== undefined) {
      this.#addFindings("client", checkClientProfile(client, this.#target, this.#evidence, this.#observations));
    }
    const unfinished = this.#unfinished();
    if (unfinished.length === 0) return;
    const { timeout = DEFAULT_TIMEOUT } = this.#options;
    const list = unfinished.join(", ");
    const more = formatDuration(Math.max(30_000, 3 * timeout));
    if (this.#failure !== undefined) {
      const { reason, remedy } = this.#failure;
      const fact = `This machine ${reason}, which ended the check before these steps: ${list}.`;
      this.#addFindings("time", [finding("local-failure", "warning", fact, remedy)]);
      return;
    }
    this.#addFindings("time", [
      this.#signal.aborted
        ? finding("check-stopped", "warning", `The check was interrupted before these steps: ${list}.`, "Run it again.")
        : finding(
          "time-ran-out",
          "warning",
          `The timeout of ${formatDuration(timeout)} ended the check before these steps: ${list}.`,
          `Raise the timeout: --timeout ${more}.`,
        ),
    ]);
  }

  report(ms: number): Report {
    const observations = this.#observations;
    const unfinished = this.#unfinished();
    const first = observations.find(({ level }) => level === "error") ??
      observations.find(({ probe }) => probe === "time") ??
      observations.find(({ level }) => level === "warning");
    const verdict: Verdict = observations.some(meansUnreachable)
      ? "unreachable"
      : unfinished.length > 0
      ? "unfinished"
      : first === undefined
      ? "sound"
      : first.level === "error"
      ? "errors"
      : "warnings";
    return {
      schema: REPORT_SCHEMA,
      url: this.#options.url,
      ...this.#options.for && { for: this.#options.for },
      verdict,
      exit: verdict === "sound" ? 0 : verdict === "warnings" || verdict === "errors" ? 1 : 2,
      ...first && { first },
      observations,
      unfinished,
      ms,
    };
  }

  #unfinished(): Probe[] {
    return PROBES.filter((probe) => this.#pending.has(probe));
  }

  #planSteps(target: Target): void {
    const { upgrade = true, hold = 0 } = target.options;
    const steps: Probe[] = ["tcp", "protocol"];
    if (!target.isAddress) steps.push("dns");
    if (target.secure) steps.push("versions", "chain", "alpn", "resumption");
    if (upgrade) steps.push("upgrade", "message", "ping", "close");
    if (upgrade && hold > 0) steps.push("hold");
    steps.forEach((step) => this.#pending.add(step));
  }

  #addFindings(probe: Probe, findings: readonly Finding[]): void {
    this.#pending.delete(probe);
    for (const one of findings) {
      const observation = { probe, ...one };
      this.#observations.push(observation);
      this.#context.onObservation?.(observation);
    }
  }

  /** The remaining part of the timeout, in milliseconds. */
  #remainingTime(): number {
    const { timeout = DEFAULT_TIMEOUT } = this.#options;
    return Math.max(0, timeout - (performance.now() - this.#start - this.#holdTime));
  }

  async #withinTimeout<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return await within(this.#remainingTime(), this.#signal, work, ABANDON_AFTER);
  }

  /** Runs the probes from DNS to the upgrade. Returns undefined if a finding makes the next step pointless. */
  async #connectAndUpgrade(requested: Target, signal: AbortSignal): Promise<UpgradeResult | undefined> {
    const { hostname, port } = requested.endpoint;
    const dns = await probeDns(hostname, signal);
    this.#addFindings("dns", dns.findings);
    if (dns.addresses.length === 0) return undefined;
    const tcp = await probeTcp(dns.addresses, port, signal);
    this.#addFindings("tcp", tcp.findings);
    if (tcp.address === undefined) return undefined;
    // From here on, every probe connects to the address that answered.
    const target: Target = { ...requested, endpoint: { hostname: tcp.address, port } };
    this.#target = target;

    const protocol = await probeProtocol(target, signal);
    this.#addFindings("protocol", protocol.findings);
    if (!protocol.matches) return undefined;
    return target.secure ? await this.#probeTls(target, signal) : await this.#probeUpgrade(target, {}, signal);
  }

  /** Requests the upgrade, unless the option `upgrade` is false. */
  async #probeUpgrade(target: Target, tls: TlsOptions, signal: AbortSignal): Promise<UpgradeResult | undefined> {
    if (target.options.upgrade === false) return undefined;
    return this.#addUpgrade(await probeUpgrade(target, tls, this.#evidence, signal));
  }

  #addUpgrade(upgraded: UpgradeResult): UpgradeResult {
    this.#addFindings("upgrade", upgraded.findings);
    return upgraded;
  }

  /** Probes TLS and the upgrade. The upgrade and the resumption run while the chain is inspected, which is CPU-bound. */
  async #probeTls(target: Target, signal: AbortSignal): Promise<UpgradeResult | undefined> {
    const { upgrade = true } = target.options;
    const versions = await probeVersions(target, signal);
    this.#evidence.versions = versions.offered;
    this.#evidence.requestsClientCertificate = versions.requestsClientCertificate;
    this.#addFindings("versions", versions.findings);
    const handshake = await probeAlpn(target, signal);
    const { presented, alpn } = handshake;
    const resumption = presented && probeResumption(target, alpn, signal);
    const upgrading = presented && upgrade ? probeUpgrade(target, { alpn }, this.#evidence, signal) : undefined;
    // They are awaited below. A rejection before that is not unhandled.
    for (const probe of [resumption, upgrading]) probe?.catch(() => {});
    try {
      await this.#inspectChain(target, handshake, versions.offered, signal);
      this.#addFindings("alpn", handshake.findings);
      if (resumption !== undefined) {
        this.#addFindings("resumption", await resumption);
        return upgrading && this.#addUpgrade(await upgrading);
      }
    } catch (error) {
      // The caller does not receive the connection, so it is closed here.
      await resumption?.catch(() => {});
      const upgraded = await upgrading?.catch(() => undefined);
      await upgraded?.connection?.close();
      throw error;
    }
    this.#reportNoHandshake(handshake, versions.requestsClientCertificate, upgrade);
    return undefined;
  }

  async #inspectChain(
    target: Target,
    { presented }: TlsHandshake,
    offered: readonly Version[],
    signal: AbortSignal,
  ): Promise<void> {
    if (offered.length > 0) {
      const chain = await probeChain(target, presented, offered, signal);
      this.#evidence.chain = chain;
      this.#addFindings("chain", chain.findings);
    }
    signal.throwIfAborted();
    this.#pending.delete("chain");
  }

  #reportNoHandshake({ failure }: TlsHandshake, requestsClientCertificate: boolean, upgrade: boolean): void {
    const known = this.#observations.some(({ level }) => level === "error" || level === "warning");
    if (failure !== undefined && (!known || requestsClientCertificate)) {
      this.#addFindings("alpn", [explainHandshakeFailure(failure, requestsClientCertificate)]);
    }
    if (upgrade) {
      const fact = "No TLS connection could be made, so no upgrade was requested.";
      this.#addFindings("upgrade", [finding("upgrade-not-tried", "note", fact)]);
    }
  }

  /** Probes a message, a ping, the hold and the close handshake on an upgraded connection. */
  async #probeWebSocket(target: Target, session: ClientSession, upgradedAt: number): Promise<void> {
    const { hold = 0 } = target.options;
    const alive = await this.#withinTimeout(async (signal) => {
      const [length, message] = await Promise.all([
        probeContentLength(target, signal),
        this.#probeMessage(session, upgradedAt, signal),
      ]);
      this.#evidence.contentLengthRefused = length.some(({ level }) => level === "note");
      this.#addFindings("upgrade", length);
      this.#addFindings("message", message.findings);
      return !message.ended && await this.#probePing(session, signal);
    });
    if (!alive) return;
    if (hold > 0) {
      const start = performance.now();
      const held = await probeIdleTimeout(session, hold, this.#signal);
      this.#holdTime = performance.now() - start;
      this.#addFindings("hold", held.findings);
      if (held.ended) return;
    }
    await this.#withinTimeout(async (signal) => {
      // A NAT or firewall may have dropped the idle connection without a sign. Only a ping detects that.
      if (hold > 0 && !await this.#probePing(session, signal)) return;
      this.#addFindings("close", await probeClose(session, signal));
    });
  }

  async #probeMessage(session: ClientSession, upgradedAt: number, signal: AbortSignal): Promise<ExchangeResult> {
    const { send, expect } = this.#options;
    if (send === undefined && expect === undefined) return await probeWelcome(session, upgradedAt, signal);
    const timeout = Math.max(this.#remainingTime() - RESERVED_TIME, this.#remainingTime() / 2);
    return await probeMessage(session, { send, expect }, timeout, signal);
  }

  async #probePing(session: ClientSession, signal: AbortSignal): Promise<boolean> {
    const { findings, ended } = await probePing(session, signal);
    this.#evidence.pingUnanswered = findings.some(({ code }) => code === "ping-unanswered");
    this.#addFindings("ping", findings);
    return !ended;
  }
}

function meansUnreachable({ probe, level }: Observation): boolean {
  return level === "error" && (probe === "url" || probe === "dns" || probe === "tcp");
}
