/**
 * Names: a topic in its namespace as one key, and any name as a channel that every broker takes.
 * @module
 */
import { createHash } from "node:crypto";

/** A topic of a namespace. */
export interface TopicName {
  readonly namespace: string;
  readonly topic: string;
}

/**
 * A topic and its namespace as one string, different for every pair. Topics of the default namespace ("") are their own
 * key, so that most publishes make no string.
 */
export function topicKey(namespace: string, topic: string): string {
  if (namespace === "") return topic.includes("\0") ? `\0${topic}` : topic;
  return keyPrefix(namespace) + topic;
}

/** What the keys of a namespace's topics begin with; not for the default namespace. */
export function keyPrefix(namespace: string): string {
  return `${escape(namespace)}\0`;
}

/** The inverse of {@link topicKey}. */
export function parseTopicKey(key: string): TopicName {
  const end = key.indexOf("\0");
  if (end < 0) return { namespace: "", topic: key };
  return { namespace: unescape(key.slice(0, end)), topic: key.slice(end + 1) };
}

function escape(namespace: string): string {
  return namespace.includes("\0") || namespace.includes("\x01")
    ? namespace.replaceAll("\x01", "\x01b").replaceAll("\0", "\x01a")
    : namespace;
}

function unescape(text: string): string {
  return text.includes("\x01") ? text.replaceAll("\x01a", "\0").replaceAll("\x01b", "\x01") : text;
}

/** Longer tokens are hashed: NATS takes control lines of 4 KiB at the most, subject included. */
const LONGEST_TOKEN = 160;

/**
 * Any string as one token of a subject: ASCII without space, `.`, `*` and `>`, never empty, at most 160 characters.
 * Different strings have different tokens; those of long ones differ by their SHA-256.
 */
export function token(name: string): string {
  // encodeURIComponent escapes "@" and "#", so no other name has these tokens.
  if (name === "") return "@";
  const encoded = encode(name);
  return encoded.length <= LONGEST_TOKEN ? encoded : `#${createHash("sha256").update(encoded).digest("base64url")}`;
}

function encode(name: string): string {
  const encoded = name.isWellFormed() ? encodeURIComponent(name) : [...name].map(encodeCharacter).join("");
  return encoded.replaceAll(".", "%2E").replaceAll("*", "%2A");
}

/** One code point; encodeURIComponent throws for half of a surrogate pair. */
function encodeCharacter(character: string): string {
  return character.isWellFormed() ? encodeURIComponent(character) : `%u${character.charCodeAt(0).toString(16)}`;
}

/** The channels of one deployment: all begin with its prefix. */
export class Channels {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** For every node. */
  get everyNode(): string {
    return `${this.#prefix}.a`;
  }

  /** For one node. */
  node(id: string): string {
    return `${this.#prefix}.n.${id}`;
  }

  /** For the nodes that have peers of a user. */
  user(user: string): string {
    return `${this.#prefix}.u.${token(user)}`;
  }

  /** For the nodes that have subscribers of a topic. */
  topic(key: string): string {
    const { namespace, topic } = parseTopicKey(key);
    return `${this.#prefix}.t.${token(namespace)}.${token(topic)}`;
  }
}
