/**
 * The probes in the order in which a connection happens: which follows from which, and a bound for them all.
 * @module
 */
import type { Finding } from "../finding.ts";
import { explainFailure, probeAlpn } from "./probes/alpn.ts";
import { type Inspected, probeChain } from "./probes/certificate_chain.ts";
import type { Version } from "./probes/client_hello.ts";
import { judgeForBrowser, judgeForWechat } from "./client_profiles.ts";
import { finding, type Observation, type Probe } from "./finding_codes.ts";
import { DeadlineError, within } from "../client/deadline.ts";
import { probeDns } from "./probes/dns.ts";
import { type ExchangeResult, probeClose, probeMessage, probePing, probeWelcome } from "./probes/message_exchange.ts";
import { probeIdleTimeout } from "./probes/idle_timeout.ts";
import { probeResumption } from "./probes/session_resumption.ts";
import { ClientSession } from "../client/websocket_session.ts";
import { probeProtocol } from "./probes/protocol.ts";
import { type CheckOptions, DEFAULT_TIMEOUT, type Target } from "./check_target.ts";
import { probeTcp } from "./probes/tcp.ts";
import { probeUpgrade, type Upgraded } from "./probes/websocket_handshake.ts";
import { probeUrl } from "./probes/url.ts";
import { probeVersions } from "./probes/tls_versions.ts";

/** What `check` found. */
export interface Report {
  readonly url: string;
  readonly for?: "wechat" | "browser";
  /** In the order in which a connection meets them. */
  readonly observations: readonly Observation[];
  /** 0: nothing above a note. 1: a warning or an error. 2: misused, or no TCP connection. */
  readonly exit: 0 | 1 | 2;
  /** The first error, or else the first warning: what to mend first. */
  readonly first?: Observation;
  /** How long it took, in milliseconds. */
  readonly ms: number;
}

/** Who listens, and who may stop it. */
export interface CheckContext {
  /** Gets each observation as it is made. */
  readonly seen?: (observation: Observation) => void;
  /** Ends the check early; what was not probed by then is left out. */
  readonly signal?: AbortSignal;
}

/** Time kept for the probes that follow a message that does not come, in milliseconds. */
const RESERVE = 2000;

/** How long a probe that ignored its signal would be waited for, in milliseconds. */
const BACKSTOP = 3000;

/**
 * Runs the probes that apply to a URL; takes at most `timeout` plus `hold` and a moment to clean up. Never throws for
 * what a server does.
 * @throws {StartError} when `ca` holds no certificate
 */
export async function runCheck(options: CheckOptions, context: CheckContext = {}): Promise<Report> {
  const start = performance.now();
  const observations: Observation[] = [];
  const add: Add = (probe, findings) => {
    for (const one of findings) {
      const observation = { probe, ...one };
      observations.push(observation);
      context.seen?.(observation);
    }
  };
  await runProbes(options, { add, observations, outer: context.signal ?? new AbortController().signal });
  const first = observations.find(({ level }) => level === "error") ??
    observations.find(({ level }) => level === "warning");
  return {
    url: options.url,
    ...options.for && { for: options.for },
    observations,
    exit: first === undefined ? 0 : observations.some(isUnreachable) ? 2 : 1,
    ...first && { first },
    ms: Math.round(performance.now() - start),
  };
}

type Add = (probe: Probe, findings: readonly Finding[]) => void;

interface Run {
  readonly add: Add;
  readonly observations: readonly Observation[];
  readonly outer: AbortSignal;
}

function isUnreachable({ probe, level }: Observation): boolean {
  return level === "error" && (probe === "url" || probe === "dns" || probe === "tcp");
}

async function runProbes(options: CheckOptions, run: Run): Promise<void> {
  const { timeout = DEFAULT_TIMEOUT, hold = 0 } = options;
  const { findings, target } = probeUrl(asClient(options));
  run.add("url", findings);
  if (target === undefined) return;
  const start = performance.now();
  const left = () => Math.max(0, timeout - (performance.now() - start));

  const learnt: Learning = {};
  let inTime = true;
  const upgraded = await bounded(left(), run.outer, (signal) => reach(target, learnt, run, signal));
  if (upgraded?.connection !== undefined) {
    await using connection = upgraded.connection;
    const session = new ClientSession(connection, upgraded.rest);
    const talked = await bounded(left(), run.outer, (signal) => talk(session, options, run, left, signal));
    // Looked at here: the hold's own time is not the others' time.
    inTime = left() > 0;
    if (talked) inTime = await part(session, hold, run, left());
  } else inTime = left() > 0;
  const bad = run.observations.some(({ level }) => level === "error" || level === "warning");
  if (!inTime && !bad) {
    run.add("time", [finding(
      "time-ran-out",
      "warning",
      "The time was over before every probe had run; what was probed was sound.",
      "Give it longer: --timeout 30s.",
    )]);
  }
  if (options.for === "browser") run.add("client", judgeForBrowser(target));
  if (options.for === "wechat") run.add("client", judgeForWechat(target, learnt));
}

/** A page always sends its Origin: where none is given, the endpoint's own site is taken for the page's. */
function asClient(options: CheckOptions): CheckOptions {
  if (options.for !== "browser" || options.origin !== undefined || !URL.canParse(options.url)) return options;
  const { protocol, host } = new URL(options.url);
  return { ...options, origin: `${protocol === "ws:" ? "http" : "https"}://${host}` };
}

/** What later judgements need of earlier probes. */
interface Learning {
  offered?: readonly Version[];
  chain?: Inspected;
}

/**
 * A group of probes under one bound. Each ends by itself when the signal says so; if ever one did not, it would be left
 * behind here after a wait longer than its own.
 */
async function bounded<T>(
  ms: number,
  outer: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  try {
    return await within(ms, outer, work, BACKSTOP);
  } catch (error) {
    if (error instanceof DeadlineError) return undefined;
    throw error;
  }
}

/** From the name to the upgrade. */
async function reach(asked: Target, learnt: Learning, run: Run, signal: AbortSignal): Promise<Upgraded | undefined> {
  const { hostname, port } = asked.endpoint;
  const dns = await probeDns(hostname, signal);
  run.add("dns", dns.findings);
  if (dns.addresses.length === 0) return undefined;
  const tcp = await probeTcp(dns.addresses, port, signal);
  run.add("tcp", tcp.findings);
  if (tcp.address === undefined) return undefined;
  // From here on every connection goes to the address that answered.
  const target: Target = { ...asked, endpoint: { hostname: tcp.address, port } };

  const speaks = await probeProtocol(target, signal);
  run.add("speaks", speaks.findings);
  if (!speaks.matches || signal.aborted) return undefined;
  let alpn: readonly string[] = [];
  if (target.secure) {
    const versions = await probeVersions(target, signal);
    // A version that was not asked for in time is not a missing one.
    if (signal.aborted) return undefined;
    learnt.offered = versions.offered;
    run.add("versions", versions.findings);
    const handshake = await probeAlpn(target, signal);
    if (signal.aborted) return undefined;
    if (versions.offered.length > 0) {
      learnt.chain = await probeChain(target, handshake.presented, versions.offered, signal);
      run.add("chain", learnt.chain.findings);
    }
    run.add("alpn", handshake.findings);
    const known = run.observations.some(({ level }) => level === "error" || level === "warning");
    if (handshake.presented === undefined) {
      if (!known && handshake.failure !== undefined) run.add("alpn", [explainFailure(handshake.failure)]);
      run.add("upgrade", [finding("upgrade-not-tried", "note", "No TLS connection came about, so no upgrade either.")]);
      return undefined;
    }
    alpn = handshake.alpn;
    run.add("resumption", await probeResumption(target, alpn, signal));
  }
  if (signal.aborted || target.options.upgrade === false) return undefined;
  const upgraded = await probeUpgrade(target, target.secure ? { alpn } : {}, signal);
  run.add("upgrade", upgraded.findings);
  return upgraded;
}

/** Message and ping; false where the connection is over. */
async function talk(
  session: ClientSession,
  options: CheckOptions,
  run: Run,
  left: () => number,
  signal: AbortSignal,
): Promise<boolean> {
  const asks = options.send !== undefined || options.expect !== undefined;
  const patience = Math.max(left() - RESERVE, left() / 2);
  const message = asks
    ? await within(patience, signal, (wait) => probeMessage(session, options, wait))
    : await probeWelcome(session, signal);
  run.add("message", message.findings);
  if (message.over || signal.aborted) return false;
  return await ping(session, run, signal);
}

async function ping(session: ClientSession, run: Run, signal: AbortSignal): Promise<boolean> {
  const { findings, over }: ExchangeResult = await probePing(session, signal);
  run.add("ping", findings);
  return !over;
}

/** The hold, a further ping behind it, and the close handshake, these two in what is left of the time: was it enough? */
async function part(session: ClientSession, hold: number, run: Run, left: number): Promise<boolean> {
  if (hold > 0) {
    const held = await probeIdleTimeout(session, hold, run.outer);
    run.add("hold", held.findings);
    if (held.over) return true;
  }
  if (left === 0) return false;
  const enough = await bounded(left, run.outer, async (signal) => {
    // A connection that something on the way has forgotten looks quiet, and only a ping shows it.
    if (hold > 0 && !await ping(session, run, signal)) return true;
    if (signal.aborted) return false;
    run.add("close", await probeClose(session, signal));
    return !signal.aborted;
  });
  return enough ?? false;
}
