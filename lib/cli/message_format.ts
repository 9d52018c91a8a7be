/**
 * Formats messages as text: JSON indented, bytes in hexadecimal, control characters escaped.
 * @module
 */
import { escapeControls } from "../log.ts";

/** The number of bytes of a binary message that are printed at most. */
const MAX_DUMP_BYTES = 4096;

/**
 * Indents JSON and keeps every token unchanged, including numbers above 2^53 and repeated names. Returns undefined if the
 * text is not a JSON object or array.
 */
export function indentJson(text: string): string | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  let out = "";
  let depth = 0;
  const newline = () => out += `\n${"  ".repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g)) {
    if (token === "{" || token === "[") {
      out += token;
      depth++;
      newline();
    } else if (token === "}" || token === "]") {
      depth--;
      // An empty object or array stays on one line.
      if (/[[{]\n *$/.test(out)) out = out.trimEnd();
      else newline();
      out += token;
    } else if (token === ",") {
      out += token;
      newline();
    } else out += token === ":" ? ": " : token;
  }
  return out;
}

/** Formats a text message for a terminal: indents JSON and escapes control characters. */
export function textForTerminal(text: string): string {
  return (indentJson(text) ?? text).split("\n").map(escapeControls).join("\n");
}

/** Formats bytes for a terminal: offset, hexadecimal and ASCII, sixteen bytes per line. */
export function hexDump(bytes: Uint8Array): string {
  const lines = [`${bytes.length} ${bytes.length === 1 ? "byte" : "bytes"}`];
  for (let at = 0; at < Math.min(bytes.length, MAX_DUMP_BYTES); at += 16) {
    const row = [...bytes.subarray(at, Math.min(at + 16, MAX_DUMP_BYTES))];
    const cells = row.map((byte) => byte.toString(16).padStart(2, "0"));
    const ascii = row.map((byte) => byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".").join("");
    const hex = `${cells.slice(0, 8).join(" ")}  ${cells.slice(8).join(" ")}`;
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex.padEnd(48)}  ${ascii}`);
  }
  if (bytes.length > MAX_DUMP_BYTES) {
    lines.push(`${bytes.length - MAX_DUMP_BYTES} more bytes; --out FILE saves all bytes`);
  }
  return lines.join("\n");
}

/**
 * Parses bytes in hexadecimal, with or without spaces, colons and 0x: `00 ff 10`, `00ff10`, `0x00:ff`.
 * @throws {RangeError} for anything else
 */
export function parseHex(text: string): Uint8Array<ArrayBuffer> {
  const digits = text.replace(/0x|[\s:,]/gi, "");
  if (digits === "" || digits.length % 2 !== 0 || /[^0-9a-f]/i.test(digits)) {
    throw new RangeError(`bytes in hexadecimal are required (00 ff 10), not ${JSON.stringify(text)}`);
  }
  return Uint8Array.fromHex(digits);
}
