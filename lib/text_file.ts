/**
 * Decodes text files: UTF-8, with or without the byte order mark that some editors write.
 * @module
 */

/** Whether the bytes are UTF-16: they begin with a UTF-16 byte order mark, or every other byte at the start is 0. */
export function isUtf16(bytes: Uint8Array): boolean {
  const [first, second] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) return true;
  const start = bytes.subarray(0, 64);
  if (start.length < 2 || start.length % 2 === 1) return false;
  return [0, 1].some((odd) => start.every((byte, at) => (byte === 0) === (at % 2 === odd)));
}

/**
 * Decodes text and removes the byte order mark.
 * @throws {RangeError} if it is UTF-16 or not UTF-8; the message completes "Cannot read FILE: "
 */
export function decodeText(bytes: Uint8Array): string {
  if (isUtf16(bytes)) throw new RangeError("it is UTF-16 text; save it as UTF-8");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new RangeError("it is not UTF-8 text; save it as UTF-8");
  }
}

/** The white space at the end of a text, not counting line ends; empty if there is none. */
export function trailingSpace(text: string): string {
  return /[^\S\r\n]*$/.exec(text.replace(/[\r\n]+$/, ""))![0];
}
