/**
 * The options for obtaining a certificate by ACME (RFC 8555), and their validation.
 * @module
 */
import { messageOf } from "../errors.ts";
import { canonicalHost } from "../host_name.ts";
import { flagOf, type OptionTable, type Values } from "./option_table.ts";

/** The rows of the options. */
export const ACME_OPTIONS = {
  domain: {
    type: "text",
    topic: "Certificate by ACME",
    value: "NAME",
    repeat: true,
    default: [],
    help:
      "Direct only: obtain and renew a certificate for this name by ACME (HTTP-01). Port 80 of the name must lead to this service.",
  },
  acmeAgreeTos: {
    type: "switch",
    topic: "Certificate by ACME",
    default: false,
    help:
      "With --domain: agree to the certificate authority's terms of service. Required once, then stored in certs/acme.",
  },
  acmeEmail: {
    type: "text",
    topic: "Certificate by ACME",
    value: "ADDRESS",
    help: "With --domain: the e-mail address of the ACME account.",
  },
  acmeDirectory: {
    type: "text",
    topic: "Certificate by ACME",
    value: "URL",
    default: "letsencrypt",
    help:
      "With --domain: the certificate authority: letsencrypt, letsencrypt-staging (for tests; clients do not trust it), or the URL of an ACME directory.",
  },
  acmeCa: {
    type: "path",
    topic: "Certificate by ACME",
    value: "FILE",
    help: "With --domain: the root certificate of a private certificate authority such as step-ca (PEM).",
  },
  acmeEabKid: {
    type: "text",
    topic: "Certificate by ACME",
    value: "ID",
    help: "With --domain: the key identifier of an external account, if the certificate authority requires one.",
  },
  acmeEabKeyFile: {
    type: "path",
    topic: "Certificate by ACME",
    value: "FILE",
    help: "With --domain: the file with the key of the external account (base64url).",
  },
  acmeProfile: {
    type: "text",
    topic: "Certificate by ACME",
    value: "NAME",
    help: "With --domain: the certificate profile to request (Let's Encrypt: classic, tlsserver, shortlived).",
  },
  acmeHttpPort: {
    type: "port",
    topic: "Certificate by ACME",
    default: "80",
    value: "PORT",
    min: 1,
    help:
      "With --domain: the port that answers HTTP-01 challenges and redirects other requests to https. Port 80 of each name must lead to it.",
  },
} as const satisfies OptionTable;

type AcmeOptionValues = Values<typeof ACME_OPTIONS>;

/** A certificate authority, identified by its ACME directory (RFC 8555 section 7.1.1). */
export interface AcmeDirectory {
  readonly url: string;
  /** The name in messages: `letsencrypt`, or the host of the URL. */
  readonly title: string;
  /** The name of the folder that holds the account and the certificates. */
  readonly folder: string;
}

/** A certificate to obtain. */
export interface AcmeSettings {
  /** DNS names and IP addresses in canonical form, without duplicates. */
  readonly names: readonly string[];
  readonly directory: AcmeDirectory;
  readonly caFile: string | undefined;
  readonly email: string | undefined;
  readonly agreeTos: boolean;
  readonly external: { readonly kid: string; readonly keyFile: string } | undefined;
  readonly profile: string | undefined;
  readonly httpPort: number;
}

const DIRECTORIES: Readonly<Record<string, string>> = {
  "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
  "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
};

/**
 * Validates the ACME options and returns the settings.
 * @param given the names under which settings were given, for the messages
 * @param problems receives one sentence for each error
 * @returns undefined without `--domain`
 */
export function parseAcmeOptions(
  settings: AcmeOptionValues,
  given: ReadonlyMap<string, string>,
  problems: string[],
): AcmeSettings | undefined {
  const label = (key: keyof AcmeOptionValues) => given.get(key) ?? flagOf(key);
  if (settings.domain.length === 0) {
    for (const key of Object.keys(ACME_OPTIONS) as (keyof AcmeOptionValues)[]) {
      if (given.has(key) && key !== "domain") problems.push(`${label(key)} requires --domain`);
    }
    return undefined;
  }
  const { acmeEabKid: kid, acmeEabKeyFile: keyFile, acmeEmail: email } = settings;
  if ((kid === undefined) !== (keyFile === undefined)) {
    const [present, missing] = kid === undefined
      ? ["acmeEabKeyFile", "acmeEabKid"] as const
      : ["acmeEabKid", "acmeEabKeyFile"] as const;
    problems.push(`${label(present)} requires ${flagOf(missing)}: an external account needs both`);
  }
  if (email !== undefined && !/^[^\s@,?&]+@[^\s@,?&]+$/.test(email)) {
    problems.push(
      `${label("acmeEmail")}: must be one e-mail address (admin@example.com), not ${JSON.stringify(email)}`,
    );
  }
  return {
    names: parseNames(settings.domain, label("domain"), problems),
    directory: parseDirectory(settings.acmeDirectory, label("acmeDirectory"), problems),
    caFile: settings.acmeCa,
    email,
    agreeTos: settings.acmeAgreeTos,
    external: kid === undefined || keyFile === undefined ? undefined : { kid, keyFile },
    profile: settings.acmeProfile,
    httpPort: settings.acmeHttpPort,
  };
}

function parseNames(texts: readonly string[], label: string, problems: string[]): string[] {
  const names = texts.flatMap((text) => {
    try {
      const name = canonicalHost(text);
      if (!name.startsWith("*")) return [name];
      problems.push(
        `${label}: HTTP-01 cannot validate the wildcard ${name}: give each host its own --domain, or obtain the ` +
          `certificate elsewhere by DNS-01 and give it with --cert and --key`,
      );
    } catch (error) {
      problems.push(`${label}: ${messageOf(error)}`);
    }
    return [];
  });
  return [...new Set(names)];
}

function parseDirectory(text: string, label: string, problems: string[]): AcmeDirectory {
  if (Object.hasOwn(DIRECTORIES, text)) return { url: DIRECTORIES[text]!, title: text, folder: text };
  const url = URL.parse(text);
  const isValid = url?.protocol === "https:" && url.username === "" && url.hash === "";
  if (!isValid) {
    problems.push(
      `${label}: must be ${Object.keys(DIRECTORIES).join(", ")} or an https URL, not ${JSON.stringify(text)}`,
    );
  }
  if (url === null) return { url: text, title: text, folder: "" };
  // Host, port and path, without characters that a folder name cannot have.
  const folder = (url.host + url.pathname).replace(/\/+$/, "").replace(/[^a-z0-9._-]+/gi, "_");
  return { url: url.href, title: url.host, folder };
}
