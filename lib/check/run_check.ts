/**
 * The probes in the order in which a connection happens, under one time limit.
 * @module
 */
import type { Finding } from "../finding.ts";
import { DeadlineError, within } from "../client/deadline.ts";
import type { TlsOptions } from "../client/raw_connection.ts";
import { ClientSession } from "../client/websocket_session.ts";
import { formatDuration } from "../duration_and_size.ts";
import { type CheckOptions, type ClientName, DEFAULT_TIMEOUT, type Evidence, type Target } from "./check_target.ts";
import { judgeForClient, originFor } from "./client_profiles.ts";
import { finding, type Observation, type Probe, PROBES } from "./finding_codes.ts";
import { explainHandshakeFailure, probeAlpn, type TlsHandshake } from "./probes/alpn.ts";
import { probeChain } from "./probes/certificate_chain.ts";
import type { Version } from "./probes/client_hello.ts";
import { probeContentLength } from "./probes/content_length.ts";
import { probeDns } from "./probes/dns.ts";
import { probeIdleTimeout } from "./probes/idle_timeout.ts";
import { type ExchangeResult, probeClose, probeMessage, probePing, probeWelcome } from "./probes/message_exchange.ts";
import { probeProtocol } from "./probes/port_protocol.ts";
import { probeResumption } from "./probes/session_resumption.ts";
import { probeTcp } from "./probes/tcp.ts";
import { probeVersions } from "./probes/tls_versions.ts";
import { probeUrl } from "./probes/url.ts";
import { probeUpgrade, type Upgraded } from "./probes/websocket_handshake.ts";

/** The version of the JSON report. It grows when a field changes its meaning or goes; new fields may come without. */
export const REPORT_SCHEMA = 1;

/**
 * - `sound`: nothing above a note.
 * - `warnings`: some clients do not get through, or not well.
 * - `errors`: no client of the kind that was asked for gets through.
 * - `unreachable`: no TCP connection, or a URL that is none.
 * - `unfinished`: the time was over before every step was done.
 */
export type Verdict = "sound" | "warnings" | "errors" | "unreachable" | "unfinished";

/** What `check` found. Its JSON is documented in README.md beside this folder's files. */
export interface Report {
  readonly schema: typeof REPORT_SCHEMA;
  readonly url: string;
  readonly for?: ClientName;
  readonly verdict: Verdict;
  /** 0 sound; 1 warnings or errors; 2 unreachable, misused, or a check that did not finish. */
  readonly exit: 0 | 1 | 2;
  /** The first error, or else the first warning: what to do something about first. */
  readonly first?: Observation;
  /** In the order in which a connection meets them. */
  readonly observations: readonly Observation[];
  /** Steps that the check did not get to. */
  readonly unfinished: readonly Probe[];
  /** How long it took, in milliseconds. */
  readonly ms: number;
}

/** Who follows a check, and who may stop it. */
export interface CheckContext {
  /** Called with each observation as it is made. */
  readonly onObservation?: (observation: Observation) => void;
  /** Ends the check early; the report is then `unfinished`. */
  readonly signal?: AbortSignal;
}

/** Time kept for the probes after a message that does not come, in milliseconds. */
const RESERVE = 2000;

/** How long a probe that ignores its signal is waited for, in milliseconds. */
const ABANDON_AFTER = 3000;

/**
 * Runs the probes that apply to a URL. Takes at most `timeout` plus `hold` and a moment to clean up. Never throws for
 * what a server does.
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
    if (!(error instanceof DeadlineError)) throw error;
  }
  run.judge();
  return run.report(Math.round(performance.now() - start));
}

class CheckRun {
  readonly #options: CheckOptions;
  readonly #context: CheckContext;
  readonly #stopped: AbortSignal;
  readonly #observations: Observation[] = [];
  /** Steps that apply and are not done. */
  readonly #pending = new Set<Probe>(["url"]);
  readonly #evidence: Evidence = {};
  readonly #start = performance.now();
  /** Milliseconds that the hold took: they are not part of the timeout. */
  #held = 0;
  #target: Target | undefined;

  constructor(options: CheckOptions, context: CheckContext) {
    const origin = options.origin ?? originFor(options);
    this.#options = origin === undefined ? options : { ...options, origin };
    this.#context = context;
    this.#stopped = context.signal ?? new AbortController().signal;
  }

  /** @throws {DeadlineError} if the time was over first; the steps not done are then pending */
  async probeAll(): Promise<void> {
    const { findings, target } = probeUrl(this.#options);
    this.#done("url", findings);
    if (target === undefined) return;
    this.#target = target;
    this.#plan(target);
    const upgraded = await this.#limited((signal) => this.#reach(target, signal));
    if (upgraded?.connection !== undefined) {
      await using connection = upgraded.connection;
      await this.#converse(target, new ClientSession(connection, upgraded.rest), upgraded.since);
    }
    // What is still pending was made pointless by a finding.
    this.#pending.clear();
  }

  /** What the client that was asked for needs on top. */
  judge(): void {
    const { for: client } = this.#options;
    if (client !== undefined && this.#target !== undefined) {
      this.#done("client", judgeForClient(client, this.#target, this.#evidence, this.#observations));
    }
    const unfinished = this.#unfinished();
    if (unfinished.length === 0) return;
    const { timeout = DEFAULT_TIMEOUT } = this.#options;
    const list = unfinished.join(", ");
    const more = formatDuration(Math.max(30_000, 3 * timeout));
    this.#done("time", [
      this.#stopped.aborted
        ? finding("check-stopped", "warning", `The check was stopped before it got to: ${list}.`, "Run it again.")
        : finding(
          "time-ran-out",
          "warning",
          `The check's time of ${formatDuration(timeout)} was over before it got to: ${list}.`,
          `Give it longer: --timeout ${more}.`,
        ),
    ]);
  }

  report(ms: number): Report {
    const observations = this.#observations;
    const unfinished = this.#unfinished();
    const first = observations.find(({ level }) => level === "error") ??
      observations.find(({ code }) => code === "time-ran-out" || code === "check-stopped") ??
      observations.find(({ level }) => level === "warning");
    const verdict: Verdict = observations.some(isUnreachable)
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

  #plan(target: Target): void {
    const { upgrade = true, hold = 0 } = target.options;
    const steps: Probe[] = ["tcp", "protocol"];
    if (!target.isAddress) steps.push("dns");
    if (target.secure) steps.push("versions", "chain", "alpn", "resumption");
    if (upgrade) steps.push("upgrade", "message", "ping", "close");
    if (upgrade && hold > 0) steps.push("hold");
    steps.forEach((step) => this.#pending.add(step));
  }

  #done(probe: Probe, findings: readonly Finding[]): void {
    this.#pending.delete(probe);
    for (const one of findings) {
      const observation = { probe, ...one };
      this.#observations.push(observation);
      this.#context.onObservation?.(observation);
    }
  }

  /** Milliseconds that are left of the timeout. */
  #left(): number {
    const { timeout = DEFAULT_TIMEOUT } = this.#options;
    return Math.max(0, timeout - (performance.now() - this.#start - this.#held));
  }

  async #limited<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return await within(this.#left(), this.#stopped, work, ABANDON_AFTER);
  }

  /** From the name to the upgrade; undefined where a finding makes the next step pointless. */
  async #reach(asked: Target, signal: AbortSignal): Promise<Upgraded | undefined> {
    const { hostname, port } = asked.endpoint;
    const dns = await probeDns(hostname, signal);
    this.#done("dns", dns.findings);
    if (dns.addresses.length === 0) return undefined;
    const tcp = await probeTcp(dns.addresses, port, signal);
    this.#done("tcp", tcp.findings);
    if (tcp.address === undefined) return undefined;
    // From here on every connection goes to the address that answered.
    const target: Target = { ...asked, endpoint: { hostname: tcp.address, port } };
    this.#target = target;

    const protocol = await probeProtocol(target, signal);
    this.#done("protocol", protocol.findings);
    if (!protocol.matches) return undefined;
    return target.secure ? await this.#secure(target, signal) : await this.#upgrade(target, {}, signal);
  }

  /** Asks for the upgrade, unless the check is to end before it. */
  async #upgrade(target: Target, tls: TlsOptions, signal: AbortSignal): Promise<Upgraded | undefined> {
    if (target.options.upgrade === false) return undefined;
    return this.#upgraded(await probeUpgrade(target, tls, this.#evidence, signal));
  }

  #upgraded(upgraded: Upgraded): Upgraded {
    this.#done("upgrade", upgraded.findings);
    return upgraded;
  }

  /** TLS and the upgrade. The upgrade and the resumption run while the chain is inspected, which takes the processor. */
  async #secure(target: Target, signal: AbortSignal): Promise<Upgraded | undefined> {
    const { upgrade = true } = target.options;
    const versions = await probeVersions(target, signal);
    this.#evidence.versions = versions.offered;
    this.#evidence.asksForCertificate = versions.asksForCertificate;
    this.#done("versions", versions.findings);
    const handshake = await probeAlpn(target, signal);
    const { presented, alpn } = handshake;
    const resuming = presented && probeResumption(target, alpn, signal);
    const upgrading = presented && upgrade ? probeUpgrade(target, { alpn }, this.#evidence, signal) : undefined;
    try {
      await this.#inspectChain(target, handshake, versions.offered, signal);
      this.#done("alpn", handshake.findings);
      if (resuming !== undefined) {
        this.#done("resumption", await resuming);
        return upgrading && this.#upgraded(await upgrading);
      }
    } catch (error) {
      // The caller never sees the connection, so it is closed here.
      await resuming?.catch(() => {});
      const upgraded = await upgrading?.catch(() => undefined);
      await upgraded?.connection?.close();
      throw error;
    }
    this.#explainNoHandshake(handshake, versions.asksForCertificate, upgrade);
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
      this.#done("chain", chain.findings);
    }
    signal.throwIfAborted();
    this.#pending.delete("chain");
  }

  #explainNoHandshake({ failure }: TlsHandshake, asksForCertificate: boolean, upgrade: boolean): void {
    const known = this.#observations.some(({ level }) => level === "error" || level === "warning");
    if (failure !== undefined && (!known || asksForCertificate)) {
      this.#done("alpn", [explainHandshakeFailure(failure, asksForCertificate)]);
    }
    if (upgrade) {
      const fact = "No TLS connection could be made, so no upgrade was tried.";
      this.#done("upgrade", [finding("upgrade-not-tried", "note", fact)]);
    }
  }

  /** Message, ping, hold and the close handshake. */
  async #converse(target: Target, session: ClientSession, since: number): Promise<void> {
    const { hold = 0 } = target.options;
    const alive = await this.#limited(async (signal) => {
      const [length, message] = await Promise.all([
        probeContentLength(target, signal),
        this.#message(session, since, signal),
      ]);
      this.#evidence.contentLengthRefused = length.some(({ level }) => level === "note");
      this.#done("upgrade", length);
      this.#done("message", message.findings);
      return !message.over && await this.#ping(session, signal);
    });
    if (!alive) return;
    if (hold > 0) {
      const start = performance.now();
      const held = await probeIdleTimeout(session, hold, this.#stopped);
      this.#held = performance.now() - start;
      this.#done("hold", held.findings);
      if (held.over) return;
    }
    await this.#limited(async (signal) => {
      // A connection that something on the way has forgotten looks quiet, and only a ping shows it.
      if (hold > 0 && !await this.#ping(session, signal)) return;
      this.#done("close", await probeClose(session, signal));
    });
  }

  async #message(session: ClientSession, since: number, signal: AbortSignal): Promise<ExchangeResult> {
    const { send, expect } = this.#options;
    if (send === undefined && expect === undefined) return await probeWelcome(session, since, signal);
    const patience = Math.max(this.#left() - RESERVE, this.#left() / 2);
    return await probeMessage(session, { send, expect }, patience, signal);
  }

  async #ping(session: ClientSession, signal: AbortSignal): Promise<boolean> {
    const { findings, over } = await probePing(session, signal);
    this.#evidence.pingUnanswered = findings.some(({ code }) => code === "ping-unanswered");
    this.#done("ping", findings);
    return !over;
  }
}

function isUnreachable({ probe, level }: Observation): boolean {
  return level === "error" && (probe === "url" || probe === "dns" || probe === "tcp");
}
