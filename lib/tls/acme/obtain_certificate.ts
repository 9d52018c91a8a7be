/**
 * Obtains a certificate and stores it on disk: the account, one order, the signing request.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { calculateJwkThumbprint } from "jose";
import type { AcmeDirectory } from "../../config/acme_options.ts";
import { StartError } from "../../errors.ts";
import { escapeControls } from "../../log.ts";
import { readCertificates, readFile } from "../certificate_files.ts";
import { addressIn } from "../x509/certificate_names.ts";
import { encodePem } from "../x509/pem.ts";
import { AcmeClient, type ExternalAccount } from "./acme_client.ts";
import { orderCertificate } from "./order_certificate.ts";
import { AcmeError } from "./acme_error.ts";
import { certificateId } from "./renewal_info.ts";
import type { AcmeStore, CertificateStore } from "./acme_store.ts";

/** Options of {@link obtainCertificate}. */
export interface AcmeOptions {
  /** DNS names and addresses in canonical form; at least one. */
  readonly names: readonly string[];
  readonly directory: AcmeDirectory;
  /** PEM file of a private authority's root. */
  readonly caFile?: string | undefined;
  readonly email?: string | undefined;
  /** Whether the user accepts the terms of service; required only for a new account. */
  readonly agreeTos: boolean;
  readonly external?: { readonly kid: string; readonly keyFile: string } | undefined;
  readonly profile?: string | undefined;
  /** The folder of the state: `certs/acme`. */
  readonly folder: string;
  /** The User-Agent, which RFC 8555 section 6.1 requires. */
  readonly userAgent: string;
}

/** The parts of one attempt. */
export interface Attempt {
  readonly store: AcmeStore;
  readonly certificate: CertificateStore;
  /** The certificate in use, which the new one replaces. */
  readonly replaces: X509Certificate | undefined;
  /** Called before the authority is asked for an order. */
  readonly ordering: () => void;
  readonly respond: (token: string, answer: string) => () => void;
  readonly progress: (step: string) => void;
  readonly signal: AbortSignal;
}

/** Creates a client with the account's key. No account is needed yet. */
export async function openClient(options: AcmeOptions, store: AcmeStore, signal: AbortSignal): Promise<AcmeClient> {
  const { directory, caFile, userAgent } = options;
  const caCerts = caFile === undefined ? undefined : rootsIn(caFile);
  let key: CryptoKeyPair;
  {
    using _lock = await store.lock(signal);
    key = await store.accountKey();
  }
  return await AcmeClient.open({ directory: directory.url, key, caCerts, userAgent, signal });
}

/** The certificates of a private authority, PEM. @throws {StartError} if the file has none */
export function rootsIn(file: string): string[] {
  return readCertificates(readFile(file, "authority's root"), file).map(({ raw }) => encodePem("CERTIFICATE", raw));
}

/**
 * Obtains a certificate and stores it. The caller holds the certificate's lock.
 * @throws {AcmeError} if the authority refuses or cannot be reached, or its certificate cannot be used
 * @throws {StartError} if the terms of service were not accepted, or a file cannot be read or written
 */
export async function obtainCertificate(options: AcmeOptions, attempt: Attempt): Promise<void> {
  const { store, progress, signal } = attempt;
  attempt.certificate.checkSpace();
  progress(`asking ${options.directory.title}`);
  using client = await openClient(options, store, signal);
  refuseUnknownProfile(client, options);
  await ensureAccount(client, options, attempt, false);
  attempt.ordering();
  let chain: string;
  try {
    chain = await order(client, options, attempt);
  } catch (error) {
    if (!(error instanceof AcmeError) || error.type !== "accountDoesNotExist") throw error;
    // The authority lost or removed the account; the same key can be used for a new one.
    progress("the account no longer exists at the authority; creating it again");
    await ensureAccount(client, options, attempt, true);
    chain = await order(client, options, attempt);
  }
  attempt.certificate.save(chain, options.names);
}

function refuseUnknownProfile({ directory }: AcmeClient, { profile, directory: { title } }: AcmeOptions): void {
  if (profile === undefined) return;
  const offered = Object.keys(directory.meta?.profiles ?? {});
  if (offered.includes(profile)) return;
  const remedy = offered.length === 0 ? "it offers none; leave --acme-profile out" : `it offers ${offered.join(", ")}`;
  throw new StartError(`Cannot ask ${title} for a certificate of the profile ${profile}: ${remedy}`);
}

/** Uses the stored account; creates one if there is none, its key was replaced, or the authority has lost it. */
async function ensureAccount(client: AcmeClient, options: AcmeOptions, attempt: Attempt, lost: boolean): Promise<void> {
  const { store, progress, signal } = attempt;
  using _lock = await store.lock(signal);
  const account = store.account();
  const contact = options.email === undefined ? account?.contact ?? [] : [options.email];
  const thumbprint = await calculateJwkThumbprint(client.publicKey);
  if (account !== undefined && !lost && (account.thumbprint ?? thumbprint) === thumbprint) {
    client.useAccount(account.url);
    if (contact.join() === account.contact.join()) return;
    try {
      await client.updateContact(contact);
      store.saveAccount({ ...account, contact });
    } catch (error) {
      // The order, which follows, handles this.
      if (!(error instanceof AcmeError) || error.type !== "accountDoesNotExist") throw error;
    }
    return;
  }
  const termsOfService = client.directory.meta?.termsOfService;
  const agreed = options.agreeTos || termsOfService === undefined || account?.termsOfService === termsOfService;
  if (!agreed) {
    throw new StartError(
      `Cannot create an account at ${options.directory.title}: its terms of service must be accepted. Read ` +
        `${escapeControls(termsOfService)}, then start with --acme-agree-tos once`,
    );
  }
  const external = options.external && externalAccount(options.external);
  const url = await client.createAccount(contact, external);
  store.saveAccount({ url, contact, termsOfService, thumbprint });
  progress(`account ${url}`);
}

/** Reads the external account's key. @throws {StartError} if the file does not contain one */
export function externalAccount({ kid, keyFile }: NonNullable<AcmeOptions["external"]>): ExternalAccount {
  const text = new TextDecoder().decode(readFile(keyFile, "external account's key")).trim().replace(/=+$/, "");
  // Some authorities use the other base64 alphabet.
  const key = text.replaceAll("+", "-").replaceAll("/", "_");
  try {
    if (Uint8Array.fromBase64(key, { alphabet: "base64url" }).length === 0) throw new SyntaxError("it is empty");
  } catch (cause) {
    throw new StartError(`Cannot use the external account's key in ${keyFile}: it must be base64url, in one line`, {
      cause,
    });
  }
  return { kid, key };
}

async function order(client: AcmeClient, options: AcmeOptions, attempt: Attempt): Promise<string> {
  const { names, profile } = options;
  const { certificate, replaces, respond, progress } = attempt;
  const old = certificate.order();
  const same = old !== undefined && old.names.join() === names.join() && old.profile === profile;
  // RFC 9773 section 5: only if the authority offers renewal information.
  const offered = replaces !== undefined && client.directory.renewalInfo !== undefined;
  try {
    return await orderCertificate(client, {
      names,
      profile,
      replaces: offered ? certificateId(replaces) : undefined,
      unfinished: same ? old.url : undefined,
      onOrderCreated: (url) => certificate.saveOrder({ url, names, profile }),
      request: async () => await signingRequest(names, await certificate.nextKey()),
      respond,
      progress,
    });
  } catch (error) {
    // An order with a failed validation cannot succeed; after other failures it may.
    if (error instanceof AcmeError && error.names.length > 0) certificate.saveOrder(undefined);
    throw error;
  }
}

/**
 * Makes a signing request (RFC 2986), DER. The names are only in subjectAltName, not in a common name, which is limited
 * to 64 characters and which no client reads.
 */
export async function signingRequest(names: readonly string[], keys: CryptoKeyPair): Promise<Uint8Array> {
  // The library's dependency injection needs this polyfill and does not import it itself.
  await import("reflect-metadata");
  const { Pkcs10CertificateRequestGenerator, SubjectAlternativeNameExtension } = await import("@peculiar/x509");
  const alternatives = names.map((value) => ({
    type: addressIn(value) === undefined ? "dns" as const : "ip" as const,
    value,
  }));
  const request = await Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    extensions: [new SubjectAlternativeNameExtension(alternatives)],
  });
  return new Uint8Array(request.rawData);
}
