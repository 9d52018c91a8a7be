/**
 * Direct TLS or proxied plain: exactly one, decided here from the settings.
 * @module
 */
import { UsageError } from "../errors.ts";
import { type AddressSet, addressSet } from "../ip.ts";
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
  /** The operator's files; undefined: the development certificate. */
  readonly files: CertificateFiles | undefined;
}

/** A proxy in front terminates TLS; here it is plain WebSocket. */
export interface ProxiedMode {
  readonly kind: "proxied";
  readonly address: Address;
  /** Whose forwarding headers are believed. A unix socket's peers always are. */
  readonly trusted: AddressSet;
  /** The header in which they name their client. */
  readonly header: Settings["clientAddressHeader"];
  readonly strict: boolean;
  readonly minTls: "1.2" | "1.3";
}

export type Mode = DirectMode | ProxiedMode;

const DIRECT_ONLY = ["cert", "key", "chain", "keyPassphraseFile", "keyPassphrase"] as const;
const PROXIED_ONLY = ["unix", "unixMode", "trustedProxy", "clientAddressHeader", "strictProxy"] as const;

/**
 * Chooses the mode.
 * @param given the names under which settings were given, for the messages
 * @throws {UsageError} when both modes are asked for, or an option of the other mode is.
 */
export function selectMode(settings: Settings, given: ReadonlyMap<string, string>): Mode {
  const problems: string[] = [];
  const names = (keys: readonly string[]) => keys.flatMap((key) => given.get(key) ?? []);

  if (settings.mode === "proxied") {
    const tls = names(DIRECT_ONLY);
    if (tls.length > 0) {
      problems.push(
        `choose one: ${given.get("mode") ?? "mode"} proxied leaves TLS to the proxy in front, ${tls.join(", ")} ` +
          `${tls.length === 1 ? "asks" : "ask"} for TLS here; drop ${tls.length === 1 ? "it" : "them"} ` +
          `(and give the certificate to the proxy), or use mode direct`,
      );
    }
    const both = names(["host", "port"]);
    if (settings.unix !== undefined && both.length > 0) {
      problems.push(`choose one: ${given.get("unix")} listens on a socket file, ${both.join(", ")} on the network`);
    }
    if (settings.unix === undefined && given.has("unixMode")) {
      problems.push(`${given.get("unixMode")} is given without --unix`);
    }
    if (!/^0?[0-7]{3}$/.test(settings.unixMode)) {
      problems.push(`${given.get("unixMode")}: it is three octal digits (660, 666), not "${settings.unixMode}"`);
    }
    if (problems.length > 0) throw new UsageError(problems);
    return {
      kind: "proxied",
      address: settings.unix === undefined
        ? { transport: "tcp", hostname: settings.host ?? "127.0.0.1", port: settings.port }
        : { transport: "unix", path: settings.unix, mode: parseInt(settings.unixMode, 8) },
      trusted: addressSet(settings.trustedProxy),
      header: settings.clientAddressHeader,
      strict: settings.strictProxy,
      minTls: settings.minTls,
    };
  }

  for (const name of names(PROXIED_ONLY)) {
    problems.push(`${name} is for --mode proxied; in direct mode no proxy stands in front`);
  }
  if (settings.minTls === "1.3") {
    problems.push(
      `${
        given.get("minTls")
      } 1.3 needs --mode proxied: Deno's TLS always offers 1.2 too, so only a proxy can refuse it`,
    );
  }
  const { cert, key, chain } = settings;
  if ((cert === undefined) !== (key === undefined)) {
    problems.push(
      cert === undefined
        ? `${given.get("key")} is given without --cert: a key serves only with its certificate`
        : `${given.get("cert")} is given without --key: a certificate serves only with its private key`,
    );
  }
  if (cert === undefined && key === undefined) {
    for (const name of names(["chain", "keyPassphraseFile", "keyPassphrase"])) {
      problems.push(`${name} is given without --cert and --key`);
    }
  }
  if (settings.keyPassphraseFile !== undefined && settings.keyPassphrase !== undefined) {
    problems.push(`choose one: ${names(["keyPassphraseFile", "keyPassphrase"]).join(" or ")}`);
  }
  if (problems.length > 0) throw new UsageError(problems);
  const files = cert === undefined || key === undefined ? undefined : {
    cert,
    key,
    chain,
    keyPassphraseFile: settings.keyPassphraseFile,
    keyPassphrase: settings.keyPassphrase,
  };
  const hostname = settings.host ?? (files === undefined ? "127.0.0.1" : "0.0.0.0");
  return { kind: "direct", address: { transport: "tcp", hostname, port: settings.port }, files };
}
