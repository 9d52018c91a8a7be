/**
 * Reads the names of a certificate (its subjectAltName) and checks whether they include a host (RFC 9525).
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { canonicalAddress } from "../../ip.ts";
import { escapeControls } from "../../log.ts";
import { derChildren, readDer } from "./der.ts";
import { EXTENSION, readFields } from "./certificate_fields.ts";

/** The names of a certificate: DNS names in lower case (wildcards as `*.example.com`), addresses in canonical form. */
export interface Names {
  readonly dns: readonly string[];
  readonly addresses: readonly string[];
}

/** The names of a certificate. The subject's common name is ignored, as in every browser (RFC 9525 section 2). */
export function namesOf(certificate: X509Certificate): Names {
  const dns: string[] = [];
  const addresses: string[] = [];
  const extension = readFields(certificate)?.extensions.get(EXTENSION.altName);
  try {
    for (const name of extension ? derChildren(readDer(extension)) : []) {
      if (name.tag === 0x82) dns.push(escapeControls(new TextDecoder().decode(name.content)).toLowerCase());
      if (name.tag === 0x87) addresses.push(addressOf(name.content));
    }
  } catch {
    // A damaged extension has no names.
  }
  return { dns, addresses: addresses.filter((address) => address !== "") };
}

/** The canonical form of a host that is an address, with or without brackets around IPv6; undefined for a name. */
export function addressIn(host: string): string | undefined {
  return canonicalAddress(host.replace(/^\[(.*)\]$/, "$1"));
}

/** Whether the names cover a host: a DNS name (a wildcard matches the whole leftmost label) or an address. */
export function coversHost(names: Names, host: string): boolean {
  const address = addressIn(host);
  if (address !== undefined) return names.addresses.includes(address);
  const name = host.toLowerCase().replace(/\.$/, "");
  const [, parent] = /^[a-z0-9_-]+\.(.+\..+)$/.exec(name) ?? [];
  return names.dns.some((pattern) => (pattern === name && !name.startsWith("*")) || pattern === `*.${parent}`);
}

function addressOf(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return "";
  const groups = Array.from({ length: 8 }, (_, at) => (bytes[at * 2]! * 256 + bytes[at * 2 + 1]!).toString(16));
  return canonicalAddress(groups.join(":")) ?? "";
}
