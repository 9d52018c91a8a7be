/**
 * IP addresses as text: strict parsing, one canonical form, CIDR sets.
 * @module
 */
import { BlockList, isIPv4, isIPv6 } from "node:net";

/**
 * The canonical form of an address, or undefined when the text is none. IPv4-mapped IPv6 becomes IPv4, IPv6 the form of
 * RFC 5952; zone identifiers, ports, octal and hexadecimal IPv4 are refused.
 */
export function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes("%")) return undefined;
  const canonical = new URL(`http://[${text}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (!mapped) return canonical;
  const [high, low] = [parseInt(mapped[1]!, 16), parseInt(mapped[2]!, 16)];
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** Whether a canonical address is of this machine: 127.0.0.0/8 or ::1. */
export function isLoopback(address: string): boolean {
  return address === "::1" || (isIPv4(address) && address.startsWith("127."));
}

/** What one client counts as: an IPv4 address itself, an IPv6 address by its /64, as providers hand them out. */
export function addressKey(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const rest = tail === "" ? [] : tail.split(":");
    while (groups.length + rest.length < 8) groups.push("0");
    groups.push(...rest);
  }
  return `${groups.slice(0, 4).join(":")}::/64`;
}

/** A compiled set of addresses. */
export interface AddressSet {
  /** Whether the canonical address is in the set. */
  has(address: string): boolean;
}

/**
 * Compiles addresses and CIDR ranges once, for many lookups.
 * @throws {RangeError} naming the first entry that is neither.
 */
export function addressSet(entries: readonly string[]): AddressSet {
  const list = new BlockList();
  for (const entry of entries) {
    const [text = "", prefix, ...rest] = entry.split("/");
    const family = isIPv4(text) ? "ipv4" : isIPv6(text) && !text.includes("%") ? "ipv6" : undefined;
    const bits = prefix === undefined ? undefined : /^\d{1,3}$/.test(prefix) ? Number(prefix) : NaN;
    const most = family === "ipv4" ? 32 : 128;
    if (family === undefined || rest.length > 0 || (bits !== undefined && !(bits <= most))) {
      throw new RangeError(`an address or a CIDR range is needed (10.0.0.0/8, 2001:db8::/32), not "${entry}"`);
    }
    if (bits === undefined) list.addAddress(text, family);
    else list.addSubnet(text, bits, family);
  }
  return { has: (address) => list.check(address, address.includes(":") ? "ipv6" : "ipv4") };
}

/** Loopback and nothing else: what `--trusted-proxy` is by default. */
export const LOOPBACK: readonly string[] = ["127.0.0.0/8", "::1"];
