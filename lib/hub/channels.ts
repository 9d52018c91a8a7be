/**
 * Channels of a broker: any name as a token that every broker takes. Loaded only with a broker.
 * @module
 */
import { createHash } from "node:crypto";
import { parseTopicKey } from "./topic_names.ts";

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
