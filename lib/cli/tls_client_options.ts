/**
 * The options that `check` and `connect` share: how to appear to the server, and whom to trust.
 * @module
 */
import { readCertificates } from "../tls/certificate_files.ts";
import type { OptionTable, Values } from "../config/option_table.ts";
import { messageOf, UsageError } from "../errors.ts";

/** Rows for a command's own table. */
export const CLIENT_OPTIONS = {
  ca: {
    type: "path",
    topic: "Connection",
    value: "FILE",
    help: "PEM file of authorities to trust beside the public ones, certs/ca.pem for the development certificate.",
  },
  header: {
    type: "text",
    topic: "Connection",
    value: "'NAME: VALUE'",
    short: "H",
    repeat: true,
    default: [],
    help: "A further header of the upgrade request.",
  },
  origin: {
    type: "text",
    topic: "Connection",
    value: "ORIGIN",
    help: "The Origin to send, as a page there would: https://domain.com.",
  },
  subprotocol: {
    type: "text",
    topic: "Connection",
    value: "NAME",
    short: "s",
    repeat: true,
    default: [],
    help: "A subprotocol to offer, the first the most wanted.",
  },
} as const satisfies OptionTable;

/** What the options come to. */
export interface ClientOptions {
  readonly ca?: readonly string[];
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly origin?: string;
  readonly subprotocols: readonly string[];
}

/** A token of RFC 9110 §5.6.2: header names and subprotocols. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/**
 * Reads the values of the shared options; the CA file too.
 * @throws {UsageError} with every mistake in them
 */
export function clientOptions(settings: Values<typeof CLIENT_OPTIONS>): ClientOptions {
  const problems: string[] = [];
  const headers: [string, string][] = [];
  for (const text of settings.header) {
    const colon = text.indexOf(":");
    const [name, value] = [text.slice(0, Math.max(0, colon)).trim(), text.slice(colon + 1).trim()];
    if (!TOKEN.test(name) || /[^\t\x20-\x7e\x80-\xff]/.test(value)) {
      problems.push(`--header: it is 'NAME: VALUE', a line of Latin-1, not ${JSON.stringify(text)}`);
    } else headers.push([name, value]);
  }
  for (const name of settings.subprotocol) {
    if (!TOKEN.test(name)) {
      problems.push(`--subprotocol: a name has letters, digits and !#$%&'*+-.^_\`|~, not "${name}"`);
    }
  }
  const { origin } = settings;
  if (origin !== undefined && /[^\x21-\x7e]/.test(origin)) {
    problems.push(`--origin: it is scheme://host[:port] or null, not ${JSON.stringify(origin)}`);
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
      ? `${file} must not be read (${messageOf(error)})`
      : messageOf(error);
    problems.push(`--ca: ${reason}`);
    return undefined;
  }
}
