/**
 * A running service: creates its parts, and starts and stops them together.
 * @module
 */
import type { AdminListener, Health } from "../admin/admin_listener.ts";
import type { Authenticator } from "../auth/authenticate.ts";
import { CloseCode } from "../close_codes.ts";
import type { Mode } from "../config/service_mode.ts";
import type { Settings } from "../config/service_options.ts";
import { messageOf, runEach, stackOf, StartError } from "../errors.ts";
import { RequestHandler } from "../http/request_handler.ts";
import type { PageFacts } from "../http/test_page.ts";
import { HubCalls } from "../hub/service_calls.ts";
import { Hub } from "../hub/hub.ts";
import { joinBroker, joinWorkers } from "./join_broker.ts";
import type { Logger } from "../log.ts";
import type { MetricValues } from "../metrics.ts";
import { Watchdog } from "../net/watchdog/watchdog.ts";
import { Listener } from "../net/listener/listener.ts";
import type { ServiceCertificate } from "./create_certificate_source.ts";
import { collectMetrics } from "./collect_metrics.ts";
import { CredentialReloader } from "./credential_reloader.ts";
import {
  buildUrl,
  computeConnectionLimits,
  computeMemoryBudget,
  isLocal,
  warnAboutLongMessages,
} from "./validate_settings.ts";
import type { ServiceSettings } from "./validate_settings.ts";
import { throttled, type ThrottledLogger, warningOnce } from "../log_throttle.ts";
import type { AcmeStatus } from "../tls/acme/acme_source.ts";
import type { TlsMaterial } from "../tls/loaded_certificate.ts";
import type { AppFactory, Peer, ServiceApp } from "../ws/app_types.ts";
import { callHook } from "../ws/call_hook.ts";
import { AccessLog } from "../ws/access_log.ts";
import { IdleTimeouts } from "../ws/idle_timeout.ts";
import { Poller } from "../ws/poller.ts";
import { MemoryBudget } from "../ws/memory_budget.ts";
import { MessageScheduler } from "../ws/message_scheduler.ts";
import { toPayload } from "../ws/message.ts";
import { CorkTimer } from "../ws/send_buffer.ts";
import { Admission } from "../handshake/connection_limits.ts";
import { PeerRegistry } from "../ws/peer_registry.ts";
import { ServiceCounters } from "../ws/service_counters.ts";
import type { Service } from "./service_type.ts";
import { EventLoopLag } from "./event_loop_lag.ts";
import type { WorkerContext } from "./worker_context.ts";
import { WorkerCounts } from "./report_connection_counts.ts";

/** Milliseconds for which a peer may exceed `--max-backpressure` without reading. */
const SLOW_READER_TIMEOUT = 5000;
/** Milliseconds for clients to answer the last close frames. */
const CLOSE_TIMEOUT = 1000;

/** The dependencies of a service. */
export interface ServiceParts {
  readonly app: ServiceApp | AppFactory;
  readonly loaded: ServiceSettings;
  readonly authenticator: Authenticator | undefined;
  /** Undefined in proxied mode. */
  readonly certificate: ServiceCertificate | undefined;
  readonly log: Logger;
  /** Set if this service is one of several workers on one port. */
  readonly worker?: WorkerContext | undefined;
}

/** A service. It listens once `start` has resolved. */
export class RunningService extends HubCalls implements Service {
  readonly settings: Settings;
  readonly mode: Mode;
  readonly maxConnections: number | undefined;
  readonly #parts: ServiceParts;
  readonly #refusals: ThrottledLogger;
  readonly #credentials: CredentialReloader;
  readonly #hub: Hub;
  readonly #poller = new Poller();
  readonly #scheduler: MessageScheduler;
  readonly #budget: MemoryBudget;
  readonly #counters = new ServiceCounters();
  readonly #corkTimer = new CorkTimer();
  readonly #peerRegistry = new PeerRegistry();
  readonly #requestHandler: RequestHandler;
  /** Aborted when the service begins to stop. */
  readonly #draining = new AbortController();
  /** Whether a successor process serves the address. */
  #handedOver = false;
  #listener!: Listener;
  #watchdog: Watchdog | undefined;
  #admin: AdminListener | undefined;
  #eventLoopLag: EventLoopLag | undefined;
  /** The connection counts of the other workers. */
  readonly #counts: WorkerCounts | undefined;
  #stopped: Promise<void> | undefined;

  constructor(parts: ServiceParts, refusals = throttled(parts.log), hub = new Hub(refusals)) {
    super(hub, toPayload);
    const { authenticator, certificate, log, worker } = parts;
    const { settings, checked: { mode, origin, paths } } = parts.loaded;
    const development = mode.kind === "direct" && mode.certificate.kind === "development";
    const app = typeof parts.app === "function" ? parts.app(this) : parts.app;
    this.#hub = hub;
    this.settings = settings;
    this.mode = mode;
    const limits = computeConnectionLimits(settings, worker?.count ?? 1, log);
    this.maxConnections = limits.maxConnections;
    const { maxConnectionsPerAddress, maxConnectionsPerUser } = settings;
    const counts = this.#counts = worker && worker.count > 1
      ? new WorkerCounts(worker, maxConnectionsPerAddress > 0, (user) => hub.users.size(user))
      : undefined;
    const userChanged = ({ user }: Peer) => {
      if (maxConnectionsPerUser > 0 && user !== undefined) counts?.userChanged(user);
    };
    warnAboutLongMessages(settings, log);
    this.#parts = parts;
    this.#refusals = refusals;
    this.#credentials = new CredentialReloader({
      source: certificate?.source,
      authenticator,
      log,
      apply: async (fresh) => {
        await this.#listener.replace(fresh);
        await this.#admin?.replace(fresh);
      },
      tokensChanged: () => this.#closeRevoked(),
      reloadAll: worker && ((tokens) => worker.reloadAll(tokens)),
    });
    hub.gap = (topics, namespace) => {
      const failed = (error: unknown) => {
        this.#counters.hookErrors.gap++;
        refusals.error("the app's gap hook threw", { error: messageOf(error) });
      };
      callHook(() => app.gap?.(topics, { namespace }), failed);
    };
    const budget = this.#budget = new MemoryBudget(computeMemoryBudget(settings, worker?.count ?? 1));
    const counters = this.#counters;
    this.#scheduler = new MessageScheduler(budget);
    const peers = {
      app,
      log: refusals,
      access: new AccessLog(log, refusals, settings.accessLog ? "info" : "debug"),
      notices: refusals,
      warnOnce: warningOnce(log),
      hub,
      userLimitReached: (user: string | undefined) =>
        maxConnectionsPerUser > 0 && user !== undefined &&
        hub.users.size(user) + (counts?.ofUser(user) ?? 0) >= maxConnectionsPerUser,
      openPeers: this.#peerRegistry.all,
      isRefusing: () => this.#drainsAddress,
      poller: this.#poller,
      scheduler: this.#scheduler,
      budget,
      counters,
      corkTimer: this.#corkTimer,
      tls: mode.kind === "direct",
      slowReaderTimeout: SLOW_READER_TIMEOUT,
      maxPayload: settings.maxPayload,
      maxBackpressure: settings.maxBackpressure,
      messageRate: settings.messageRate,
      openTimeout: settings.handshakeTimeout,
      idleTimeouts: new IdleTimeouts(settings.idleTimeout, this.#poller),
      opened: (peer: Peer, keyId: string | undefined) => {
        this.#peerRegistry.add(peer, keyId);
        counters.opened++;
        userChanged(peer);
        // The token may have been revoked since it was checked.
        if (keyId !== undefined && !authenticator!.accepts(keyId)) this.#closeRevoked();
      },
      ended: (peer: Peer, code: number | undefined) => {
        if (code !== undefined) counters.ended(code);
        this.#peerRegistry.delete(peer);
        userChanged(peer);
      },
    };
    this.#requestHandler = new RequestHandler({
      mode,
      origin,
      authenticator,
      peers,
      paths,
      localOnly: development && isLocal(mode),
      page: settings.page ?? development ? () => this.#pageFacts() : undefined,
      admission: new Admission({ ...limits, maxConnectionsPerAddress, others: counts }),
      log: this.#refusals,
      draining: () => this.#drainsAddress,
      connected: () => this.#peerRegistry.size + (counts?.total ?? 0),
      port: () => (this.#listener.addr as Partial<Deno.NetAddr>).port,
      track: (peer, body) => this.#watchdog?.connection(peer, body),
    });
  }

  async start(takeover: { readonly port: number; readonly adminPort: number } | undefined): Promise<void> {
    try {
      await this.#credentials.start(() => this.#open(takeover));
    } catch (error) {
      await this.#admin?.[Symbol.asyncDispose]();
      this.#eventLoopLag?.[Symbol.dispose]();
      await this.#hub.stop();
      throw error;
    }
  }

  async #open(takeover: { readonly port: number; readonly adminPort: number } | undefined): Promise<void> {
    const { address } = this.mode;
    const { log, loaded: { given }, worker } = this.#parts;
    await joinBroker(this.#hub, this.settings, given, log);
    if (worker?.relay !== undefined) await joinWorkers(this.#hub, worker.relay);
    const { admin } = this.settings;
    if (admin !== undefined) this.#eventLoopLag = new EventLoopLag();
    if (admin !== undefined && worker === undefined) {
      const { openLocalAdmin } = await import("../admin/open_admin_listener.ts");
      const from = takeover && { port: takeover.adminPort };
      this.#admin = await openLocalAdmin(this, admin, { takeover: from, log: this.#refusals });
    }
    const turn = await worker?.turnToListen();
    if (turn?.reload) await this.#credentials.reloadBeforeListening();
    const port = takeover?.port ?? turn?.port;
    this.#listener = await Listener.open({
      address: port !== undefined && address.transport === "tcp" ? { ...address, port } : address,
      ...(this.material ? { tls: this.material } : {}),
      takeover: takeover !== undefined,
      ...(turn ? { group: turn.join ? "join" : "open" } : {}),
      onGroupChange: (change) => worker?.groupChanged(change),
      handler: this.#requestHandler.handle,
      onError: (error) => {
        this.#refusals.error("a request failed", { error: stackOf(error) });
        return new Response("500 Internal Server Error\n", { status: 500 });
      },
      evict: () => this.#evict(),
      userTimeout: this.settings.idleTimeout,
      log: this.#refusals,
    });
    const { addr } = this.#listener;
    if ("port" in addr) this.#parts.certificate?.listening(addr.port);
    const { handshakeTimeout, maxPayload, messageTimeout } = this.settings;
    this.#watchdog = Watchdog.start({
      addr,
      handshakeTimeout,
      maxPayload,
      messageTimeout: messageTimeout || Infinity,
      unfinishedBudget: computeMemoryBudget(this.settings, worker?.count ?? 1) / 2,
      log: this.#refusals,
    });
  }

  get addr(): Deno.Addr {
    return this.#listener.addr;
  }

  get url(): string {
    return buildUrl(this.addr, this.mode, this.settings.path[0] ?? "/", this.material);
  }

  get material(): TlsMaterial | undefined {
    return this.#credentials.material;
  }

  get acme(): AcmeStatus | undefined {
    return this.#parts.certificate?.acme?.status;
  }

  get requiredToken(): string | undefined {
    return this.#parts.authenticator?.requiredToken;
  }

  get admin(): AdminListener | undefined {
    return this.#admin;
  }

  get nodeId(): string {
    return this.#hub.id;
  }

  get peers(): ReadonlySet<Peer> {
    return this.#peerRegistry.all;
  }

  reload(): Promise<void> {
    return runEach(() => this.#admin?.reloadKeys(), () => this.#credentials.reload());
  }

  /** The listener. The supervisor replaces its sockets together with those of the other workers. */
  get listener(): Listener {
    return this.#listener;
  }

  /** See {@link CredentialReloader}. The supervisor reloads all workers step by step. */
  get credentials(): CredentialReloader {
    return this.#credentials;
  }

  /** Stops like {@link Service.stop} while others serve the port. Connections accepted before are still served here. */
  retire(): Promise<void> {
    return this.#stopped ??= this.#stop(true);
  }

  handOver(start: () => Promise<void>): Promise<void> {
    return this.#credentials.runExclusively(async () => {
      if (!await this.#listener.share()) {
        throw new StartError("Cannot hand over: this system cannot share the port; restart the service instead");
      }
      await this.#admin?.share();
      await start().catch((error) => {
        this.#listener.takeBack();
        this.#admin?.takeBack();
        throw error;
      });
      // Set before the task ends, so that a waiting reload sees that the service is stopping.
      this.#stopped ??= this.#stop(true);
    });
  }

  stop(): Promise<void> {
    return this.#stopped ??= this.#stop(false);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** The state for the admin listener, see {@link AdminBackend.health}. */
  health(): Health {
    return { draining: this.#drainsAddress, broker: this.#hub.connected };
  }

  /** Whether the service is stopping and no successor serves its address. */
  get #drainsAddress(): boolean {
    return this.#draining.signal.aborted && !this.#handedOver;
  }

  /** The metrics of this process. */
  metrics(): MetricValues {
    return collectMetrics({
      counters: this.#counters,
      budget: this.#budget,
      peers: this.peers,
      hub: this.#hub,
      watchdog: this.#watchdog,
      material: this.material,
      reloads: this.#credentials.reloads,
      eventLoopLag: this.#eventLoopLag?.longest,
    });
  }

  /** The facts that the test page shows. */
  #pageFacts(): PageFacts {
    const { notAfter, file } = this.material ?? {};
    return {
      App: this.settings.app,
      Mode: this.mode.kind === "direct" ? "direct: this service terminates TLS" : "proxied: the proxy terminates TLS",
      Certificate: notAfter && `${file}, until ${notAfter.toISOString().slice(0, 10)}`,
      Token: this.requiredToken,
    };
  }

  /** Without the C library an accept loop ends only with its connections. Closes them gradually; clients reconnect. */
  async #evict(): Promise<void> {
    const { drainTimeout } = this.settings;
    const { log } = this.#parts;
    log.warn("the new certificate makes all clients reconnect", { peers: this.#peerRegistry.size, ms: drainTimeout });
    const reason = "the certificate was renewed: reconnect";
    await this.#peerRegistry.close(CloseCode.ServiceRestart, reason, drainTimeout, this.#draining.signal);
  }

  /** Closes connections whose tokens are no longer valid, unless the option `revokedTokens` is `keep`. */
  #closeRevoked(): void {
    const { authenticator, log } = this.#parts;
    if (authenticator === undefined || this.settings.revokedTokens === "keep") return;
    const peers = this.#peerRegistry.closeRevoked((keyId) => authenticator.accepts(keyId));
    if (peers > 0) log.warn("closed connections whose tokens were revoked", { peers });
  }

  async #stop(handedOver: boolean): Promise<void> {
    const { drainTimeout, handshakeTimeout } = this.settings;
    const until = performance.now() + drainTimeout;
    this.#handedOver = handedOver;
    this.#draining.abort();
    await this.#credentials.drain();
    await Promise.all([handedOver ? this.#admin?.handOver() : undefined, this.#listener.stopAccepting()]);
    if (handedOver) {
      const timeout = Math.min(handshakeTimeout, drainTimeout);
      await this.#listener.allConnectionsCounted(() => this.#peerRegistry.size, timeout);
    }
    await this.#peerRegistry.waitUntilEmpty(Math.max(0, until - performance.now()));
    await this.#peerRegistry.close(CloseCode.GoingAway, "the service is stopping");
    await this.#peerRegistry.waitUntilEmpty(CLOSE_TIMEOUT);
    this.#peerRegistry.terminate();
    await this.#credentials.stop();
    await this.#admin?.[Symbol.asyncDispose]();
    this.#eventLoopLag?.[Symbol.dispose]();
    await this.#hub.stop();
    await this.#listener.close();
    await this.#watchdog?.stop();
    this.#poller.stop();
    this.#corkTimer[Symbol.dispose]();
    this.#scheduler[Symbol.dispose]();
    this.#counts?.[Symbol.dispose]();
    this.#refusals[Symbol.dispose]();
  }
}
