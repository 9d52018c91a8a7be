/**
 * Names of broker channels: encodes any name as a token that every broker accepts. Loaded only if there is a broker.
 * @module
 */
import { createHash } from "node:crypto";
import { parseTopicKey } from "./topic_names.ts";

/** Longer tokens are hashed: NATS accepts control lines of at most 4 KiB, subject included. */
const LONGEST_TOKEN = 160;

/**
 * Encodes any string as one token of a subject: ASCII without space, `.`, `*` and `>`, not empty, at most 160 characters.
 * Different strings have different tokens. Tokens that would be longer are replaced by their SHA-256.
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

/** Encodes one code point. encodeURIComponent throws for a lone surrogate. */
function encodeCharacter(character: string): string {
  return character.isWellFormed() ? encodeURIComponent(character) : `%u${character.charCodeAt(0).toString(16)}`;
}

/** The channels of one deployment. All begin with its prefix. */
export class Channels {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** The channel that every node is subscribed to. */
  get everyNode(): string {
    return `${this.#prefix}.a`;
  }

  /** The channel of one node. */
  node(id: string): string {
    return `${this.#prefix}.n.${id}`;
  }

  /** The channel of the nodes that have peers of a user. */
  user(user: string): string {
    return `${this.#prefix}.u.${token(user)}`;
  }

  /** The channel of the nodes that have subscribers of a topic. */
  topic(key: string): string {
    const { namespace, topic } = parseTopicKey(key);
    return `${this.#prefix}.t.${token(namespace)}.${token(topic)}`;
  }
}
