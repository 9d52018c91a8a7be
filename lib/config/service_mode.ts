/**
 * Chooses the mode from the settings: direct TLS, or plain WebSocket behind a proxy.
 * @module
 */
import { UsageError } from "../errors.ts";
import { type AddressSet, addressSet } from "../ip.ts";
import { ACME_OPTIONS, type AcmeSettings, parseAcmeOptions } from "./acme_options.ts";
import type { Settings } from "./service_options.ts";

/** Where the service listens. */
export type Address =
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | {
    readonly transport: "unix";
    readonly path: string;
    /** Permissions of the socket file. */
    readonly mode: number;
  };

/** Paths of the operator's own TLS material. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
  readonly chain?: string | undefined;
  readonly keyPassphraseFile?: string | undefined;
  readonly keyPassphrase?: string | undefined;
}

/** This service terminates TLS. */
export interface DirectMode {
  readonly kind: "direct";
  readonly address: Address;
  readonly certificate: CertificateChoice;
}

/** Where the certificate of direct mode comes from. */
export type CertificateChoice =
  /** The operator's files. */
  | { readonly kind: "files"; readonly files: CertificateFiles }
  /** The development certificate, made for this machine. */
  | { readonly kind: "development" }
  /** Obtained from an authority and renewed by ACME. */
  | { readonly kind: "acme"; readonly acme: AcmeSettings };

/** A proxy in front terminates TLS; this service uses plain WebSocket. */
export interface ProxiedMode {
  readonly kind: "proxied";
  readonly address: Address;
  /** Addresses of proxies whose forwarding headers are trusted. Peers on a unix socket are always trusted. */
  readonly trusted: AddressSet;
  /** The header in which proxies report the client's address. */
  readonly header: Settings["clientAddressHeader"];
  readonly strict: boolean;
  readonly minTls: "1.2" | "1.3";
}

export type Mode = DirectMode | ProxiedMode;

const DIRECT_ONLY = [
  ...["cert", "key", "chain", "keyPassphraseFile", "keyPassphrase"] as const,
  ...Object.keys(ACME_OPTIONS),
];
/** The default ports. */
const DEFAULT_PORT = { plain: 8282, https: 443 } as const;
const PROXIED_ONLY = ["unix", "unixMode", "trustedProxy", "clientAddressHeader", "strictProxy"] as const;

/**
 * Chooses the mode.
 * @param given the names under which settings were given, for the messages
 * @throws {UsageError} if options of both modes are given
 */
export function selectMode(settings: Settings, given: ReadonlyMap<string, string>): Mode {
  const problems: string[] = [];
  const names = (keys: readonly string[]) => keys.flatMap((key) => given.get(key) ?? []);

  if (settings.mode === "proxied") {
    const tls = names(DIRECT_ONLY);
    if (tls.length > 0) {
      problems.push(
        `${given.get("mode") ?? "mode"} proxied cannot be combined with ${tls.join(", ")}: the proxy in front ` +
          `terminates TLS; configure the certificate there, or use mode direct`,
      );
    }
    const both = names(["host", "port"]);
    if (settings.unix !== undefined && both.length > 0) {
      problems.push(
        `${given.get("unix")} cannot be combined with ${
          both.join(", ")
        }: the service listens on a unix socket or on TCP`,
      );
    }
    if (settings.unix === undefined && given.has("unixMode")) {
      problems.push(`${given.get("unixMode")} requires --unix`);
    }
    if (!/^0?[0-7]{3}$/.test(settings.unixMode)) {
      problems.push(`${given.get("unixMode")}: must be three octal digits (660, 666), not "${settings.unixMode}"`);
    }
    if (problems.length > 0) throw new UsageError(problems);
    return {
      kind: "proxied",
      address: settings.unix === undefined
        ? { transport: "tcp", hostname: settings.host ?? "127.0.0.1", port: settings.port ?? DEFAULT_PORT.plain }
        : { transport: "unix", path: settings.unix, mode: parseInt(settings.unixMode, 8) },
      trusted: addressSet(settings.trustedProxy),
      header: settings.clientAddressHeader,
      strict: settings.strictProxy,
      minTls: settings.minTls,
    };
  }

  for (const name of names(PROXIED_ONLY)) {
    problems.push(`${name} requires --mode proxied: in direct mode there is no proxy in front`);
  }
  if (settings.minTls === "1.3") {
    problems.push(
      `${
        given.get("minTls")
      } 1.3 requires --mode proxied: Deno always accepts TLS 1.2 too, so only a proxy can refuse it`,
    );
  }
  const { cert, key } = settings;
  if ((cert === undefined) !== (key === undefined)) {
    problems.push(
      cert === undefined
        ? `${given.get("key")} requires --cert: a private key needs its certificate`
        : `${given.get("cert")} requires --key: a certificate needs its private key`,
    );
  }
  if (cert === undefined && key === undefined) {
    for (const name of names(["chain", "keyPassphraseFile", "keyPassphrase"])) {
      problems.push(`${name} requires --cert and --key`);
    }
  }
  if (settings.keyPassphraseFile !== undefined && settings.keyPassphrase !== undefined) {
    problems.push(`choose one: ${names(["keyPassphraseFile", "keyPassphrase"]).join(" or ")}`);
  }
  const acme = parseAcmeOptions(settings, given, problems);
  const own = names(["cert", "key", "chain"]);
  if (acme !== undefined && own.length > 0) {
    problems.push(
      `${given.get("domain")} cannot be combined with ${own.join(", ")}: the service either obtains a certificate or ` +
        `uses yours`,
    );
  }
  if (problems.length > 0) throw new UsageError(problems);
  const certificate = selectCertificate(settings, acme);
  const hostname = settings.host ?? (certificate.kind === "development" ? "127.0.0.1" : "0.0.0.0");
  const port = settings.port ?? (certificate.kind === "acme" ? DEFAULT_PORT.https : DEFAULT_PORT.plain);
  return { kind: "direct", address: { transport: "tcp", hostname, port }, certificate };
}

function selectCertificate(settings: Settings, acme: AcmeSettings | undefined): CertificateChoice {
  if (acme !== undefined) return { kind: "acme", acme };
  const { cert, key, chain, keyPassphraseFile, keyPassphrase } = settings;
  if (cert === undefined || key === undefined) return { kind: "development" };
  return { kind: "files", files: { cert, key, chain, keyPassphraseFile, keyPassphrase } };
}
