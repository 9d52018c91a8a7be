/**
 * IP addresses as text: strict parsing, a canonical form, CIDR sets. Does not import `node:net`, which takes 20 ms and
 * 7 MB, and as much again in the watchdog's thread.
 * @module
 */

/** Four decimal numbers without leading zeros. `010.0.0.1` is refused, because some programs read it as octal. */
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

/** Whether the text is an IPv4 address. */
export function isIPv4(text: string): boolean {
  return IPV4.test(text);
}

/** Whether the text is an IPv6 address, without zone identifier. The URL parser reads it (RFC 4291 section 2.2). */
export function isIPv6(text: string): boolean {
  return /^[0-9a-fA-F:.]+$/.test(text) && URL.canParse(`http://[${text}]`);
}

/**
 * The canonical form of an address, or undefined if the text is not an address. IPv4-mapped IPv6 becomes IPv4; other
 * IPv6 takes the form of RFC 5952. Zone identifiers, ports, octal and hexadecimal IPv4 are refused.
 */
export function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (!isIPv6(text)) return undefined;
  const canonical = new URL(`http://[${text}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (!mapped) return canonical;
  const [high, low] = [parseInt(mapped[1]!, 16), parseInt(mapped[2]!, 16)];
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** Whether a canonical address is a loopback address: 127.0.0.0/8 or ::1. */
export function isLoopback(address: string): boolean {
  return address === "::1" || (isIPv4(address) && address.startsWith("127."));
}

/**
 * Returns the key by which a client is counted: its IPv4 address, or the /64 of its IPv6 address, because providers assign
 * a whole /64 to one customer.
 */
export function addressKey(address: string): string {
  return address.includes(":") ? `${groupsOf(address).slice(0, 4).join(":")}::/64` : address;
}

/** The eight groups of a canonical IPv6 address, as hexadecimal text. */
function groupsOf(address: string): string[] {
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const rest = tail === "" ? [] : tail.split(":");
    while (groups.length + rest.length < 8) groups.push("0");
    groups.push(...rest);
  }
  return groups;
}

/** An address as a number: 32 or 128 bits. */
function numberOf(address: string): bigint {
  return address.includes(":")
    ? groupsOf(address).reduce((sum, group) => sum << 16n | BigInt(`0x${group}`), 0n)
    : BigInt(address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0));
}

/** A compiled set of addresses. */
export interface AddressSet {
  /** Whether the canonical address is in the set. */
  has(address: string): boolean;
}

/**
 * Compiles addresses and CIDR ranges once, for many lookups.
 * @throws {RangeError} naming the first entry that is neither
 */
export function addressSet(entries: readonly string[]): AddressSet {
  /** Ranges by the width of their addresses: how many low bits to drop, and the prefix that remains. */
  const ranges: Readonly<Record<32 | 128, [drop: bigint, prefix: bigint][]>> = { 32: [], 128: [] };
  for (const entry of entries) {
    const [text = "", prefix, ...rest] = entry.split("/");
    const given = isIPv4(text) ? 32 : isIPv6(text) ? 128 : undefined;
    const bits = prefix === undefined ? given : /^\d{1,3}$/.test(prefix) ? Number(prefix) : NaN;
    if (given === undefined || rest.length > 0 || bits === undefined || !(bits <= given)) {
      throw new RangeError(`an address or a CIDR range is required (10.0.0.0/8, 2001:db8::/32), not "${entry}"`);
    }
    // A range inside ::ffff:0:0/96 is stored as IPv4, because lookups use the canonical form.
    const canonical = canonicalAddress(text)!;
    const mapped = given === 128 && !canonical.includes(":") && bits >= 96;
    const [address, width, length] = mapped
      ? [canonical, 32, bits - 96] as const
      : [given === 128 && !canonical.includes(":") ? `::ffff:${hexOf(canonical)}` : canonical, given, bits] as const;
    const drop = BigInt(width - length);
    ranges[width].push([drop, numberOf(address) >> drop]);
  }
  return {
    has(address) {
      const value = numberOf(address);
      return ranges[address.includes(":") ? 128 : 32].some(([drop, prefix]) => value >> drop === prefix);
    },
  };
}

/** An IPv4 address as the last two groups of an IPv6 address. */
function hexOf(address: string): string {
  const value = Number(numberOf(address));
  return `${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`;
}

/** The loopback addresses: the default of `--trusted-proxy`. */
export const LOOPBACK: readonly string[] = ["127.0.0.0/8", "::1"];
