/**
 * One WebSocket: the app's view of it, its bounds, and the hooks in their order.
 * @module
 */
import { whenReached } from "../auth/token_expiry.ts";
import { CloseCode, fitReason, isSendable } from "../close_codes.ts";
import { messageOf } from "../errors.ts";
import { Subscriptions } from "../hub/subscriptions.ts";
import type { Member } from "../hub/hub.ts";
import type { Payload } from "../hub/topics.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { Peer, WaitForDrainOptions } from "./app_types.ts";
import type { Polled } from "./poller.ts";
import { CloseTimer } from "./close_timer.ts";
import { type CloseFrame, InboundLimits } from "./inbound_limits.ts";
import type { Slot } from "./limits.ts";
import { closeReasonOf, logClose, NEVER_OPENED, NO_PONG, watchdogCloseReason } from "./close_reason.ts";
import { callHook, reportHookFailure, watchHook } from "./call_hook.ts";
import { IncomingMessage, toPayload } from "./message.ts";
import { SendBuffer, type SendStatus } from "./send_buffer.ts";
import type { PeerDependencies, PeerInit } from "./peer_dependencies.ts";
import type { RequestSnapshot } from "./request_snapshot.ts";

const ONCE = { once: true } as const;
const EXPIRED: CloseFrame = { code: CloseCode.Unauthorized, reason: "the token has expired" };
const TERMINATED: CloseFrame = { code: CloseCode.AbnormalClosure, reason: "terminated by the service" };
const UNSENDABLE = "an app closed with a code that may not stand on the wire; 1000 was sent";
const USER_FULL: CloseFrame = { code: CloseCode.PolicyViolation, reason: "too many connections of this user" };
const FAILED: CloseFrame = { code: CloseCode.InternalError, reason: "internal error" };

/** A peer over Deno's server-side WebSocket. */
export class WebSocketPeer implements Peer, Member, Polled {
  readonly id: string;
  readonly user: string | undefined;
  readonly remoteAddress: string | undefined;
  readonly protocol: string;
  readonly context: Record<string, unknown>;
  readonly #socket: WebSocket;
  readonly #rules: PeerDependencies;
  readonly #request: RequestSnapshot;
  readonly #slot: Slot;
  readonly #connection: WatchedConnection | undefined;
  readonly #inboundLimits: InboundLimits;
  readonly #sendBuffer: SendBuffer;
  readonly #expiry: Disposable | undefined;
  readonly #subscriptions: Subscriptions;
  /** What Deno did not like; for the log. */
  #failure: string | undefined;
  #pressed = false;
  #opened = false;
  #ended = false;
  #closing: CloseTimer | undefined;
  readonly #openBy: number;

  constructor(start: PeerInit, rules: PeerDependencies) {
    this.id = rules.hub.peerId();
    this.user = start.user;
    this.remoteAddress = start.remoteAddress;
    this.protocol = start.protocol;
    this.context = start.context;
    this.#socket = start.socket;
    this.#request = start.request;
    this.#rules = rules;
    this.#slot = start.slot;
    this.#connection = start.connection;
    this.#subscriptions = new Subscriptions(rules.hub, this, start.namespace);
    this.#inboundLimits = new InboundLimits(rules);
    this.#sendBuffer = new SendBuffer(start.socket, rules.maxBackpressure);
    this.#expiry = start.expiresAt === undefined ? undefined : whenReached(start.expiresAt, () => this.#shut(EXPIRED));
    this.#openBy = performance.now() + rules.openTimeout;
    // Each list of listeners costs 0.3 KiB for as long as the socket lives (measured): none for what nobody reads.
    start.socket.addEventListener("open", this, ONCE);
    start.socket.addEventListener("message", this);
    start.socket.addEventListener("close", this);
    if (rules.log.enabled("debug")) start.socket.addEventListener("error", this);
    rules.poller.add(this);
  }

  get request(): Request {
    return this.#request.toRequest();
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  get topics(): Set<string> {
    return this.#subscriptions.joined;
  }

  get namespace(): string {
    return this.#subscriptions.namespace;
  }

  get peers(): ReadonlySet<Peer> {
    return new Set([...this.#rules.everybody].filter(({ namespace }) => namespace === this.namespace));
  }

  /** Receives the socket's events: one listener object a peer in place of four closures. */
  handleEvent(event: Event): void {
    switch (event.type) {
      case "message":
        return this.#message((event as MessageEvent<string | ArrayBuffer>).data);
      case "open":
        return this.#open();
      case "close":
        return this.#close(event as CloseEvent);
      case "error":
        if ((event as ErrorEvent).message !== NO_PONG) this.#failure = (event as ErrorEvent).message;
    }
  }

  send(data: unknown): boolean {
    return this.deliver(toPayload(data));
  }

  waitForDrain(options?: WaitForDrainOptions): Promise<void> {
    return this.#sendBuffer.drained(options);
  }

  deliver(payload: Payload): boolean {
    const sent = this.#sendBuffer.send(payload);
    return sent === "fine" || this.#hold(sent);
  }

  close(code: number = CloseCode.NormalClosure, reason = ""): void {
    if (!isSendable(code)) this.#rules.log.warn(UNSENDABLE, { peer: this.id, code });
    this.#shut({ code: isSendable(code) ? code : CloseCode.NormalClosure, reason });
  }

  terminate(): void {
    const frame = this.#closing?.frame ?? TERMINATED;
    this.#shut({ code: CloseCode.NormalClosure, reason: "" });
    this.#cut(frame);
  }

  subscribe(topic: string): void {
    if (!this.#ended) this.#subscriptions.join(topic);
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

  /** Poller: see {@link Polled}. */
  look(now: number): boolean {
    if (this.#ended) return false;
    if (this.#closing) {
      if (!this.#closing.over(now)) return true;
      this.#cut(this.#closing.frame);
      return false;
    }
    if (!this.#opened) {
      if (now < this.#openBy) return true;
      this.#end(NEVER_OPENED);
      return false;
    }
    if (!this.#pressed) return false;
    if (this.#sendBuffer.buffered > 0) return true;
    this.#pressed = false;
    callHook(() => this.#rules.app.drain?.(this), this.#fail);
    return false;
  }

  #open(): void {
    if (this.#ended) return;
    this.#connection?.opened();
    if (this.#rules.userIsFull(this.user)) return this.#shut(USER_FULL);
    this.#opened = this.#sendBuffer.open = true;
    this.#rules.opened(this);
    this.#rules.hub.add(this);
    callHook(() => this.#rules.app.open?.(this), this.#fail);
  }

  #message(data: string | ArrayBuffer): void {
    if (this.#closing !== undefined || this.#ended) return;
    this.#connection?.delivered(typeof data === "string" ? data.length : data.byteLength);
    const refused = this.#inboundLimits.judge(data);
    if (refused !== undefined) return this.#shut(refused);
    const { app } = this.#rules;
    if (app.message === undefined) return;
    try {
      const result = app.message(this, new IncomingMessage(data, this));
      if (result !== undefined) watchHook(result, this.#fail);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A send that did not just go through: wait for the buffer to empty, or end a peer that reads too slowly. */
  #hold(sent: SendStatus): false {
    if (sent === "over") {
      const reason = `reads too slowly: over ${this.#rules.maxBackpressure} bytes wait`;
      this.#shut({ code: CloseCode.TryAgainLater, reason, limit: true }, this.#connection);
    } else if (sent === "wait" && !this.#pressed) {
      this.#pressed = true;
      this.#rules.poller.add(this);
    }
    return false;
  }

  /** Sends a close frame once, and sees to it that the peer ends. */
  #shut({ code, reason, limit }: CloseFrame, reading?: WatchedConnection): void {
    if (this.#closing !== undefined || this.#ended) return;
    const fitted = fitReason(reason);
    this.#sendBuffer.open = false;
    this.#closing = new CloseTimer({ code, reason: fitted, limit }, reading);
    this.#rules.poller.add(this);
    this.#connection?.closing();
    try {
      this.#socket.close(code, fitted);
    } catch (error) {
      this.#rules.log.debug("a close frame could not be sent", { peer: this.id, error: messageOf(error) });
    }
  }

  #close(event: CloseEvent): void {
    this.#slot.release();
    this.#end(this.#closing?.frame ?? closeReasonOf(event, this.#connection));
  }

  /** Ends the connection; where nobody can, Deno's socket lives on with all that it holds, and goes on to count. */
  #cut(frame: CloseFrame): void {
    this.#connection?.terminate();
    this.#end(frame, this.#connection === undefined);
  }

  /** @param stays the socket outlives the peer */
  #end(frame: CloseFrame, stays = false): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#sendBuffer.open = false;
    const ending = watchdogCloseReason(this.#connection?.gone(), frame);
    this.#subscriptions.leaveAll();
    this.#rules.hub.delete(this);
    this.#expiry?.[Symbol.dispose]();
    if (!stays) this.#slot.release();
    this.#rules.ended(this);
    logClose(this.#rules, this, ending, this.#failure);
    const { code, reason } = ending;
    if (this.#opened) callHook(() => this.#rules.app.close?.(this, { code, reason }), this.#fail);
  }

  /** What a hook threw: an arrow, so that it can be handed on without a closure a call. */
  readonly #fail = (error: unknown): void => {
    this.#shut(FAILED);
    reportHookFailure(this.#rules.app, this.#rules.log, this, error);
  };
}
