/**
 * Name constraints: the names that an authority may issue certificates for (RFC 5280 section 4.2.1.10).
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { type Finding, finding } from "../../diagnostic_finding.ts";
import { certificateTitle, EXTENSION, readFields } from "./certificate_fields.ts";
import { namesOf } from "./certificate_names.ts";
import { type Der, derChildren, readDer } from "./der.ts";

/** One subtree of names, DNS or addresses. */
type Subtree =
  | { readonly type: "dns"; readonly base: string }
  | { readonly type: "address"; readonly base: Uint8Array };

interface Constraints {
  readonly permitted: readonly Subtree[];
  readonly excluded: readonly Subtree[];
}

/** Checks whether each issuer of a path may issue for the leaf's names. The path begins with the leaf. */
export function inspectNameConstraints(path: readonly X509Certificate[]): Finding[] {
  const [leaf, ...issuers] = path;
  if (leaf === undefined) return [];
  const names = namesOf(leaf);
  for (const issuer of issuers) {
    const constraints = readConstraints(issuer);
    if (constraints === undefined) continue;
    const refused = [
      ...names.dns.filter((name) => !allows(constraints, "dns", (tree) => coversName(tree, name))),
      ...names.addresses.filter((address) =>
        !allows(constraints, "address", (tree) => coversAddress(tree, addressBytes(address)))
      ),
    ];
    if (refused.length === 0) continue;
    return [finding(
      "name-not-permitted",
      "error",
      `The certificate ${certificateTitle(leaf)} is for ${refused.join(", ")}, and its issuer ${
        certificateTitle(issuer)
      } must not issue ` +
        `certificates for it (its name constraints ${describe(constraints)}).`,
      "Use an authority that may issue certificates for these names, or a certificate for permitted names only.",
    )];
  }
  return [];
}

function allows({ permitted, excluded }: Constraints, type: Subtree["type"], covers: (tree: Subtree) => boolean) {
  const relevant = permitted.filter((tree) => tree.type === type);
  return !excluded.some(covers) && (relevant.length === 0 || relevant.some(covers));
}

/** `example.com` covers itself and every name below it; an empty base covers all. */
function coversName(tree: Subtree, name: string): boolean {
  if (tree.type !== "dns") return false;
  const base = tree.base.toLowerCase().replace(/^\./, "");
  const host = name.replace(/^\*\./, "");
  return base === "" || host === base || host.endsWith(`.${base}`);
}

/** The base is an address followed by a mask of the same length. */
function coversAddress(tree: Subtree, bytes: Uint8Array): boolean {
  if (tree.type !== "address" || tree.base.length !== bytes.length * 2) return false;
  return bytes.every((byte, at) => {
    const mask = tree.base[bytes.length + at]!;
    return (byte & mask) === (tree.base[at]! & mask);
  });
}

function addressBytes(address: string): Uint8Array {
  if (!address.includes(":")) return Uint8Array.from(address.split("."), Number);
  const [head = "", tail] = address.split("::");
  const groups = (text: string) => text === "" ? [] : text.split(":");
  const [left, right] = [groups(head), groups(tail ?? "")];
  const zeros = tail === undefined ? [] : new Array<string>(8 - left.length - right.length).fill("0");
  return Uint8Array.from([...left, ...zeros, ...right].flatMap((group) => {
    const value = parseInt(group, 16);
    return [value >> 8, value & 255];
  }));
}

function readConstraints(certificate: X509Certificate): Constraints | undefined {
  const extension = readFields(certificate)?.extensions.get(EXTENSION.nameConstraints);
  if (extension === undefined) return undefined;
  try {
    const parts = derChildren(readDer(extension));
    const trees = (tag: number) => {
      const list = parts.find((part) => part.tag === tag);
      return list === undefined ? [] : derChildren(list).flatMap((tree) => subtree(derChildren(tree)[0]));
    };
    return { permitted: trees(0xa0), excluded: trees(0xa1) };
  } catch {
    // A damaged extension is ignored here; clients check it when they verify the chain.
    return undefined;
  }
}

function subtree(name: Der | undefined): Subtree[] {
  if (name?.tag === 0x82) return [{ type: "dns", base: new TextDecoder().decode(name.content) }];
  if (name?.tag === 0x87) return [{ type: "address", base: name.content }];
  return [];
}

function describe({ permitted, excluded }: Constraints): string {
  const list = (trees: readonly Subtree[]) =>
    trees.map((tree) => tree.type === "dns" ? tree.base : formatSubtree(tree.base));
  const parts = [
    permitted.length === 0 ? "" : `permit ${list(permitted).join(", ")}`,
    excluded.length === 0 ? "" : `exclude ${list(excluded).join(", ")}`,
  ];
  return parts.filter((part) => part !== "").join(" and ");
}

function formatSubtree(base: Uint8Array): string {
  const half = base.length / 2;
  const separator = half === 4 ? "." : ":";
  const show = (bytes: Uint8Array) =>
    [...bytes].map((byte) => half === 4 ? String(byte) : byte.toString(16)).join(separator);
  return `${show(base.subarray(0, half))}/${show(base.subarray(half))}`;
}
