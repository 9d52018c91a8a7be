/**
 * The connection options that `check` and `connect` share: trusted certificate authorities and request headers.
 * @module
 */
import { readCertificates } from "../tls/certificate_files.ts";
import type { OptionTable, Values } from "../config/option_table.ts";
import { messageOf, UsageError } from "../errors.ts";

/** Part of the option tables of both commands. */
export const CONNECTION_OPTIONS = {
  ca: {
    type: "path",
    topic: "Connection",
    value: "FILE",
    help:
      "A PEM file with certificate authorities to trust in addition to the public ones: certs/ca.pem for the development certificate.",
  },
  header: {
    type: "text",
    topic: "Connection",
    value: "'NAME: VALUE'",
    short: "H",
    repeat: true,
    default: [],
    help: "An additional header of the upgrade request.",
  },
  origin: {
    type: "text",
    topic: "Connection",
    value: "ORIGIN",
    help: "The Origin header to send, as a browser does: https://domain.com.",
  },
  subprotocol: {
    type: "text",
    topic: "Connection",
    value: "NAME",
    short: "s",
    repeat: true,
    default: [],
    help: "A subprotocol to offer, in order of preference.",
  },
} as const satisfies OptionTable;

/** The parsed options. */
export interface ConnectionOptions {
  readonly ca?: readonly string[];
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly origin?: string;
  readonly subprotocols: readonly string[];
}

/** A token (RFC 9110, section 5.6.2), the syntax of header names and subprotocols. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/**
 * Parses the shared options and reads the file of `--ca`.
 * @throws {UsageError} with all problems
 */
export function parseConnectionOptions(settings: Values<typeof CONNECTION_OPTIONS>): ConnectionOptions {
  const problems: string[] = [];
  const headers: [string, string][] = [];
  for (const text of settings.header) {
    const colon = text.indexOf(":");
    const [name, value] = [text.slice(0, Math.max(0, colon)).trim(), text.slice(colon + 1).trim()];
    if (!TOKEN.test(name) || /[^\t\x20-\x7e\x80-\xff]/.test(value)) {
      problems.push(`--header: must be 'NAME: VALUE', one line of Latin-1, not ${JSON.stringify(text)}`);
    } else headers.push([name, value]);
  }
  for (const name of settings.subprotocol) {
    if (!TOKEN.test(name)) {
      problems.push(`--subprotocol: must have only letters, digits and !#$%&'*+-.^_\`|~, not "${name}"`);
    }
  }
  const { origin } = settings;
  if (origin !== undefined && /[^\x21-\x7e]/.test(origin)) {
    problems.push(`--origin: must be scheme://host[:port] or null, not ${JSON.stringify(origin)}`);
  }
  const ca = settings.ca === undefined ? undefined : readCa(settings.ca, problems);
  if (problems.length > 0) throw new UsageError(problems);
  return {
    headers,
    subprotocols: settings.subprotocol,
    ...ca !== undefined && { ca: [ca] },
    ...origin !== undefined && { origin },
  };
}

function readCa(file: string, problems: string[]): string | undefined {
  try {
    const bytes = Deno.readFileSync(file);
    readCertificates(bytes, file);
    return new TextDecoder().decode(bytes);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? `there is no file ${file}`
      : error instanceof Deno.errors.PermissionDenied
      ? `reading ${file} is not permitted (${messageOf(error)})`
      : messageOf(error);
    problems.push(`--ca: ${reason}`);
    return undefined;
  }
}
