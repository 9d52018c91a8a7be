/**
 * Parses the `Forwarded` header strictly by RFC 7239, section 4.
 * @module
 */

/** The parameters that one proxy added. Names are in lower case, values are unquoted. */
export type ForwardedElement = ReadonlyMap<string, string>;

const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
// deno-lint-ignore no-control-regex -- a quoted string may contain anything but controls (RFC 9110, section 5.6.4)
const QUOTED = /"((?:[^"\\\u0000-\u0008\u000a-\u001f\u007f]|\\[^\u0000-\u0008\u000a-\u001f\u007f])*)"/y;
const SPACE = /[ \t]*/y;

/**
 * Parses the header into its elements, the first proxy's first. Unquoted IPv6 addresses and ports are invalid (section 6
 * requires `for="[2001:db8::1]:4711"`), and so is a parameter that occurs twice (section 4).
 * @returns undefined if any part is invalid. If a client leaves a quote open, it could otherwise hide what a later proxy
 * appended, so an error anywhere invalidates the whole header.
 */
export function parseForwarded(text: string): ForwardedElement[] | undefined {
  const elements: ForwardedElement[] = [];
  let position = 0;
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position;
    const found = pattern.exec(text);
    if (found) position = pattern.lastIndex;
    return found;
  };

  for (;;) {
    const element = new Map<string, string>();
    match(SPACE);
    for (;;) {
      const name = match(TOKEN)?.[0].toLowerCase();
      if (name === undefined || element.has(name) || text[position++] !== "=") return undefined;
      const value = match(TOKEN)?.[0] ?? match(QUOTED)?.[1]?.replace(/\\(.)/g, "$1");
      if (value === undefined) return undefined;
      element.set(name, value);
      if (text[position] !== ";") break;
      position++;
      // The grammar allows no space here, but some proxies write `for=…; proto=…`.
      match(SPACE);
    }
    elements.push(element);
    match(SPACE);
    if (position === text.length) return elements;
    if (text[position++] !== ",") return undefined;
  }
}
