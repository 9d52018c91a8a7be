/**
 * The ACME state on disk. Each file is readable only by its owner and is written atomically:
 *
 *     certs/acme/DIRECTORY/account.key     the account's key, PEM
 *     certs/acme/DIRECTORY/account.json    its URL, contact, and the accepted terms of service
 *     certs/acme/DIRECTORY/NAME/fullchain.pem, privkey.pem
 *     certs/acme/DIRECTORY/NAME/next.key   the key for the next certificate
 *     certs/acme/DIRECTORY/NAME/order.json an unfinished order
 *     certs/acme/DIRECTORY/NAME/retry.json the last failure, the number of failures, and the next attempt
 *     certs/acme/DIRECTORY/NAME/renewal.json when it is renewed, and when the authority is asked again
 *
 * @module
 */
import { delay } from "@std/async/delay";
import { Buffer } from "node:buffer";
import { createPrivateKey, type X509Certificate } from "node:crypto";
import { join } from "node:path";
import { messageOf, StartError } from "../../errors.ts";
import { explainWriteFailure, writeAtomically } from "../atomic_write.ts";
import { loadCertificateFiles, readCertificates, readFile } from "../certificate_files.ts";
import type { TlsMaterial } from "../loaded_certificate.ts";
import { coversHost, namesOf } from "../x509/certificate_names.ts";
import { validityOf } from "../x509/inspect_chain.ts";
import { AcmeError } from "./acme_error.ts";
import { matchesKey, refuseChain } from "./refuse_chain.ts";

/** An account. */
export interface Account {
  readonly url: string;
  /** E-mail addresses. */
  readonly contact: readonly string[];
  /** The URL of the accepted terms of service, if the authority has any. */
  readonly termsOfService?: string | undefined;
  /** The thumbprint of its key (RFC 7638). Without one, `account.key` is taken for its key. */
  readonly thumbprint?: string | undefined;
}

/** An unfinished order. */
export interface UnfinishedOrder {
  readonly url: string;
  readonly names: readonly string[];
  readonly profile?: string | undefined;
}

/** The last failure. */
export interface Failure {
  /** Failures in a row. */
  readonly failures: number;
  /** No attempt before this, ISO 8601. */
  readonly notBefore: string;
  /** Whether the authority demands the delay (Retry-After); otherwise it is this program's back-off. */
  readonly demanded: boolean;
  readonly problem: string;
}

/** When a certificate is renewed. Dates are ISO 8601. */
export interface RenewalPlan {
  /** The certificate's serial number; a plan for another certificate is ignored. */
  readonly serial: string;
  readonly at: string;
  /** The window that the authority suggests (RFC 9773), if any. */
  readonly window?: { readonly start: string; readonly end: string } | undefined;
  /** When to ask the authority again. */
  readonly askAgain: string;
}

const MODE = 0o600;
const FOLDER_MODE = 0o700;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" } as const;
/** Milliseconds between attempts to take a lock that another process holds. */
const LOCK_INTERVAL = 250;
/** The bytes that an attempt may write: several times a chain with its key. */
const SPACE = 32 * 1024;

/** The folder of one authority. */
export class AcmeStore {
  readonly folder: string;

  /** @param base `certs/acme` */
  constructor(base: string, directoryName: string) {
    this.folder = join(base, directoryName);
  }

  /** The account's key; created if there is none. The caller holds the lock. */
  accountKey(): Promise<CryptoKeyPair> {
    return readOrCreateKey(join(this.folder, "account.key"));
  }

  /** The account, if one was created. */
  account(): Account | undefined {
    return readJson<Account>(join(this.folder, "account.json"), (value) => typeof value.url === "string");
  }

  saveAccount(account: Account): void {
    writeJson(join(this.folder, "account.json"), account);
  }

  /** Waits until no other process creates an account here. */
  lock(signal: AbortSignal): Promise<Disposable> {
    return lockFile(this.folder, signal);
  }

  /** The folder of the certificate whose first name this is. */
  certificate(name: string): CertificateStore {
    return new CertificateStore(join(this.folder, folderName(name)));
  }
}

/** The folder of one certificate. */
export class CertificateStore {
  readonly folder: string;
  readonly chainFile: string;
  readonly keyFile: string;
  readonly #nextKey: string;
  readonly #order: string;
  readonly #retry: string;
  readonly #plan: string;

  constructor(folder: string) {
    this.folder = folder;
    this.chainFile = join(folder, "fullchain.pem");
    this.keyFile = join(folder, "privkey.pem");
    this.#nextKey = join(folder, "next.key");
    this.#order = join(folder, "order.json");
    this.#retry = join(folder, "retry.json");
    this.#plan = join(folder, "renewal.json");
  }

  /**
   * The certificate and its key.
   * @returns undefined if there is none yet, if it is damaged or lacks one of `names`, or if no client accepts it any
   * more
   * @throws {StartError} if the files exist but may not be read, or if the certificate is not valid yet: then the clock
   * is behind, and a new certificate would not be valid either
   */
  load(names: readonly string[]): TlsMaterial | undefined {
    const leaf = this.#leaf();
    if (leaf === undefined) return undefined;
    const covered = namesOf(leaf);
    if (!names.every((name) => coversHost(covered, name))) return undefined;
    const key = this.#findKeyFile(leaf);
    if (key === undefined) return undefined;
    try {
      const material = loadCertificateFiles({ cert: this.chainFile, key });
      // It is renewed automatically, so the general warning by remaining days does not apply.
      const findings = material.findings.filter(({ code }) => code !== "certificate-expires-soon");
      return { ...material, findings };
    } catch (error) {
      if (!(error instanceof StartError) || error.cause instanceof Deno.errors.NotCapable) throw error;
      if (validityOf(leaf).from > new Date()) throw error;
      return undefined;
    }
  }

  /**
   * Checks that the folder accepts as much as an attempt writes, before the authority is asked for a certificate that
   * cannot be kept. The caller holds the lock.
   * @throws {StartError} if it does not
   */
  checkSpace(): void {
    const file = join(this.folder, "space");
    withWriteErrors(this.folder, () => {
      try {
        // Random, because some file systems store zeros without using space.
        Deno.writeFileSync(file, crypto.getRandomValues(new Uint8Array(SPACE)), { mode: MODE });
      } finally {
        removeFile(file);
      }
    });
  }

  /** The key for the next certificate: that of an unfinished attempt, or else a new one. The caller holds the lock. */
  async nextKey(): Promise<CryptoKeyPair> {
    this.#finishSave();
    return await readOrCreateKey(this.#nextKey);
  }

  /**
   * Stores a new chain and makes `next.key` its key. These are two steps; `load` handles the state between them.
   * A chain that `load` would not return is not stored, so that it replaces no usable one.
   * @throws {AcmeError} of the type `unusable` if the chain is for another key, lacks a name or is accepted by no client
   * @throws {StartError} if it cannot be written
   */
  save(chain: string, names: readonly string[]): void {
    const refused = refuseChain(chain, names, this.#nextKey);
    if (refused !== undefined) {
      // The order returns the same chain each time. After a correction of the clock that chain may be usable.
      if (!refused.usableLater) removeFile(this.#order);
      throw new AcmeError({ type: "unusable", detail: refused.reason });
    }
    writeFile(this.chainFile, chain);
    this.#finishSave();
    removeFile(this.#retry);
  }

  /** When the chain was written, ms since the epoch; it must exist. */
  savedAt(): number {
    return Deno.statSync(this.chainFile).mtime?.getTime() ?? 0;
  }

  /** The unfinished order of an earlier attempt. The caller holds the lock. */
  order(): UnfinishedOrder | undefined {
    this.#finishSave();
    return readJson<UnfinishedOrder>(
      this.#order,
      (value) => typeof value.url === "string" && Array.isArray(value.names),
    );
  }

  saveOrder(order: UnfinishedOrder | undefined): void {
    if (order === undefined) removeFile(this.#order);
    else writeJson(this.#order, order);
  }

  failure(): Failure | undefined {
    return readJson<Failure>(
      this.#retry,
      (value) => Number.isSafeInteger(value.failures) && !Number.isNaN(Date.parse(`${value.notBefore}`)),
    );
  }

  saveFailure(failure: Failure): void {
    writeJson(this.#retry, failure);
  }

  plan(): RenewalPlan | undefined {
    const dated = (text: unknown) => !Number.isNaN(Date.parse(`${text}`));
    return readJson<RenewalPlan>(
      this.#plan,
      ({ serial, at, askAgain }) => typeof serial === "string" && dated(at) && dated(askAgain),
    );
  }

  savePlan(plan: RenewalPlan): void {
    writeJson(this.#plan, plan);
  }

  /** Takes the lock for obtaining and renewing this certificate, if no other process has it. */
  tryLock(): Promise<Disposable | undefined> {
    return tryLockFile(this.folder);
  }

  /** Waits for that lock. */
  lock(signal: AbortSignal): Promise<Disposable> {
    return lockFile(this.folder, signal);
  }

  #findKeyFile(leaf: X509Certificate): string | undefined {
    return [this.keyFile, this.#nextKey].find((file) => matchesKey(leaf, file));
  }

  /**
   * The second step of `save`: the order is complete, and the next key is that of the current certificate. Does nothing
   * if the last `save` did both steps.
   */
  #finishSave(): void {
    const leaf = this.#leaf();
    if (leaf === undefined || this.#findKeyFile(leaf) !== this.#nextKey) return;
    removeFile(this.#order);
    withWriteErrors(this.folder, () => Deno.renameSync(this.#nextKey, this.keyFile));
  }

  /** The current certificate; undefined if there is none or its file is damaged. */
  #leaf(): X509Certificate | undefined {
    if (!exists(this.chainFile)) return undefined;
    const bytes = readFile(this.chainFile, "certificate");
    try {
      return readCertificates(bytes, this.chainFile)[0];
    } catch (error) {
      if (error instanceof StartError) return undefined;
      throw error;
    }
  }
}

/** The folder name for a certificate name: IPv6 addresses have colons, which Windows does not allow. */
export function folderName(name: string): string {
  return name.replace(/[^a-z0-9._-]/gi, "_");
}

async function readOrCreateKey(file: string): Promise<CryptoKeyPair> {
  try {
    return await importKey(Deno.readTextFileSync(file));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new StartError(`Cannot use the key ${file}: ${messageOf(error)}; move it away to create a new one`, {
        cause: error,
      });
    }
  }
  const pair = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", pair.privateKey));
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  writeFile(file, key.export({ type: "pkcs8", format: "pem" }) as string);
  return pair;
}

async function importKey(pem: string): Promise<CryptoKeyPair> {
  const key = createPrivateKey(pem);
  const pkcs8 = new Uint8Array(key.export({ type: "pkcs8", format: "der" }));
  const privateKey = await crypto.subtle.importKey("pkcs8", pkcs8, ALGORITHM, true, ["sign"]);
  const { d: _secret, key_ops: _use, ...open } = await crypto.subtle.exportKey("jwk", privateKey);
  const publicKey = await crypto.subtle.importKey("jwk", open, ALGORITHM, true, ["verify"]);
  return { privateKey, publicKey };
}

function writeFile(file: string, text: string): void {
  const folder = join(file, "..");
  withWriteErrors(folder, () => {
    Deno.mkdirSync(folder, { recursive: true, mode: FOLDER_MODE });
    writeAtomically(file, text, MODE);
  });
}

function writeJson(file: string, value: unknown): void {
  writeFile(file, JSON.stringify(value, null, 2) + "\n");
}

/** The content of a file; undefined if it does not exist or was damaged by a crash. */
function readJson<T>(file: string, isValid: (value: Record<string, unknown>) => boolean): T | undefined {
  try {
    const value: unknown = JSON.parse(Deno.readTextFileSync(file));
    const whole = typeof value === "object" && value !== null && isValid(value as Record<string, unknown>);
    return whole ? value as T : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw new StartError(`Cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}

function removeFile(file: string): void {
  try {
    Deno.removeSync(file);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function exists(file: string): boolean {
  try {
    return Deno.statSync(file).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw new StartError(`Cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}

function withWriteErrors<T>(folder: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new StartError(`Cannot keep the certificate in ${folder}: ${explainWriteFailure(error, folder)}`, {
      cause: error,
    });
  }
}

/** The system releases a lock when its process ends in any way. */
async function tryLockFile(folder: string): Promise<Disposable | undefined> {
  const file = withWriteErrors(folder, () => {
    Deno.mkdirSync(folder, { recursive: true, mode: FOLDER_MODE });
    return Deno.openSync(join(folder, ".lock"), { create: true, write: true, mode: MODE });
  });
  let held: boolean;
  try {
    held = await file.tryLock(true);
  } catch {
    // A network file system without locks: two processes may then renew at once, which costs a certificate.
    held = true;
  }
  if (held) return file;
  file.close();
}

async function lockFile(folder: string, signal: AbortSignal): Promise<Disposable> {
  for (;;) {
    const lock = await tryLockFile(folder);
    if (lock !== undefined) return lock;
    await delay(LOCK_INTERVAL, { signal });
  }
}
