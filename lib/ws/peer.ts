/**
 * One WebSocket connection: implements the app's `Peer`, applies the limits, and calls the hooks in order.
 * @module
 */
import { whenReached } from "../auth/token_expiry.ts";
import { CloseCode, fitReason, isSendable } from "../close_codes.ts";
import { messageOf } from "../errors.ts";
import type { Member } from "../hub/hub.ts";
import { PeerSubscriptions } from "../hub/peer_subscriptions.ts";
import type { Payload } from "../hub/topics.ts";
import type { Slot } from "../handshake/connection_limits.ts";
import type { Handshake } from "../handshake/handshake_context.ts";
import type { RequestSnapshot } from "../handshake/request_snapshot.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { Peer, WaitForDrainOptions } from "./app_types.ts";
import type { Polled } from "./poller.ts";
import { CloseTimer } from "./close_timer.ts";
import { type CloseFrame, InboundLimits, QUEUED_COST } from "./inbound_limits.ts";
import {
  closeReasonOf,
  fittedFrame,
  HOOK_FAILED,
  NEVER_OPENED,
  NO_PONG,
  OPENED_LATE,
  OVER_BUDGET,
  refusalCauseOf,
  TERMINATED,
  TOKEN_EXPIRED,
  tooSlow,
  USER_LIMIT_REACHED,
  watchdogCloseReason,
} from "./close_reason.ts";
import { Backpressure } from "./backpressure.ts";
import { callHook, type PeerFailure, reportFailure, watchHook } from "./call_hook.ts";
import { BlobQueue } from "./blob_queue.ts";
import type { BudgetMember } from "./memory_budget.ts";
import { IncomingMessage, toPayload } from "./message.ts";
import type { ScheduledPeer } from "./message_scheduler.ts";
import { SendBuffer, type SendStatus, waitForDrain } from "./send_buffer.ts";
import { SocketFacade } from "./socket_facade.ts";
import type { ConnectionFacts } from "./access_log.ts";
import type { PeerDependencies } from "./peer_dependencies.ts";
import { TlsFlush } from "./tls_flush.ts";

const UNSENDABLE = "an app closed with a code that is not allowed in a close frame; sent 1000 instead";

/**
 * A peer over Deno's server-side WebSocket.
 *
 * A peer ends in these steps. `#startClose` sends a close frame and starts the timer for the answer. `#onClose` handles the
 * socket's close event; `#abort` ends the connection without waiting for it. Both call `#finish`, which runs once: it
 * releases everything that the peer holds, writes the log line, and calls the app's `close` hook.
 */
export class WebSocketPeer implements Peer, Member, Polled, ScheduledPeer, BudgetMember {
  readonly id: string;
  readonly user: string | undefined;
  readonly remoteAddress: string | undefined;
  readonly protocol: string;
  readonly context: Record<string, unknown>;
  readonly #socket: WebSocket;
  readonly #shared: PeerDependencies;
  readonly #request: RequestSnapshot;
  readonly #slot: Slot;
  readonly #connection: WatchedConnection | undefined;
  readonly #inbound: InboundLimits;
  readonly #sendBuffer: SendBuffer;
  readonly #expiry: Disposable | undefined;
  readonly #subscriptions: PeerSubscriptions;
  /** The error that Deno reported, for the log. */
  #failure: string | undefined;
  /** Set once `send` has returned false. */
  #backpressure: Backpressure | undefined;
  readonly #keyId: string | undefined;
  readonly #path: string;
  #openedAt: number | undefined;
  #received = 0;
  #opened = false;
  #finished = false;
  #closing: CloseTimer | undefined;
  /** Set if the connection has ended while earlier messages still wait for the app. */
  #pendingEnd: CloseFrame | undefined;
  /** Set while a Blob is read: the messages that must be sent after it. */
  #blobQueue: BlobQueue | undefined;
  #facade: SocketFacade | undefined;
  readonly #openDeadline: number;
  /** Maintained by the scheduler. */
  round = 0;
  spent = 0;

  /** @param snapshot the handshake's request, copied before the upgrade */
  constructor(socket: WebSocket, handshake: Handshake, snapshot: RequestSnapshot, shared: PeerDependencies) {
    const { connection, expiresAt } = handshake;
    this.#keyId = handshake.keyId;
    this.#path = handshake.pathname;
    this.id = shared.hub.peerId();
    this.user = handshake.user;
    this.remoteAddress = handshake.address;
    this.protocol = handshake.protocol;
    this.context = handshake.context;
    this.#socket = socket;
    this.#request = snapshot;
    this.#shared = shared;
    this.#slot = handshake.slot!;
    this.#connection = connection;
    this.#subscriptions = new PeerSubscriptions(shared.hub, this, handshake.namespace);
    this.#inbound = new InboundLimits(shared);
    const { maxBackpressure: limit, budget, corkTimer, idleTimeouts } = shared;
    const tlsFlush = shared.tls && connection ? new TlsFlush(socket, connection, shared.poller) : undefined;
    this.#sendBuffer = new SendBuffer({ socket, limit, budget, connection, corkTimer, idleTimeouts, tlsFlush });
    this.#expiry = expiresAt === undefined ? undefined : whenReached(expiresAt, () => this.#startClose(TOKEN_EXPIRED));
    this.#openDeadline = performance.now() + shared.openTimeout;
    // Each list of listeners costs 0.3 KiB for the life of the socket (measured), so unused events have no listener.
    socket.addEventListener("open", this, { once: true });
    socket.addEventListener("message", this);
    socket.addEventListener("close", this);
    if (shared.log.enabled("debug")) socket.addEventListener("error", this);
    shared.poller.add(this);
  }

  get request(): Request {
    return this.#request.toRequest();
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount + (this.#blobQueue?.bytes ?? 0);
  }

  get readyState(): number {
    if (this.#finished) return WebSocket.CLOSED;
    if (this.#closing ?? this.#pendingEnd ?? this.#blobQueue?.closing) return WebSocket.CLOSING;
    return this.#opened ? WebSocket.OPEN : WebSocket.CONNECTING;
  }

  get websocket(): SocketFacade {
    return this.#facade ??= new SocketFacade(this);
  }

  get topics(): Set<string> {
    return this.#subscriptions.joined;
  }

  get namespace(): string {
    return this.#subscriptions.namespace;
  }

  get peers(): ReadonlySet<Peer> {
    return new Set([...this.#shared.openPeers].filter(({ namespace }) => namespace === this.namespace));
  }

  /** Receives the socket's events. One listener object per peer replaces four closures. */
  handleEvent(event: Event): void {
    switch (event.type) {
      case "message":
        return this.#onMessage((event as MessageEvent<string | ArrayBuffer>).data);
      case "open":
        return this.#onOpen();
      case "close":
        return this.#onClose(event as CloseEvent);
      case "error":
        if ((event as ErrorEvent).message !== NO_PONG) this.#failure = (event as ErrorEvent).message;
    }
  }

  send(data: unknown, options?: { readonly compress?: boolean }): boolean {
    if (options?.compress) this.#shared.warnOnce("compress is ignored: Deno does not support message compression");
    return data instanceof Blob ? this.#deliverLater(data) : this.deliver(toPayload(data));
  }

  waitForDrain(options?: WaitForDrainOptions): Promise<void> {
    return waitForDrain(this, options);
  }

  deliver(payload: Payload): boolean {
    return this.#blobQueue === undefined ? this.#deliver(payload) : this.#deliverLater(payload);
  }

  #deliver(payload: Payload): boolean {
    const status = this.#sendBuffer.send(payload);
    return status === "fine" || this.#onPressure(status);
  }

  close(code: number = CloseCode.NormalClosure, reason = ""): void {
    if (!isSendable(code)) this.#shared.log.warn(UNSENDABLE, { peer: this.id, code });
    const frame = { code: isSendable(code) ? code : CloseCode.NormalClosure, reason };
    if (this.#blobQueue === undefined) this.#startClose(frame);
    else this.#blobQueue.close(() => this.#startClose(frame));
  }

  terminate(): void {
    const frame = this.#pendingEnd ?? this.#closing?.frame ?? TERMINATED;
    this.#startClose({ code: CloseCode.NormalClosure, reason: "" });
    this.#abort(frame);
  }

  subscribe(topic: string): void {
    if (!this.#finished) this.#shared.budget.grew(this.#subscriptions.join(topic));
  }

  unsubscribe(topic: string): void {
    this.#subscriptions.leave(topic);
  }

  publish(topic: string, data: unknown): void {
    this.#subscriptions.publish(topic, toPayload(data));
  }

  toString(): string {
    return this.id;
  }

  /** For the poller: see {@link Polled}. */
  poll(now: number): boolean {
    if (this.#finished) return false;
    if (this.#closing) {
      if (!this.#closing.isExpired(now)) return true;
      this.#abort(this.#closing.frame);
      return false;
    }
    if (!this.#opened) {
      if (now < this.#openDeadline) return true;
      this.#finish(NEVER_OPENED);
      return false;
    }
    const state = this.#backpressure?.poll(now);
    if (state === "stalled") this.#startClose(tooSlow(this.#shared.maxBackpressure), true);
    if (state === "drained") callHook(() => this.#shared.app.drain?.(this), (error) => this.#fail(error, "drain"));
    // The hook may have filled the buffer again or closed the peer, so it is polled once more.
    return state !== undefined && state !== "done";
  }

  /** For the scheduler: see {@link ScheduledPeer}. */
  get waiting(): number {
    return this.#inbound.waiting;
  }

  handleNext(): void {
    const data = this.#inbound.dequeue();
    if (data !== undefined) this.#handle(data);
    if (this.#pendingEnd !== undefined && this.#inbound.waiting === 0) this.#finish(this.#pendingEnd);
  }

  /** For the memory budget: see {@link BudgetMember}. */
  measure(): number {
    return this.#sendBuffer.measure() + this.#inbound.cost + this.#subscriptions.cost;
  }

  release(): void {
    const frame = this.#closing?.frame ?? this.#pendingEnd;
    if (frame === undefined) return this.#startClose(OVER_BUDGET, true);
    this.#dropWaiting();
    this.#shared.budget.delete(this);
    queueMicrotask(() => this.#abort(frame));
  }

  #onOpen(): void {
    this.#connection?.opened();
    // Before this event Deno ignores `close`, so the frame is sent now.
    if (this.#closing !== undefined) return this.#sendClose(this.#closing.frame);
    if (this.#finished) return this.#sendClose(OPENED_LATE);
    if (this.#shared.userLimitReached(this.user)) return this.#startClose(USER_LIMIT_REACHED);
    this.#opened = true;
    this.#sendBuffer.open();
    if (this.#connection !== undefined) this.#shared.idleTimeouts.add(this.#socket, this.#connection);
    this.#shared.budget.add(this);
    this.#openedAt = performance.now();
    this.#shared.opened(this, this.#keyId);
    this.#shared.access.opened(this.#facts());
    this.#shared.hub.add(this);
    callHook(() => this.#shared.app.open?.(this), (error) => this.#fail(error, "open"));
  }

  #onMessage(data: string | ArrayBuffer): void {
    const bytes = typeof data === "string" ? data.length : data.byteLength;
    this.#connection?.delivered(bytes);
    if (this.#closing !== undefined || this.#finished) return;
    this.#received += bytes;
    this.#shared.counters.receive(bytes);
    const refused = this.#inbound.check(data);
    if (refused !== undefined) return this.#startClose(refused);
    if (this.#inbound.waiting === 0 && this.#shared.scheduler.mayHandle(this)) return this.#handle(data);
    const overflow = this.#inbound.enqueue(data);
    if (overflow !== undefined) return this.#startClose(overflow);
    this.#shared.scheduler.add(this);
    // Last, because it may close this peer.
    this.#shared.budget.grew(bytes + QUEUED_COST);
  }

  #handle(data: string | ArrayBuffer): void {
    const { app, counters } = this.#shared;
    try {
      const message = new IncomingMessage(data, this);
      const result = counters.measured
        ? counters.measure("message", () => app.message?.(this, message))
        : app.message?.(this, message);
      if (result !== undefined) watchHook(result, this.#fail);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Sends a Blob, or a message that must follow one. */
  #deliverLater(data: Payload | Blob): boolean {
    if (this.readyState !== WebSocket.OPEN) return false;
    this.#blobQueue ??= new BlobQueue({
      deliver: (payload) => this.#deliver(payload),
      fail: (error) => this.#fail(error, "blob"),
      done: () => this.#blobQueue = undefined,
    });
    return this.#blobQueue.send(data) || this.#onPressure("full");
  }

  /** Handles a send with a full buffer: waits for the buffer to drain, or closes a peer that reads too slowly. */
  #onPressure(status: Exclude<SendStatus, "fine">): false {
    if (status === "closed") return false;
    if (status === "full") this.#startClose(tooSlow(this.#shared.maxBackpressure), true);
    else {
      this.#backpressure ??= new Backpressure(this.#sendBuffer, this.#connection, this.#shared.slowReaderTimeout);
      if (this.#backpressure.add(status)) this.#shared.poller.add(this);
    }
    return false;
  }

  /** Sends a close frame once, and starts the close timer. Messages that wait for the app are dropped. */
  #startClose(frame: CloseFrame, slow = false): void {
    if (this.#closing !== undefined || this.#finished) return;
    const fitted = { ...frame, reason: fitReason(frame.reason) };
    this.#sendBuffer.close();
    this.#dropWaiting();
    if (this.#pendingEnd !== undefined) return this.#finish(this.#pendingEnd);
    this.#closing = new CloseTimer(fitted, this.#connection, slow);
    this.#shared.poller.add(this);
    this.#sendClose(fitted);
  }

  #sendClose({ code, reason }: CloseFrame): void {
    this.#connection?.closing();
    try {
      this.#socket.close(code, reason);
    } catch (error) {
      this.#shared.log.debug("could not send a close frame", { peer: this.id, error: messageOf(error) });
    }
  }

  /** Handles the socket's end. Messages that already wait for the app are handled before `close` runs. */
  #onClose(event: CloseEvent): void {
    this.#slot.release();
    if (this.#finished || this.#pendingEnd !== undefined) return;
    const seen = this.#closing?.frame ?? fittedFrame(closeReasonOf(event, this.#connection));
    const frame = watchdogCloseReason(this.#connection?.closed(), seen);
    if (this.#closing !== undefined || frame !== seen || this.#inbound.waiting === 0) return this.#finish(frame);
    this.#sendBuffer.close();
    this.#pendingEnd = frame;
  }

  /** Ends the connection. Without a watchdog the socket cannot be aborted; it still counts toward the limits. */
  #abort(frame: CloseFrame): void {
    this.#connection?.terminate();
    this.#finish(frame, this.#connection === undefined && this.#pendingEnd === undefined);
  }

  /** @param socketRemains whether the socket stays open after the peer has ended */
  #finish(frame: CloseFrame, socketRemains = false): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#sendBuffer.close();
    this.#dropWaiting();
    const final = watchdogCloseReason(this.#connection?.closed(), frame);
    this.#subscriptions.leaveAll();
    this.#expiry?.[Symbol.dispose]();
    if (!socketRemains) this.#slot.release();
    this.#shared.budget.delete(this);
    this.#shared.idleTimeouts.delete(this.#socket);
    this.#shared.hub.delete(this);
    const { code, reason } = final;
    this.#shared.ended(this, this.#opened ? code : undefined);
    const { sent } = this.#sendBuffer;
    const totals = { openedAt: this.#openedAt, received: this.#received, sent, error: this.#failure };
    this.#shared.access.closed(this.#facts(), final, totals);
    if (!this.#opened) return void this.#shared.counters.refused[refusalCauseOf(final)]++;
    callHook(() => this.#shared.app.close?.(this, { code, reason }), (error) => this.#fail(error, "close"));
  }

  #facts(): ConnectionFacts {
    return { peer: this.id, address: this.remoteAddress, path: this.#path, user: this.user };
  }

  #dropWaiting(): void {
    this.#inbound.dropQueue();
    this.#shared.scheduler.remove(this);
  }

  /** Handles an error of a hook. An arrow function, so that it can be passed on without a closure per call. */
  readonly #fail = (error: unknown, source: PeerFailure["source"] = "message"): void => {
    const closes = this.#closing === undefined && this.#pendingEnd === undefined && !this.#finished;
    this.#startClose(HOOK_FAILED);
    reportFailure(this.#shared, { source, peer: this, closes, error });
  };
}
