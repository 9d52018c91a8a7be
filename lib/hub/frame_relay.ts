/**
 * Frames out to other nodes and in from them: numbers, counts, limits, interests.
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
import { ChannelSubscriptions, type Irregular, numbered } from "./channel_subscriptions.ts";
import type { Channels } from "./channels.ts";
import { parseTopicKey } from "./topic_names.ts";
import { type Counter, Counters, Received } from "./sequence_numbers.ts";
import type { Payload } from "./topics.ts";

/**
 * What the relay does with messages, and with calls like `subscribe` for peers elsewhere, counted since the start of this
 * node. Announcements and questions of nodes to each other are not counted.
 */
export interface RelayCounts {
  /** Messages that the broker took. */
  readonly relayed: number;
  /** Messages that it did not take: it was away, or too much waited. */
  readonly notRelayed: number;
  /** Messages that are longer than it carries, which other nodes do not get. */
  readonly tooLarge: number;
  /** Messages from other nodes. */
  readonly received: number;
  /** Messages from other nodes that did not arrive, found by their numbers. */
  readonly missed: number;
  /** Messages that came twice or after later ones, and were dropped. */
  readonly late: number;
}

/** What arrives from other nodes. */
export interface Inbound {
  topic(key: string, payload: Payload, except: string | undefined): void;
  user(user: string, payload: Payload): void;
  peer(id: string, payload: Payload): void;
  command(command: unknown): void;
  /** Frames of a topic did not arrive. */
  missed(key: string): void;
}

/** Who a command is for. */
export type Addressee = "all" | { readonly node: string } | { readonly user: string };

/** What a relay is made of. */
export interface RelayParts {
  readonly broker: Broker;
  readonly channels: Channels;
  readonly node: Uint8Array<ArrayBuffer>;
  readonly inbound: Inbound;
  /** Throttled: one event can come with each message. */
  readonly log: Logger;
}

/** See the module. */
export class Relay {
  readonly topics: ChannelSubscriptions;
  readonly users: ChannelSubscriptions;
  readonly counts = { relayed: 0, notRelayed: 0, tooLarge: 0, received: 0, missed: 0, late: 0 };
  readonly #parts: RelayParts;
  readonly #toTopics: Counters;
  readonly #toUsers: Counters;
  /** By a node's id; "" is all nodes. */
  readonly #toNodes: Counters;

  constructor(parts: RelayParts) {
    const { broker, channels, node, inbound } = parts;
    this.#parts = parts;
    this.#toTopics = new Counters((key) => channels.topic(key));
    this.#toUsers = new Counters((user) => channels.user(user));
    this.#toNodes = new Counters((id) => id === "" ? channels.everyNode : channels.node(id));
    const { counts } = this;
    const irregular = (missed: (key: string) => void): Irregular => ({
      missed: (key, count) => {
        counts.missed += count;
        missed(key);
      },
      late: () => counts.late++,
    });
    this.topics = new ChannelSubscriptions(broker, (key) => channels.topic(key), (key, frame) => {
      counts.received++;
      inbound.topic(key, payloadOf(frame), kindOf(frame) & ADDRESSED ? peerOf(frame) : undefined);
    }, irregular(inbound.missed));
    const untold = irregular(() => {});
    this.users = new ChannelSubscriptions(broker, (user) => channels.user(user), (user, frame) => {
      counts.received++;
      if (kindOf(frame) === COMMAND) inbound.command(commandOf(frame));
      else inbound.user(user, payloadOf(frame));
    }, untold);
    const direct = (_id: string, frame: Uint8Array<ArrayBuffer>) => {
      if (kindOf(frame) === COMMAND) return inbound.command(commandOf(frame));
      counts.received++;
      inbound.peer(peerOf(frame), payloadOf(frame));
    };
    const own = channels.node(node.toHex());
    broker.subscribe(own, numbered(new Received(), "", direct, untold));
    // What is lost of announcements comes again, and a question without an answer is known to be incomplete.
    const announcement = (_id: string, frame: Uint8Array<ArrayBuffer>) => inbound.command(commandOf(frame));
    const uncounted = { missed: () => {}, late: () => {} };
    broker.subscribe(channels.everyNode, numbered(new Received(), "", announcement, uncounted));
  }

  get connected(): boolean {
    return this.#parts.broker.connected;
  }

  /** Bytes of the longest frame. */
  get maxFrame(): number {
    return this.#parts.broker.maxFrame;
  }

  /** To the subscribers of a topic on other nodes. */
  publish(key: string, payload: Payload, except?: string): void {
    const counter = this.#toTopics.of(key);
    if (!this.#ready(counter)) return;
    const peer = except === undefined ? undefined : peerBytes(except);
    this.#send(counter, encodePayload(payload, peer), () => ({ ...parseTopicKey(key) }));
  }

  /** To the peers of a user on other nodes. */
  toUser(user: string, payload: Payload): void {
    const counter = this.#toUsers.of(user);
    if (this.#ready(counter)) this.#send(counter, encodePayload(payload), () => ({ user }));
  }

  /** To a peer on another node. */
  toPeer(node: string, peer: string, payload: Payload): void {
    const counter = this.#toNodes.of(node);
    if (this.#ready(counter)) this.#send(counter, encodePayload(payload, peerBytes(peer)), () => ({ peer }));
  }

  /**
   * A command to every node, to one, or to those of a user.
   * @param counted whether it counts as a message: what an app asked for
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

  /** Forgets publishers that are gone. */
  keep(live: (origin: number) => boolean): void {
    this.topics.keep(live);
    this.users.keep(live);
  }

  [Symbol.dispose](): void {
    this.topics[Symbol.dispose]();
    this.users[Symbol.dispose]();
  }

  /** Whether a message can go out; one that cannot is counted, also by those who miss it: its number is used up. */
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
      log.error("a message is longer than the broker carries, and reaches this node's own peers only", {
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
