/**
 * What the hub asks of the engine that carries frames between nodes. tests/hub/conformance.ts holds each implementation
 * to these words.
 * @module
 */

/** Bytes of a node's id, with which each of its frames begins. */
export const NODE_BYTES = 6;

/** Takes one frame. The bytes are valid only during the call, and are not changed. */
export type Deliver = (frame: Uint8Array<ArrayBuffer>) => void;

/** What a broker tells its hub about its connection. */
export interface BrokerListener {
  /** The connection was lost, or could not be made at first. Called once an outage. */
  down(reason: string): void;
  /** It is connected again, and every subscription is in place. */
  up(): void;
  /** Something goes wrong while the connection lives or is made again: a missing permission, a wrong password. */
  problem(message: string): void;
}

/** What every broker is made with. */
export interface BrokerStart {
  /** The id of this node. */
  readonly node: Uint8Array<ArrayBuffer>;
  readonly listener: BrokerListener;
}

/**
 * Carries frames from node to node.
 *
 * Channels are ASCII without space, `*`, `>` and empty tokens, at most 512 characters. A frame is any bytes, and begins
 * with the id of the node that publishes it.
 *
 * An implementation
 * - MUST deliver a frame to each other node that is subscribed to its channel, at most once, byte for byte;
 * - MUST NOT deliver it to the node that published it, nor to a node that is not subscribed;
 * - MUST keep the order of the frames that one node publishes to one channel while the connection lives;
 * - MUST return from `publish`, `subscribe` and `unsubscribe` at once and MUST NOT throw from them;
 * - MUST return false from `publish` for what it does not take: a frame over `maxFrame`, and any while too many bytes wait
 *   to be sent, whose number MUST be bounded;
 * - MAY collect what is published within one turn of the event loop, and send it together;
 * - MUST connect again by itself, for as long as it takes, and subscribe again before it calls `up`;
 * - MUST NOT send frames later that were published while `connected` was false;
 * - MUST NOT call `deliver` for a channel after `unsubscribe` has returned;
 * - MAY lose frames when a connection breaks: the hub finds that by their numbers.
 */
export interface Broker extends AsyncDisposable {
  /** Bytes of the longest frame that it carries, as the engine says; Infinity where it has no limit. */
  readonly maxFrame: number;
  /** Whether a frame published now goes out. */
  readonly connected: boolean;
  /** Sends a frame, which belongs to the broker from then on. False: it was not taken, and nobody gets it. */
  publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean;
  /** Once a channel, also while not connected. */
  subscribe(channel: string, deliver: Deliver): void;
  unsubscribe(channel: string): void;
  /**
   * Resolves when the engine has processed all that was asked of it until now.
   * @throws {Error} when the connection ends before that
   */
  flush(): Promise<void>;
}
