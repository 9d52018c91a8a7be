/**
 * Host names as in certificates: DNS names and IP addresses, each in its canonical form.
 * @module
 */
import { canonicalAddress } from "./ip.ts";

const DNS_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

/** Whether a text is a DNS name in lower case: labels of letters, digits, `-` and `_`. */
export function isDnsName(text: string): boolean {
  return DNS_NAME.test(text);
}

/**
 * The canonical form of a DNS name or address, as in a certificate: lower case, punycode.
 * @throws {RangeError} if it is neither a DNS name (wildcards like `*.example.test` included) nor an address
 */
export function canonicalHost(text: string): string {
  const address = canonicalAddress(text);
  if (address !== undefined) return address;
  const [, wildcard = "", rest = ""] = /^(\*\.)?(.*)$/s.exec(text)!;
  const url = URL.parse(`http://${rest}/`);
  const name = url?.host ?? "";
  const plain = url !== null && url.pathname === "/" && url.username === "" && !/[/?#@:\s]/.test(rest);
  if (!plain || !isDnsName(name) || canonicalAddress(name) !== undefined) {
    throw new RangeError(`a DNS name or an address is required (dev.example.test, 192.0.2.7), not "${text}"`);
  }
  return wildcard + name;
}
