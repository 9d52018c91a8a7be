/**
 * The relay exchanges frames with other nodes: it numbers, counts and limits them, and subscribes to channels.
 * @module
 */
import type { LogFields, Logger } from "../log.ts";
import type { Broker } from "./broker.ts";
import {
  ADDRESSED,
  COMMAND,
  commandOf,
  encodeCommand,
  encodePayload,
  kindOf,
  payloadOf,
  peerBytes,
  peerOf,
  stamp,
} from "./node_frame.ts";
import { ChannelSubscriptions, checkSequence, type SequenceListener } from "./channel_subscriptions.ts";
import type { Channels } from "./channel_names.ts";
import { parseTopicKey } from "./topic_names.ts";
import { type Counter, Counters, Received } from "./sequence_numbers.ts";
import type { Payload } from "./topics.ts";

/**
 * Counts of relayed messages since the start of this node. Calls like `subscribe` for peers of other nodes count as
 * messages. Announcements and queries between nodes are not counted.
 */
export interface RelayCounts {
  /** Messages that the broker accepted. */
  readonly relayed: number;
  /** Messages that the broker did not accept, because it was unreachable or its send buffer was full. */
  readonly notRelayed: number;
  /** Messages that exceeded the broker's limit; other nodes did not get them. */
  readonly tooLarge: number;
  /** Messages that arrived from other nodes. */
  readonly received: number;
  /** Messages from other nodes that did not arrive, detected by their sequence numbers. */
  readonly missed: number;
  /** Messages that arrived twice or after later ones, and were dropped. */
  readonly late: number;
}

/** Receives the messages of other nodes. */
export interface Inbound {
  topic(key: string, payload: Payload, except: string | undefined): void;
  user(user: string, payload: Payload): void;
  peer(id: string, payload: Payload): void;
  command(command: unknown): void;
  /** Frames of a topic did not arrive. */
  missed(key: string): void;
}

/** The recipients of a command. */
export type Addressee = "all" | { readonly node: string } | { readonly user: string };

/** The dependencies of a relay. */
export interface RelayParts {
  readonly broker: Broker;
  readonly channels: Channels;
  readonly node: Uint8Array<ArrayBuffer>;
  readonly inbound: Inbound;
  /** Must be throttled: some events occur once per message. */
  readonly log: Logger;
}

/** The relay of one node. */
export class Relay {
  readonly topics: ChannelSubscriptions;
  readonly users: ChannelSubscriptions;
  readonly counts = { relayed: 0, notRelayed: 0, tooLarge: 0, received: 0, missed: 0, late: 0 };
  readonly #parts: RelayParts;
  readonly #toTopics: Counters;
  readonly #toUsers: Counters;
  /** Keyed by a node's id; "" stands for all nodes. */
  readonly #toNodes: Counters;

  constructor(parts: RelayParts) {
    const { broker, channels, node, inbound } = parts;
    this.#parts = parts;
    this.#toTopics = new Counters((key) => channels.topic(key));
    this.#toUsers = new Counters((user) => channels.user(user));
    this.#toNodes = new Counters((id) => id === "" ? channels.everyNode : channels.node(id));
    const { counts } = this;
    const listenerFor = (missed: (key: string) => void): SequenceListener => ({
      missed: (key, count) => {
        counts.missed += count;
        missed(key);
      },
      late: () => counts.late++,
    });
    this.topics = new ChannelSubscriptions(broker, (key) => channels.topic(key), (key, frame) => {
      counts.received++;
      inbound.topic(key, payloadOf(frame), kindOf(frame) & ADDRESSED ? peerOf(frame) : undefined);
    }, listenerFor(inbound.missed));
    const ignoreGap = listenerFor(() => {});
    this.users = new ChannelSubscriptions(broker, (user) => channels.user(user), (user, frame) => {
      counts.received++;
      if (kindOf(frame) === COMMAND) inbound.command(commandOf(frame));
      else inbound.user(user, payloadOf(frame));
    }, ignoreGap);
    const direct = (_id: string, frame: Uint8Array<ArrayBuffer>) => {
      if (kindOf(frame) === COMMAND) return inbound.command(commandOf(frame));
      counts.received++;
      inbound.peer(peerOf(frame), payloadOf(frame));
    };
    const own = channels.node(node.toHex());
    broker.subscribe(own, checkSequence(new Received(), "", direct, ignoreGap));
    // Losses are not counted here: announcements are repeated, and a query without an answer reports `complete: false`.
    const announcement = (_id: string, frame: Uint8Array<ArrayBuffer>) => inbound.command(commandOf(frame));
    const uncounted = { missed: () => {}, late: () => {} };
    broker.subscribe(channels.everyNode, checkSequence(new Received(), "", announcement, uncounted));
  }

  get connected(): boolean {
    return this.#parts.broker.connected;
  }

  /** Bytes of the longest frame. */
  get maxFrame(): number {
    return this.#parts.broker.maxFrame;
  }

  /** Publishes to the subscribers of a topic on other nodes. */
  publish(key: string, payload: Payload, except?: string): void {
    const counter = this.#toTopics.of(key);
    if (!this.#ready(counter)) return;
    const peer = except === undefined ? undefined : peerBytes(except);
    this.#send(counter, encodePayload(payload, peer), () => ({ ...parseTopicKey(key) }));
  }

  /** Sends to the peers of a user on other nodes. */
  toUser(user: string, payload: Payload): void {
    const counter = this.#toUsers.of(user);
    if (this.#ready(counter)) this.#send(counter, encodePayload(payload), () => ({ user }));
  }

  /** Sends to a peer of another node. */
  toPeer(node: string, peer: string, payload: Payload): void {
    const counter = this.#toNodes.of(node);
    if (this.#ready(counter)) this.#send(counter, encodePayload(payload, peerBytes(peer)), () => ({ peer }));
  }

  /**
   * Sends a command to all nodes, to one node, or to the nodes of a user.
   * @param counted whether the command counts as a message, because an app requested it
   */
  command(to: Addressee, command: unknown, counted = false): void {
    const counter = to === "all"
      ? this.#toNodes.of("")
      : "node" in to
      ? this.#toNodes.of(to.node)
      : this.#toUsers.of(to.user);
    if (counted) {
      if (this.#ready(counter)) this.#send(counter, encodeCommand(command), () => ({}));
    } else if (this.connected) {
      const frame = encodeCommand(command);
      stamp(frame, this.#parts.node, counter.epoch, counter.next++);
      this.#parts.broker.publish(counter.channel, frame);
    }
  }

  /** Forgets the other publishers. */
  retain(remembered: (origin: number) => boolean): void {
    this.topics.retain(remembered);
    this.users.retain(remembered);
  }

  [Symbol.dispose](): void {
    this.topics[Symbol.dispose]();
    this.users[Symbol.dispose]();
  }

  /**
   * Whether a message can be sent. If not, it is counted as not relayed, and its sequence number is consumed, so that
   * receivers count it as missed.
   */
  #ready(counter: Counter): boolean {
    if (this.#parts.broker.connected) return true;
    counter.next++;
    this.counts.notRelayed++;
    return false;
  }

  #send(counter: Counter, frame: Uint8Array<ArrayBuffer>, about: () => LogFields): void {
    const { broker, node, log } = this.#parts;
    stamp(frame, node, counter.epoch, counter.next++);
    if (frame.length > broker.maxFrame) {
      this.counts.tooLarge++;
      log.error("message exceeds the broker's limit; it reaches only this node's own peers", {
        bytes: frame.length,
        limit: broker.maxFrame,
        ...about(),
      });
    } else if (broker.publish(counter.channel, frame)) {
      this.counts.relayed++;
    } else {
      this.counts.notRelayed++;
    }
  }
}
