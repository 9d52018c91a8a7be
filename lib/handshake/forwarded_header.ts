/**
 * The `Forwarded` header: RFC 7239 §4, strictly.
 * @module
 */

/** One element of a `Forwarded` header: what one proxy said. Names in lower case, values unquoted. */
export type ForwardedElement = ReadonlyMap<string, string>;

const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
// deno-lint-ignore no-control-regex -- a quoted string may hold anything but controls (RFC 9110 §5.6.4)
const QUOTED = /"((?:[^"\\\u0000-\u0008\u000a-\u001f\u007f]|\\[^\u0000-\u0008\u000a-\u001f\u007f])*)"/y;
const SPACE = /[ \t]*/y;

/**
 * Takes the header apart, first proxy first. Undefined where any of it breaks the grammar: a quote that a client left
 * open would otherwise swallow what the proxy after it wrote, so a header that is wrong in one place says nothing.
 * Unquoted IPv6 addresses and ports are wrong (§6: `for="[2001:db8::1]:4711"`), and so is a parameter given twice (§4).
 */
export function parseForwarded(text: string): ForwardedElement[] | undefined {
  const elements: ForwardedElement[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match) at = pattern.lastIndex;
    return match;
  };

  for (;;) {
    const element = new Map<string, string>();
    take(SPACE);
    for (;;) {
      const name = take(TOKEN)?.[0].toLowerCase();
      if (name === undefined || element.has(name) || text[at++] !== "=") return undefined;
      const value = take(TOKEN)?.[0] ?? take(QUOTED)?.[1]?.replace(/\\(.)/g, "$1");
      if (value === undefined) return undefined;
      element.set(name, value);
      if (text[at] !== ";") break;
      at++;
      // Not in the grammar, but proxies in use write `for=…; proto=…`.
      take(SPACE);
    }
    elements.push(element);
    take(SPACE);
    if (at === text.length) return elements;
    if (text[at++] !== ",") return undefined;
  }
}
