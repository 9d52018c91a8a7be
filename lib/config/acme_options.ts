/**
 * The options for obtaining a certificate by ACME (RFC 8555), and the rules between them.
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
    help: "Direct only: obtain and renew the certificate for this name (ACME, HTTP-01). Its port 80 must lead here.",
  },
  acmeAgreeTos: {
    type: "switch",
    topic: "Certificate by ACME",
    default: false,
    help: "With --domain: agree to the authority's terms of service. Needed once, then remembered in certs/acme.",
  },
  acmeEmail: {
    type: "text",
    topic: "Certificate by ACME",
    value: "ADDRESS",
    help: "With --domain: an e-mail address for the authority's account.",
  },
  acmeDirectory: {
    type: "text",
    topic: "Certificate by ACME",
    value: "URL",
    default: "letsencrypt",
    help:
      "With --domain: the authority: letsencrypt, letsencrypt-staging (for tests; no client trusts it), or a directory's URL.",
  },
  acmeCa: {
    type: "path",
    topic: "Certificate by ACME",
    value: "FILE",
    help: "With --domain: the root certificate of a private authority (step-ca), PEM.",
  },
  acmeEabKid: {
    type: "text",
    topic: "Certificate by ACME",
    value: "ID",
    help: "With --domain: the key identifier of an external account, where the authority wants one.",
  },
  acmeEabKeyFile: {
    type: "path",
    topic: "Certificate by ACME",
    value: "FILE",
    help: "With --domain: the file with that account's key, base64url.",
  },
  acmeProfile: {
    type: "text",
    topic: "Certificate by ACME",
    value: "NAME",
    help: "With --domain: a profile that the authority offers (Let's Encrypt: classic, tlsserver, shortlived).",
  },
  acmeHttpPort: {
    type: "port",
    topic: "Certificate by ACME",
    default: "80",
    value: "PORT",
    min: 1,
    help:
      "With --domain: the port that answers challenges and redirects everything else to https. Port 80 of the names must lead to it.",
  },
} as const satisfies OptionTable;

type AcmeOptionValues = Values<typeof ACME_OPTIONS>;

/** An authority, by its directory (RFC 8555 section 7.1.1). */
export interface AcmeDirectory {
  readonly url: string;
  /** For people: `letsencrypt`, or the host of the URL. */
  readonly title: string;
  /** The name of the folder of its state. */
  readonly folder: string;
}

/** A certificate to obtain. */
export interface AcmeSettings {
  /** DNS names and addresses in canonical form, without repetition. */
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
 * Checks the options together.
 * @param problems receives every mistake
 * @returns undefined if no certificate is to be obtained
 */
export function acmeSettings(
  settings: AcmeOptionValues,
  given: ReadonlyMap<string, string>,
  problems: string[],
): AcmeSettings | undefined {
  const label = (key: keyof AcmeOptionValues) => given.get(key) ?? flagOf(key);
  if (settings.domain.length === 0) {
    for (const key of Object.keys(ACME_OPTIONS) as (keyof AcmeOptionValues)[]) {
      if (given.has(key) && key !== "domain") problems.push(`${label(key)} is given without --domain`);
    }
    return undefined;
  }
  const { acmeEabKid: kid, acmeEabKeyFile: keyFile, acmeEmail: email } = settings;
  if ((kid === undefined) !== (keyFile === undefined)) {
    const [there, missing] = kid === undefined
      ? ["acmeEabKeyFile", "acmeEabKid"] as const
      : ["acmeEabKid", "acmeEabKeyFile"] as const;
    problems.push(`${label(there)} is given without ${flagOf(missing)}: an external account has both`);
  }
  if (email !== undefined && !/^[^\s@,?&]+@[^\s@,?&]+$/.test(email)) {
    problems.push(`${label("acmeEmail")}: it is one e-mail address (admin@example.com), not ${JSON.stringify(email)}`);
  }
  return {
    names: readNames(settings.domain, label("domain"), problems),
    directory: readDirectory(settings.acmeDirectory, label("acmeDirectory"), problems),
    caFile: settings.acmeCa,
    email,
    agreeTos: settings.acmeAgreeTos,
    external: kid === undefined || keyFile === undefined ? undefined : { kid, keyFile },
    profile: settings.acmeProfile,
    httpPort: settings.acmeHttpPort,
  };
}

function readNames(texts: readonly string[], label: string, problems: string[]): string[] {
  const names = texts.flatMap((text) => {
    try {
      const name = canonicalHost(text);
      if (!name.startsWith("*")) return [name];
      problems.push(
        `${label}: HTTP-01 cannot prove the wildcard ${name}: name each host with a --domain of its own, or obtain it ` +
          `elsewhere by DNS-01 and give it with --cert and --key`,
      );
    } catch (error) {
      problems.push(`${label}: ${messageOf(error)}`);
    }
    return [];
  });
  return [...new Set(names)];
}

function readDirectory(text: string, label: string, problems: string[]): AcmeDirectory {
  if (Object.hasOwn(DIRECTORIES, text)) return { url: DIRECTORIES[text]!, title: text, folder: text };
  const url = URL.parse(text);
  const fits = url?.protocol === "https:" && url.username === "" && url.hash === "";
  if (!fits) {
    problems.push(
      `${label}: it is ${Object.keys(DIRECTORIES).join(", ")} or an https URL, not ${JSON.stringify(text)}`,
    );
  }
  if (url === null) return { url: text, title: text, folder: "" };
  // Host, port and path, without what no folder may have in its name.
  const folder = (url.host + url.pathname).replace(/\/+$/, "").replace(/[^a-z0-9._-]+/gi, "_");
  return { url: url.href, title: url.host, folder };
}
