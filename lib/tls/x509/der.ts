/**
 * A minimal DER reader (ITU-T X.690) for what `node:crypto` does not expose: algorithms, extensions, key sizes.
 * @module
 */

/** One element. Its arrays are views of the input; nothing is copied. */
export interface Der {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and content. */
  readonly whole: Uint8Array;
}

/** Tags that certificates and keys use. Context tags are 0x80 + n, constructed ones 0xa0 + n. */
export const TAG = { boolean: 1, integer: 2, bitString: 3, octetString: 4, oid: 6, sequence: 0x30 } as const;

/**
 * Reads the first element.
 * @throws {RangeError} if the bytes are truncated, or in a form that DER or certificates do not use
 */
export function readDer(bytes: Uint8Array): Der {
  const [tag, first] = bytes;
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) throw new RangeError("not a DER element");
  let length = first;
  let start = 2;
  if (first >= 0x80) {
    const size = first & 0x7f;
    if (size === 0 || size > 4) throw new RangeError("a length that DER does not allow");
    length = 0;
    for (; start < 2 + size; start++) length = length * 256 + (bytes[start] ?? 0);
  }
  const end = start + length;
  if (end > bytes.length) throw new RangeError(`truncated: ${end} bytes are required, there are ${bytes.length}`);
  return { tag, content: bytes.subarray(start, end), whole: bytes.subarray(0, end) };
}

/** The elements inside an element. @throws {RangeError} as {@link readDer} */
export function derChildren(node: Der): Der[] {
  const children: Der[] = [];
  for (let rest = node.content; rest.length > 0;) {
    const child = readDer(rest);
    children.push(child);
    rest = rest.subarray(child.whole.length);
  }
  return children;
}

/**
 * The child at an index, which must exist and have the tag.
 * @throws {RangeError} if it does not
 */
export function derChild(node: Der, index: number, tag?: number): Der {
  const child = derChildren(node)[index];
  if (child === undefined || (tag !== undefined && child.tag !== tag)) {
    throw new RangeError(`element ${index} is ${child === undefined ? "missing" : `of tag ${child.tag}, not ${tag}`}`);
  }
  return child;
}

/** An object identifier in dotted form: `1.2.840.10045.4.3.2`. @throws {RangeError} if the element is something else */
export function derOid(node: Der): string {
  if (node.tag !== TAG.oid || node.content.length === 0) throw new RangeError("not an object identifier");
  const parts: number[] = [];
  let value = 0;
  for (const byte of node.content) {
    value = value * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    if (parts.length === 0) {
      const root = Math.min(2, Math.floor(value / 40));
      parts.push(root, value - root * 40);
    } else parts.push(value);
    value = 0;
  }
  return parts.join(".");
}

/** A small non-negative INTEGER. @throws {RangeError} if the element is something else or over 2^31 */
export function derInteger(node: Der): number {
  if (node.tag !== TAG.integer || node.content.length === 0 || node.content.length > 5) {
    throw new RangeError("not an integer");
  }
  const value = node.content.reduce((sum, byte) => sum * 256 + byte, 0);
  if (value > 2 ** 31) throw new RangeError("an integer out of range");
  return value;
}

/** The number of bits of a positive INTEGER, as the size of an RSA modulus. */
export function derBits(node: Der): number {
  let first = 0;
  while (node.content[first] === 0) first++;
  const top = node.content[first];
  return top === undefined ? 0 : (node.content.length - first) * 8 - Math.clz32(top) + 24;
}

/** Lower-case hexadecimal, for comparisons and map keys. */
export function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}
