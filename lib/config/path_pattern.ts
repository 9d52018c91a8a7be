/**
 * The values of `--path`: a path, or a pattern of `URLPattern` (`/rooms/*`, `/rooms/:id`).
 * @module
 */
import { messageOf } from "../errors.ts";

/** A compiled path or pattern. */
export interface PathPattern {
  /** The text that was given. */
  readonly text: string;
  /** The path, percent-encoded as in requests (`/chat/%C3%A4` for `/chat/ä`); undefined for a pattern. */
  readonly literal: string | undefined;
  readonly pattern: URLPattern | undefined;
}

/** The characters that make a path a pattern: a name (`:id`), a wildcard, a group, an expression, an escape. */
const SYNTAX = /[*:(){}\\]/;

/**
 * Parses and compiles a path or pattern.
 * @throws {RangeError} if the text is neither; the message says what is required and what was given
 */
export function parsePath(text: string): PathPattern {
  const fail = (required: string, reason = "") => new RangeError(`${required}, not "${text}"${reason}`);
  if (!text.startsWith("/") || /[#\s]/.test(text)) {
    throw fail("a path starts with / and has no query, fragment or white space");
  }
  if (!SYNTAX.test(text)) {
    if (text.includes("?")) throw fail("a path starts with / and has no query, fragment or white space");
    return { text, literal: new URL(`http://localhost${text}`).pathname, pattern: undefined };
  }
  try {
    return { text, literal: undefined, pattern: new URLPattern({ pathname: text }) };
  } catch (error) {
    // The first line ends with the reason. The others mark its position.
    const reason = messageOf(error).split("\n", 1)[0]!.split(`"${text}": `).at(-1);
    throw fail(
      "a path is literal (/wss) or a pattern of URLPattern (/rooms/*, /rooms/:id; \\: is a colon, \\* an asterisk)",
      ` (${reason})`,
    );
  }
}

/** The paths that accept upgrades: compiled once, tested for every request. */
export class PathSet {
  readonly #literal = new Set<string>();
  readonly #patterns: URLPattern[] = [];
  /** The paths as text for a 404 response: `/ and /rooms/:id`. */
  readonly shown: string;

  /** @throws {RangeError} naming the first entry that is not a path */
  constructor(paths: readonly string[]) {
    for (const path of paths) {
      const { literal, pattern } = parsePath(path);
      if (literal !== undefined) this.#literal.add(literal);
      if (pattern !== undefined) this.#patterns.push(pattern);
    }
    this.shown = paths.join(" and ");
  }

  /** @param pathname the path of a request, percent-encoded */
  has(pathname: string): boolean {
    return this.#literal.has(pathname) || this.#patterns.some((pattern) => pattern.test({ pathname }));
  }
}

/**
 * Converts a pattern of literal text, names and wildcards to a regular expression without anchors that every supported
 * proxy accepts. Returns undefined for a pattern with groups, expressions, optional or repeated parts, or characters
 * that would have to be escaped.
 */
export function pathExpression(text: string): string | undefined {
  const parts = text.split(/(:[A-Za-z_][A-Za-z0-9_]*|\*)/);
  const expression = parts.map((part, at) => {
    // A modifier directly follows a name or a wildcard: /:id+, /:id?, /**.
    if (at % 2 === 1) return part === "*" ? ".*" : "[^/]+";
    if (at > 0 && /^[+?]/.test(part)) return undefined;
    if (at > 0 && part === "" && at < parts.length - 1) return undefined;
    return /^[A-Za-z0-9._~@+,=/-]*$/.test(part) ? part.replaceAll(/[.+]/g, "[$&]") : undefined;
  });
  return expression.includes(undefined) ? undefined : expression.join("");
}
