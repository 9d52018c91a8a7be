/**
 * `peer.websocket`: what libraries for crossws use of a WebSocket, over the peer that has the bounds and the hooks.
 * @module
 */

/** What the facade stands for. */
export interface FacadeTarget {
  readonly protocol: string;
  readonly bufferedAmount: number;
  readonly request: Request;
  /** As WebSocket has it: 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: number;
  send(data: unknown): unknown;
  close(code?: number, reason?: string): void;
  terminate(): void;
}

/**
 * The part of the WebSocket interface that has a meaning on a server. Events come as the hooks of the app;
 * `addEventListener` and the `on…` properties are not there, so that a library which needs them says so.
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

  /** As `peer.send`; never throws for a peer that has gone. */
  send(data: unknown): void {
    this.#peer.send(data);
  }

  /** As `peer.close`. */
  close(code?: number, reason?: string): void {
    this.#peer.close(code, reason);
  }

  /** As `peer.terminate`; of the ws package's interface. */
  terminate(): void {
    this.#peer.terminate();
  }
}
