/**
 * The Sec-WebSocket-Protocol list that a client offers (RFC 6455 §4.1 point 10).
 * @module
 */

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/**
 * Splits the header into the offered subprotocols, in the client's order of preference.
 * @returns the list, empty where there is no header; or undefined where it is not a list of distinct tokens
 */
export function parseSubprotocols(header: string | null): readonly string[] | undefined {
  if (header === null) return [];
  const offered = header.split(",").map((part) => part.trim());
  if (!offered.every((name) => TOKEN.test(name)) || new Set(offered).size !== offered.length) return undefined;
  return offered;
}
