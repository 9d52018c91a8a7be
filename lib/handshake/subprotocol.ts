/**
 * Parses header fields that are lists, and Sec-WebSocket-Protocol.
 * @module
 */

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/**
 * Parses a list (RFC 9110, section 5.6.1): elements separated by commas and optional white space. Several header lines are
 * one list. Empty elements are ignored, as required of a recipient. A missing header is an empty list.
 */
export function parseList(header: string | null): string[] {
  if (header === null) return [];
  return header.split(",").map((element) => element.replace(/^[ \t]+|[ \t]+$/g, "")).filter((element) =>
    element !== ""
  );
}

/**
 * Parses the offered subprotocols (RFC 6455, section 4.1, point 10), in the client's order of preference.
 * @returns the list, which is empty without the header, or undefined if it is not a list of distinct tokens
 */
export function parseSubprotocols(header: string | null): readonly string[] | undefined {
  if (header === null) return [];
  const offered = parseList(header);
  const distinct = new Set(offered).size === offered.length;
  return offered.length > 0 && distinct && offered.every((name) => TOKEN.test(name)) ? offered : undefined;
}
