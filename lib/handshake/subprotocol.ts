/**
 * Header fields that are lists, and the one of subprotocols.
 * @module
 */

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/**
 * The elements of a list (RFC 9110, section 5.6.1): divided by commas with or without white space, in one line of the
 * header or several. Empty elements, which a recipient has to ignore, are left out; so is a header that is not there.
 */
export function listOf(header: string | null): string[] {
  if (header === null) return [];
  return header.split(",").map((element) => element.replace(/^[ \t]+|[ \t]+$/g, "")).filter((element) =>
    element !== ""
  );
}

/**
 * The subprotocols that Sec-WebSocket-Protocol offers (RFC 6455, section 4.1, point 10), in the client's order of
 * preference.
 * @returns the list, empty where there is no header; or undefined where it is not a list of distinct tokens
 */
export function parseSubprotocols(header: string | null): readonly string[] | undefined {
  if (header === null) return [];
  const offered = listOf(header);
  const distinct = new Set(offered).size === offered.length;
  return offered.length > 0 && distinct && offered.every((name) => TOKEN.test(name)) ? offered : undefined;
}
