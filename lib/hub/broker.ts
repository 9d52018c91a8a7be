/**
 * The interface of a broker, which carries frames between nodes. tests/hub/conformance.ts tests every implementation
 * against this contract.
 * @module
 */

/** Bytes of a node's id. Each frame of the node begins with it. */
export const NODE_BYTES = 6;

/** Receives one frame. The bytes are valid only during the call, and must not be changed. */
export type Deliver = (frame: Uint8Array<ArrayBuffer>) => void;

/** Receives events of a broker's connection. */
export interface BrokerListener {
  /** The connection was lost, or the first attempt failed. Called once per outage. */
  down(reason: string): void;
  /** The broker is connected again, and every subscription is restored. */
  up(): void;
  /** The broker reported an error while connected or reconnecting: a missing permission, a wrong password. */
  problem(message: string): void;
}

/** The arguments that every broker is opened with. */
export interface BrokerStart {
  /** The id of this node. */
  readonly node: Uint8Array<ArrayBuffer>;
  readonly listener: BrokerListener;
}

/**
 * Carries frames from node to node.
 *
 * Channels are ASCII of at most 512 characters, without spaces, `*`, `>` or empty tokens. A frame begins with the id of the
 * node that publishes it; the rest is arbitrary bytes.
 *
 * An implementation
 * - MUST deliver a frame to each other node that is subscribed to its channel, at most once, byte for byte;
 * - MUST NOT deliver it to the node that published it, nor to a node that is not subscribed;
 * - MUST keep the order of the frames that one node publishes to one channel while the connection lives;
 * - MUST return from `publish`, `subscribe` and `unsubscribe` at once and MUST NOT throw from them;
 * - MUST bound the bytes that wait to be sent;
 * - MUST return false from `publish` for a frame that it does not accept: one longer than `maxFrame`, or any frame while
 *   that bound is reached;
 * - MAY batch the frames that are published within one turn of the event loop;
 * - MUST reconnect by itself without giving up, and restore its subscriptions before it calls `up`;
 * - MUST NOT send frames that were published while `connected` was false;
 * - MUST NOT call `deliver` for a channel after `unsubscribe` has returned;
 * - MAY lose frames when a connection breaks: the hub detects the loss by their sequence numbers.
 */
export interface Broker extends AsyncDisposable {
  /** Bytes of the longest frame that the broker carries, as it reports; Infinity if it has no limit. */
  readonly maxFrame: number;
  /** Whether a frame that is published now is sent. */
  readonly connected: boolean;
  /** Sends a frame and takes ownership of it. Returns false if the frame was not accepted; then no node receives it. */
  publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean;
  /** Called at most once per channel; also allowed while not connected. */
  subscribe(channel: string, deliver: Deliver): void;
  unsubscribe(channel: string): void;
  /**
   * Resolves when the broker has processed all earlier calls.
   * @throws {Error} when the connection ends before that
   */
  flush(): Promise<void>;
}
