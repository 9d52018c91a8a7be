/**
 * Parses PEM (RFC 7468) into blocks, and recognises files of other formats.
 * @module
 */
import { StartError } from "../../errors.ts";
import { isUtf16 } from "../../text_file.ts";
import { type Der, derChildren, derOid, readDer, TAG } from "./der.ts";
import { fillCommand } from "../shell_command.ts";

/** One block between BEGIN and END. */
export interface PemBlock {
  /** `CERTIFICATE`, `PRIVATE KEY`, … */
  readonly label: string;
  /** Headers of RFC 1421, such as `DEK-Info` of a traditionally encrypted key. */
  readonly headers: ReadonlyMap<string, string>;
  readonly der: Uint8Array;
  /** The block in normal form: LF line ends, 64 columns, no text around it. */
  readonly text: string;
  /** The line of its BEGIN, from 1. */
  readonly line: number;
}

/** The longest file, in bytes; a longer one is not a certificate file. */
export const MAX_FILE_BYTES = 1024 ** 2;

/**
 * Splits a file into its PEM blocks. Text outside of blocks is ignored, as by OpenSSL; inside them only base64 is
 * allowed. CRLF and a byte order mark are allowed.
 * @param file its name, for the messages
 * @throws {StartError} naming the file and the line; for a file of another format, also the format and how to convert
 * it
 */
export function parsePem(bytes: Uint8Array, file: string): PemBlock[] {
  const foreign = recogniseOtherFormat(bytes, file);
  if (foreign !== undefined) throw new StartError(`Cannot read ${file}: ${foreign}`);
  const lines = new TextDecoder().decode(bytes).split(/\r\n|\n|\r/);
  const blocks: PemBlock[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!.trim();
    const label = /^-----BEGIN ([^-]+)-----$/.exec(line)?.[1];
    if (label !== undefined) {
      const block = readBlock(lines, at, label, file);
      blocks.push(block);
      at = block.end;
    } else if (/-----(BEGIN|END) /.test(line)) {
      throw new StartError(`Cannot read ${file}: ${explainBrokenLine(line, at)}`);
    }
  }
  if (blocks.length === 0) {
    throw new StartError(
      `Cannot read ${file}: a PEM block is required, beginning with "-----BEGIN CERTIFICATE-----" or "-----BEGIN PRIVATE ` +
        `KEY-----"; the file ${bytes.length === 0 ? "is empty" : "contains none"}`,
    );
  }
  return blocks;
}

/** DER as a PEM block. */
export function encodePem(label: string, der: Uint8Array, headers: ReadonlyMap<string, string> = new Map()): string {
  const head = headers.size === 0 ? "" : [...headers].map(([name, value]) => `${name}: ${value}\n`).join("") + "\n";
  const body = der.toBase64().replace(/.{1,64}/g, "$&\n");
  return `-----BEGIN ${label}-----\n${head}${body}-----END ${label}-----\n`;
}

function readBlock(lines: readonly string[], begin: number, label: string, file: string): PemBlock & { end: number } {
  const fail = (reason: string) => new StartError(`Cannot read ${file}: ${reason}`);
  const headers = new Map<string, string>();
  let base64 = "";
  for (let at = begin + 1; at < lines.length; at++) {
    const line = lines[at]!.trim();
    if (line.startsWith("-----")) {
      if (line !== `-----END ${label}-----`) {
        throw fail(
          `line ${at + 1} must be the END line of the ${label} of line ${begin + 1}, it is "${line.slice(0, 60)}"`,
        );
      }
      const der = fromBase64(base64);
      if (der === undefined || der.length === 0) {
        throw fail(`the ${label} of line ${begin + 1} is damaged: ${der === undefined ? "not valid base64" : "empty"}`);
      }
      return { label, headers, der, text: encodePem(label, der, headers), line: begin + 1, end: at };
    }
    const header = base64 === "" ? /^([A-Za-z][\w-]*): *(.*)$/.exec(line) : null;
    if (header) headers.set(header[1]!, header[2]!);
    else if (/^[A-Za-z0-9+/]*={0,2}$/.test(line)) base64 += line;
    else throw fail(`line ${at + 1}, inside the ${label} of line ${begin + 1}, is not base64`);
  }
  throw fail(`the ${label} of line ${begin + 1} has no END line: the file is incomplete`);
}

function fromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    return undefined;
  }
}

function explainBrokenLine(line: string, at: number): string {
  if (/-----END [^-]+-----/.test(line) && /-----BEGIN /.test(line)) {
    return `line ${at + 1} contains a whole block: its line breaks are missing; ` +
      `BEGIN and END must be on separate lines`;
  }
  if (line.startsWith("-----END ")) return `line ${at + 1} ends a block that has no BEGIN line`;
  return `line ${at + 1} is not a valid BEGIN line, which has five hyphens at each end and is on a separate line`;
}

/** The format of a file that is not PEM, and how to convert it; undefined if it may be PEM. */
function recogniseOtherFormat(bytes: Uint8Array, file: string): string | undefined {
  if (bytes.length > MAX_FILE_BYTES) return `at most 1 MiB is allowed, it has ${bytes.length} bytes`;
  if (isUtf16(bytes)) return "it is UTF-16 text; save it as UTF-8 or plain ASCII";
  const magic = new DataView(bytes.buffer, bytes.byteOffset, Math.min(4, bytes.length));
  if (magic.byteLength === 4 && [0xfeedfeed, 0xcececece].includes(magic.getUint32(0))) {
    return `it is a Java keystore, not PEM; convert it with: ${
      fillCommand("keytool -importkeystore -srckeystore FILE -destkeystore keystore.p12 -deststoretype pkcs12", file)
    } and then: openssl pkcs12 -in keystore.p12 -nodes -out keystore.pem`;
  }
  const start = new TextDecoder().decode(bytes.subarray(0, 64)).trimStart();
  if (start.startsWith("PuTTY-User-Key-File")) return "it is a PuTTY (SSH) key, which TLS cannot use";
  if (/^(ssh-|ecdsa-sha2-)/.test(start)) return "it is an SSH public key, which TLS cannot use";
  return bytes[0] === TAG.sequence ? recogniseDer(bytes, file) : undefined;
}

function recogniseDer(bytes: Uint8Array, file: string): string | undefined {
  let parts: Der[];
  try {
    parts = derChildren(readDer(bytes));
  } catch {
    return undefined;
  }
  const [first, second] = parts;
  if (first === undefined) return undefined;
  const to = (what: string, template: string) =>
    `it is ${what}, not PEM; convert it with: ${fillCommand(template, file)}`;
  if (first.tag === TAG.oid) {
    return derOid(first) === "1.2.840.113549.1.7.2"
      ? to("a PKCS#7 bundle in DER", "openssl pkcs7 -inform der -in FILE -print_certs -out NEW")
      : undefined;
  }
  if (first.tag === TAG.integer) {
    return first.content[0] === 3
      ? to("PKCS#12 (.p12, .pfx)", "openssl pkcs12 -in FILE -nodes -out NEW") +
        " and give that file to both --cert and --key"
      : to("a private key in DER", "openssl pkey -inform der -in FILE -out NEW");
  }
  if (parts.length === 2 && second?.tag === TAG.octetString) {
    return to("an encrypted private key in DER", "openssl pkcs8 -inform der -in FILE -out NEW");
  }
  if (parts.length === 2 && second?.tag === TAG.bitString) {
    return "a certificate or a private key in PEM is required, it is a public key in DER";
  }
  if (parts.length !== 3) return undefined;
  // A request begins with version 0; a certificate with its version in [0], or its serial number.
  const inner = derChildren(first);
  return inner.length === 4 && inner[3]!.tag === 0xa0
    ? "it is a certificate signing request in DER: send it to the certificate authority, and give the certificate it returns"
    : to("a certificate in DER", "openssl x509 -inform der -in FILE -out NEW");
}
