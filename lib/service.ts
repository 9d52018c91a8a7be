/**
 * The service: one app on one address, from start to stop.
 * @module
 */
import { createAuthenticator } from "./auth/authenticate.ts";
import { authRules } from "./auth/rules.ts";
import { load } from "./config/load.ts";
import { type Mode, selectMode } from "./config/mode.ts";
import { SERVICE_OPTIONS, type ServiceOptions, type Settings } from "./config/options.ts";
import { CloseCode } from "./close_codes.ts";
import { messageOf, UsageError } from "./errors.ts";
import { Gate } from "./http/gate.ts";
import { Topics } from "./hub/topics.ts";
import { isLoopback } from "./ip.ts";
import { type Logger, silent } from "./log.ts";
import { Listener } from "./net/listener.ts";
import { throttled } from "./throttle.ts";
import { type DevelopmentMaterial, developmentMaterial } from "./tls/development.ts";
import { loadMaterial } from "./tls/load.ts";
import type { Material } from "./tls/material.ts";
import type { App, Peer } from "./ws/app.ts";
import { Attention } from "./ws/attention.ts";
import { Admission, Turns } from "./ws/limits.ts";
import { toPayload } from "./ws/message.ts";
import { type OriginRule, originRule } from "./ws/origin.ts";
import type { WebSocketPeer } from "./ws/peer.ts";

/** A running service. Disposing of it stops it. */
export interface Service extends AsyncDisposable {
  /** Where it listens, with the real port. */
  readonly addr: Deno.Addr;
  /** What a client connects to: `wss://localhost:8282/`. For a unix socket, `ws+unix:PATH`. */
  readonly url: string;
  readonly mode: Mode;
  readonly settings: Settings;
  /** The certificate in use; undefined in proxied mode. */
  readonly material: Material | DevelopmentMaterial | undefined;
  /** What tokens clients need; undefined where none. */
  readonly needs: string | undefined;
  /** The connected peers. */
  readonly peers: ReadonlySet<Peer>;
  /** Sends to every subscriber of a topic. */
  publish(topic: string, data: unknown): void;
  /**
   * Stops accepting, lets connections finish within `drainTimeout`, closes the rest with 1001. Idempotent.
   * Resolves when all is ended.
   */
  stop(): Promise<void>;
  /** Ends the drain of a `stop` under way: what is still connected is closed with 1001 now. */
  hurry(): void;
}

/** What the caller may give beside the options. */
export interface Environment {
  /** Default: silent. */
  readonly log?: Logger;
}

/**
 * Serves an app. Options as on the command line, in camelCase; sizes and durations in bytes and milliseconds, or as text.
 * It installs no signal handlers and reads neither environment nor file.
 *
 * @example
 * ```ts
 * import { defineApp, serve } from "@wss/wss";
 *
 * const app = defineApp({ message: (peer, message) => void peer.send(message.text()) });
 * await using service = await serve(app, { port: 0 });
 * console.log(service.url);
 * ```
 *
 * @throws {UsageError} with every mistake in the options
 * @throws {StartError} when the port is taken, the certificate unusable, a file unreadable
 */
export async function serve(app: App, options: ServiceOptions = {}, environment: Environment = {}): Promise<Service> {
  const { settings, given } = load(SERVICE_OPTIONS, { object: { values: options } }, [], validate);
  return await startService(app, settings, given, environment);
}

/** Serves with settings that are loaded already: the command line's way in. */
export async function startService(
  app: App,
  settings: Settings,
  given: ReadonlyMap<string, string>,
  { log = silent }: Environment = {},
): Promise<Service> {
  const { mode, origin } = validate(settings, given);
  const authenticator = await createAuthenticator(settings, { log });
  const material = await materialFor(mode);
  for (const { level, fact, remedy } of material?.findings ?? []) {
    if (level === "warning") log.warn(`${fact} ${remedy ?? ""}`.trim());
  }
  const service = new RunningService(app, settings, mode, origin, material, authenticator, log);
  await service.listen();
  return service;
}

/**
 * Checks settings against each other.
 * @throws {UsageError} with every mistake
 */
export function validate(settings: Settings, given: ReadonlyMap<string, string>): { mode: Mode; origin: OriginRule } {
  const problems = authRules(settings, given);
  for (const path of settings.path) {
    if (!/^\/[^?#\s]*$/.test(path)) {
      problems.push(`${given.get("path")}: a path starts with / and has neither query nor fragment, not "${path}"`);
    }
  }
  const mode = attempt(() => selectMode(settings, given));
  const origin = attempt(() => originRule(settings.origin, mode?.kind === "direct" && onLoopback(mode)));
  if (problems.length > 0 || mode === undefined || origin === undefined) throw new UsageError(problems);
  return { mode, origin };

  function attempt<T>(check: () => T): T | undefined {
    try {
      return check();
    } catch (error) {
      if (error instanceof UsageError) problems.push(...error.problems);
      else if (error instanceof RangeError) problems.push(`${given.get("origin")}: ${error.message}`);
      else throw error;
    }
  }
}

function onLoopback({ address }: Mode): boolean {
  return address.transport === "tcp" && (address.hostname === "localhost" || isLoopback(address.hostname));
}

/** The certificate that the mode asks for. */
export async function materialFor(mode: Mode): Promise<Material | DevelopmentMaterial | undefined> {
  if (mode.kind === "proxied") return undefined;
  return mode.files === undefined ? await developmentMaterial() : loadMaterial(mode.files);
}

/** How long the sockets get to answer the last close frames, ms. */
const FAREWELL = 1000;

class RunningService implements Service {
  readonly settings: Settings;
  readonly mode: Mode;
  readonly material: Material | undefined;
  readonly needs: string | undefined;
  readonly #log: Logger;
  readonly #refusals;
  readonly #topics = new Topics();
  readonly #attention = new Attention();
  readonly #turns = new Turns();
  readonly #peers = new Set<WebSocketPeer>();
  readonly #gate: Gate;
  #listener: Listener | undefined;
  #stopping: Promise<void> | undefined;
  /** Called when the last peer has gone. */
  #emptied: (() => void) | undefined;

  constructor(
    app: App,
    settings: Settings,
    mode: Mode,
    origin: OriginRule,
    material: Material | undefined,
    authenticator: Awaited<ReturnType<typeof createAuthenticator>>,
    log: Logger,
  ) {
    this.settings = settings;
    this.mode = mode;
    this.material = material;
    this.needs = authenticator?.need;
    this.#log = log;
    this.#refusals = throttled(log);
    const peers = {
      app,
      log,
      topics: this.#topics,
      attention: this.#attention,
      turns: this.#turns,
      maxPayload: settings.maxPayload,
      maxBackpressure: settings.maxBackpressure,
      messageRate: settings.messageRate,
      openTimeout: settings.handshakeTimeout,
      opened: (peer: WebSocketPeer) => void this.#peers.add(peer),
      ended: (peer: WebSocketPeer) => this.#ended(peer),
    };
    this.#gate = new Gate({
      mode,
      origin,
      authenticator,
      peers,
      paths: new Set(settings.path),
      page: settings.page ?? (mode.kind === "direct" && mode.files === undefined),
      admission: new Admission(settings),
      idleTimeout: settings.idleTimeout,
      log: this.#refusals,
      draining: () => this.#stopping !== undefined,
      connected: () => this.#peers.size,
    });
  }

  async listen(): Promise<void> {
    const { mode, material } = this;
    this.#listener = await Listener.open({
      address: mode.address,
      ...(material ? { tls: { cert: material.cert, key: material.key } } : {}),
      handler: this.#gate.handle,
      onError: (error) => {
        this.#log.error("a request failed", { error: messageOf(error) });
        return new Response("500 Internal Server Error\n", { status: 500 });
      },
      log: this.#log,
    });
  }

  get addr(): Deno.Addr {
    return this.#listener!.addr;
  }

  get url(): string {
    const { addr } = this;
    if (!("hostname" in addr)) return `ws+unix:${(addr as Deno.UnixAddr).path}`;
    const scheme = this.mode.kind === "direct" ? "wss" : "ws";
    return `${scheme}://${publicHost(addr.hostname, this.material)}:${addr.port}${this.settings.path[0] ?? "/"}`;
  }

  get peers(): ReadonlySet<Peer> {
    return this.#peers;
  }

  publish(topic: string, data: unknown): void {
    this.#topics.publish(topic, toPayload(data));
  }

  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  hurry(): void {
    this.#emptied?.();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    // In the next turn, so that #stopping is set before anybody asks whether it drains.
    await Promise.resolve();
    await this.#listener?.stopAccepting();
    await this.#empty(this.settings.drainTimeout);
    for (const peer of this.#peers) peer.close(CloseCode.GoingAway, "the service is stopping");
    await this.#empty(FAREWELL);
    for (const peer of this.#peers) peer.terminate();
    await this.#listener?.close();
    this.#attention.stop();
    this.#turns[Symbol.dispose]();
    this.#refusals[Symbol.dispose]();
  }

  /** Waits until no peer is left, but no longer than this many milliseconds. */
  async #empty(timeout: number): Promise<void> {
    if (this.#peers.size === 0 || timeout === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeout);
    this.#emptied = resolve;
    await promise;
    clearTimeout(timer);
    this.#emptied = undefined;
  }

  #ended(peer: WebSocketPeer): void {
    this.#peers.delete(peer);
    if (this.#peers.size === 0) this.#emptied?.();
  }
}

/** A host that a client on this machine can connect to, and that the certificate is for. */
function publicHost(hostname: string, material: Material | undefined): string {
  const anywhere = hostname === "0.0.0.0" || hostname === "::" || isLoopback(hostname);
  if (anywhere && material) return material.names.find((name) => !name.startsWith("*")) ?? "localhost";
  const host = hostname === "0.0.0.0" || hostname === "::" ? "127.0.0.1" : hostname;
  return host.includes(":") ? `[${host}]` : host;
}
