/**
 * `peer.websocket`: the WebSocket members that crossws libraries use. It delegates to the peer, which applies the limits.
 * @module
 */

/** The peer behind the facade. */
export interface FacadeTarget {
  readonly protocol: string;
  readonly bufferedAmount: number;
  readonly request: Request;
  /** The WebSocket constants: 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: number;
  send(data: unknown): unknown;
  close(code?: number, reason?: string): void;
  terminate(): void;
}

/**
 * The part of the WebSocket interface that is meaningful on a server. The app's hooks replace the events:
 * `addEventListener` and the `on…` properties are missing, so that a library that needs them fails visibly.
 */
export class SocketFacade {
  readonly #peer: FacadeTarget;
  readonly CONNECTING = 0;
  readonly OPEN = 1;
  readonly CLOSING = 2;
  readonly CLOSED = 3;
  readonly binaryType = "arraybuffer";
  readonly extensions = "";

  constructor(peer: FacadeTarget) {
    this.#peer = peer;
  }

  get readyState(): number {
    return this.#peer.readyState;
  }

  get url(): string {
    return this.#peer.request.url;
  }

  get protocol(): string {
    return this.#peer.protocol;
  }

  get bufferedAmount(): number {
    return this.#peer.bufferedAmount;
  }

  /** Like `peer.send`. Never throws for a peer that has disconnected. */
  send(data: unknown): void {
    this.#peer.send(data);
  }

  /** Like `peer.close`. */
  close(code?: number, reason?: string): void {
    this.#peer.close(code, reason);
  }

  /** Like `peer.terminate`. Part of the interface of the ws package. */
  terminate(): void {
    this.#peer.terminate();
  }
}
