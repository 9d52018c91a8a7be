/**
 * One WebSocket: the app's view of it, its bounds, and the hooks in their order.
 * @module
 */
import { whenReached } from "../auth/expiry.ts";
import { CloseCode, fitReason, isSendable } from "../close_codes.ts";
import { messageOf } from "../errors.ts";
import { Membership } from "../hub/membership.ts";
import type { Payload, Subscriber } from "../hub/topics.ts";
import type { Connection } from "../net/connection.ts";
import type { Peer, WaitForDrainOptions } from "./app.ts";
import type { Attended } from "./attention.ts";
import { type CloseFrame, Intake } from "./intake.ts";
import type { Lease } from "./limits.ts";
import { endingOf, guardEnding, NO_PONG } from "./ending.ts";
import { callHook, reportHookFailure, watchHook } from "./hooks.ts";
import { IncomingMessage, toPayload } from "./message.ts";
import { Outbox, type Sent } from "./outbox.ts";
import type { PeerRules, PeerStart } from "./peer_rules.ts";
import type { RequestSnapshot } from "./snapshot.ts";

/** How long a peer may take to answer a close frame, ms (Deno itself waits for ever). */
const CLOSE_TIMEOUT = 5000;

const ONCE = { once: true } as const;

/** A peer over Deno's server-side WebSocket. */
export class WebSocketPeer implements Peer, Subscriber, Attended {
  readonly id: string = crypto.randomUUID();
  readonly remoteAddress: string | undefined;
  readonly protocol: string;
  readonly context: Record<string, unknown>;
  readonly #socket: WebSocket;
  readonly #rules: PeerRules;
  readonly #request: RequestSnapshot;
  readonly #lease: Lease;
  readonly #connection: Connection | undefined;
  readonly #intake: Intake;
  readonly #outbox: Outbox;
  readonly #expiry: Disposable | undefined;
  readonly #membership: Membership;
  /** What Deno did not like, of which a close event follows; for the log. */
  #failure: string | undefined;
  #pressed = false;
  #opened = false;
  #ended = false;
  /** What this side closed with, and by when the other must have answered. */
  #closing: CloseFrame | undefined;
  #deadline: number;

  constructor(start: PeerStart, rules: PeerRules) {
    this.remoteAddress = start.remoteAddress;
    this.protocol = start.protocol;
    this.context = start.context;
    this.#socket = start.socket;
    this.#request = start.request;
    this.#rules = rules;
    this.#lease = start.lease;
    this.#connection = start.connection;
    this.#membership = new Membership(rules.topics, this, start.namespace);
    this.#intake = new Intake(rules);
    this.#outbox = new Outbox(start.socket, rules.maxBackpressure);
    this.#expiry = start.expiresAt === undefined
      ? undefined
      : whenReached(start.expiresAt, () => this.#shut(CloseCode.Unauthorized, "the token has expired"));
    this.#deadline = performance.now() + rules.openTimeout;
    // Each list of listeners costs 0.3 KiB for as long as the socket lives (measured): none for what nobody reads.
    start.socket.addEventListener("open", this, ONCE);
    start.socket.addEventListener("message", this);
    start.socket.addEventListener("close", this);
    if (rules.log.enabled("debug")) start.socket.addEventListener("error", this);
    rules.attention.add(this);
  }

  get request(): Request {
    return this.#request.toRequest();
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  get topics(): Set<string> {
    return this.#membership.joined;
  }

  get namespace(): string {
    return this.#membership.namespace;
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
        return this.#end(this.#closing ?? endingOf(event as CloseEvent));
      case "error":
        if ((event as ErrorEvent).message !== NO_PONG) this.#failure = (event as ErrorEvent).message;
    }
  }

  send(data: unknown): boolean {
    return this.deliver(toPayload(data));
  }

  waitForDrain(options?: WaitForDrainOptions): Promise<void> {
    return this.#outbox.drained(options);
  }

  deliver(payload: Payload): boolean {
    const sent = this.#outbox.send(payload);
    return sent === "fine" || this.#hold(sent);
  }

  close(code: number = CloseCode.NormalClosure, reason = ""): void {
    const sendable = isSendable(code);
    if (!sendable) {
      const problem = "an app closed with a code that may not stand on the wire; 1000 was sent";
      this.#rules.log.warn(problem, { peer: this.id, code });
    }
    this.#shut(sendable ? code : CloseCode.NormalClosure, reason);
  }

  terminate(): void {
    this.#shut(CloseCode.NormalClosure, "");
    this.#connection?.terminate();
    this.#end({ code: CloseCode.AbnormalClosure, reason: "terminated by the service" });
  }

  subscribe(topic: string): void {
    if (!this.#ended) this.#membership.join(topic);
  }

  unsubscribe(topic: string): void {
    this.#membership.leave(topic);
  }

  publish(topic: string, data: unknown): void {
    this.#membership.publish(topic, toPayload(data));
  }

  toString(): string {
    return this.id;
  }

  /** Attention: see {@link Attended}. */
  look(now: number): boolean {
    if (this.#ended) return false;
    if (this.#closing) {
      if (now < this.#deadline) return true;
      this.#connection?.terminate();
      this.#end(this.#closing);
      return false;
    }
    if (!this.#opened) {
      if (now < this.#deadline) return true;
      const reason = "the client had gone before the handshake was answered";
      this.#end({ code: CloseCode.AbnormalClosure, reason });
      return false;
    }
    if (!this.#pressed) return false;
    if (this.#outbox.buffered > 0) return true;
    this.#pressed = false;
    callHook(() => this.#rules.app.drain?.(this), this.#fail);
    return false;
  }

  #open(): void {
    if (this.#ended) return;
    this.#connection?.opened();
    this.#opened = true;
    this.#rules.opened(this);
    const { app } = this.#rules;
    callHook(() => app.open?.(this), this.#fail);
  }

  #message(data: string | ArrayBuffer): void {
    if (this.#closing !== undefined || this.#ended) return;
    this.#connection?.delivered(typeof data === "string" ? data.length : data.byteLength);
    const refused = this.#intake.judge(data);
    if (refused !== undefined) return this.#shut(refused.code, refused.reason);
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
  #hold(sent: Sent): false {
    if (sent === "over") {
      this.#shut(CloseCode.TryAgainLater, `reads too slowly: over ${this.#rules.maxBackpressure} bytes wait`);
    } else if (sent === "wait" && !this.#pressed) {
      this.#pressed = true;
      this.#rules.attention.add(this);
    }
    return false;
  }

  /** Sends a close frame once, and sees to it that the peer ends. */
  #shut(code: number, reason: string): void {
    if (this.#closing !== undefined || this.#ended) return;
    const fitted = fitReason(reason);
    this.#closing = { code, reason: fitted };
    this.#deadline = performance.now() + CLOSE_TIMEOUT;
    this.#rules.attention.add(this);
    this.#connection?.closing();
    try {
      this.#socket.close(code, fitted);
    } catch (error) {
      this.#rules.log.debug("a close frame could not be sent", { peer: this.id, error: messageOf(error) });
    }
  }

  #end(otherwise: CloseFrame): void {
    if (this.#ended) return;
    this.#ended = true;
    const cut = this.#connection?.gone();
    const ending = cut === undefined ? otherwise : guardEnding(cut, otherwise);
    this.#membership.leaveAll();
    this.#expiry?.[Symbol.dispose]();
    this.#lease.release();
    this.#rules.ended(this);
    this.#rules.log.debug("closed", {
      peer: this.id,
      code: ending.code,
      reason: ending.reason || undefined,
      error: this.#failure,
    });
    if (this.#opened) callHook(() => this.#rules.app.close?.(this, ending), this.#fail);
  }

  /** What a hook threw: an arrow, so that it can be handed on without a closure a call. */
  readonly #fail = (error: unknown): void => {
    this.#shut(CloseCode.InternalError, "internal error");
    reportHookFailure(this.#rules.app, this.#rules.log, this, error);
  };
}
