/**
 * Loads a service's certificate and token keys, watches their files, and reloads them.
 * @module
 */
import { delay } from "@std/async/delay";
import type { Authenticator } from "../auth/authenticate.ts";
import { StartError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { CertificateSource } from "../tls/certificate_source.ts";
import type { TlsMaterial } from "../tls/loaded_certificate.ts";

/** Options of a credential reloader. */
export interface CredentialReloaderOptions {
  /** Undefined in proxied mode, which has no certificate. */
  readonly source: CertificateSource | undefined;
  readonly authenticator: Authenticator | undefined;
  readonly log: Logger;
  /** Makes the listener use the certificate. If it throws, the old one stays in use. */
  apply(material: TlsMaterial): Promise<void>;
  /** Called when the valid tokens have changed, so that connections with a revoked token can be closed. */
  tokensChanged(): void;
  /** Milliseconds before removed tokens are revoked, see `#tokenFileChanged`. Default 5,000; less in tests. */
  readonly confirmAfter?: number;
  /** Used instead of the own reload if several workers reload together. Must throw only a StartError. */
  readonly reloadAll?: (() => Promise<void>) | undefined;
}

/** Milliseconds for which a token file must stay unchanged before removed tokens are revoked. */
const CONFIRM_AFTER = 5_000;
/** The maximum number of such waits, for a file that keeps changing. */
const MAX_WAITS = 12;

/** The result of a reload. `unchanged`: the certificate is the one in use. */
export type ReloadResult = "applied" | "unchanged" | "failed";

/** The certificate and token keys of a service. */
export class CredentialReloader {
  /** The number of reloads. */
  readonly reloads = { success: 0, failure: 0 };
  readonly #options: CredentialReloaderOptions;
  #material: TlsMaterial | undefined;
  #staged: TlsMaterial | undefined;
  #watch: AsyncDisposable | undefined;
  /** Resolves when the start has ended. */
  readonly #started = Promise.withResolvers<void>();
  #last: Promise<void> = this.#started.promise;
  readonly #stopping = new AbortController();

  constructor(options: CredentialReloaderOptions) {
    this.#options = options;
  }

  /** The certificate in use; undefined in proxied mode. */
  get material(): TlsMaterial | undefined {
    return this.#material;
  }

  /**
   * Starts watching, then loads the certificate and calls `open`. Reloads wait until `open` has ended, so that no change is
   * missed.
   * @param open starts what uses the certificate
   * @throws {StartError} if the certificate is not usable
   * @throws the error of `open`
   */
  async start(open: () => Promise<void>): Promise<void> {
    const { source, authenticator, log } = this.#options;
    const { file } = authenticator ?? {};
    if (file !== undefined) {
      const options = { log, what: "the token file", missingIsEmpty: true };
      const { watchFiles } = await import("../tls/watch_files.ts");
      this.#watch = watchFiles([file], () => this.#tokenFileChanged(), options);
    }
    source?.watch(() => this.reloadOrLog());
    try {
      this.#material = await this.#load();
      await open();
    } catch (error) {
      // The stop awaits the reloads that wait for the start.
      this.#stopping.abort();
      this.#started.resolve();
      await this.stop();
      throw error;
    }
    this.#started.resolve();
  }

  /** The certificate that `stage` has read, until `settle` is called. */
  get staged(): TlsMaterial | undefined {
    return this.#staged;
  }

  /** See `Service.reload`. Reloads run one after the other; a failed one does not prevent the next. */
  async reload(): Promise<void> {
    const { reloadAll } = this.#options;
    if (reloadAll === undefined) return await this.runExclusively(() => this.#count(() => this.#reload()));
    await this.#started.promise;
    if (!this.#stopping.signal.aborted) await reloadAll();
  }

  /** Reloads within `open` of `start`, for a worker that has missed a reload of the others. Logs a failure. */
  reloadBeforeListening(): Promise<void> {
    return this.#logFailure(() => this.#count(async () => this.#settle(await this.stage())));
  }

  /**
   * Reads the certificate and the tokens again, and applies the tokens.
   * @returns whether the certificate changed; `settle` applies it
   * @throws {StartError} if a file is not usable; everything then stays as it was
   */
  async stage(): Promise<boolean> {
    // Everything is read before anything is applied, so that a bad file changes nothing.
    const fresh = await this.#load();
    await this.#reloadTokens();
    const same = fresh === undefined || (fresh.cert === this.#material?.cert && fresh.key === this.#material.key);
    this.#staged = same ? undefined : fresh;
    return !same;
  }

  /** Ends a reload of all workers: uses the certificate that `stage` read, or discards it, and counts the reload. */
  settle(result: ReloadResult): void {
    this.reloads[result === "failed" ? "failure" : "success"]++;
    this.#settle(result === "applied");
  }

  #settle(use: boolean): void {
    const fresh = this.#staged;
    this.#staged = undefined;
    if (!use || fresh === undefined) return;
    this.#material = fresh;
    const { leaf, notAfter } = fresh;
    this.#options.log.info("the new certificate is in use", {
      serial: leaf.serialNumber,
      notAfter: notAfter.toISOString(),
    });
  }

  /** Runs a task when no reload is running, and delays reloads until it has ended. */
  runExclusively(run: () => Promise<void>): Promise<void> {
    return this.#last = this.#last.catch(() => {}).then(run);
  }

  /** Reloads, and logs an error if a file is not usable. */
  reloadOrLog(): Promise<void> {
    return this.#logFailure(() => this.reload());
  }

  async #count<T>(run: () => Promise<T>): Promise<T> {
    try {
      const result = await run();
      this.reloads.success++;
      return result;
    } catch (error) {
      this.reloads.failure++;
      throw error;
    }
  }

  async #logFailure(run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      this.#options.log.error(`the reload failed, and the previous files stay in use: ${error.message}`);
    }
  }

  /**
   * Handles a changed token file. If valid tokens are missing, the file may be incompletely written. Because revoking them
   * closes connections, the file must first stay unchanged for a while. The watch does not call again meanwhile.
   */
  #tokenFileChanged(): Promise<void> {
    const reload = async () => {
      const { authenticator, log } = this.#options;
      const { confirmAfter = CONFIRM_AFTER } = this.#options;
      let before: string | undefined;
      for (let wait = 0; wait < MAX_WAITS && !this.#stopping.signal.aborted; wait++) {
        if (!await authenticator!.removesKeys()) break;
        const now = readContent(authenticator!.file!);
        if (now === before) break;
        if (before === undefined) {
          const message =
            "valid tokens are missing from the token file; they are revoked unless the file changes again";
          log.info(message, { file: authenticator!.file, after: confirmAfter });
        }
        before = now;
        await delay(confirmAfter, { signal: this.#stopping.signal }).catch(() => {});
      }
      await this.runExclusively(() => this.#reloadTokens());
    };
    // `removesKeys` reads the file, too, and throws if it is not usable.
    return this.#logFailure(() => this.#count(reload));
  }

  async #reloadTokens(): Promise<void> {
    const { authenticator, log, tokensChanged } = this.#options;
    if (authenticator === undefined || this.#stopping.signal.aborted) return;
    await authenticator.reload();
    if (authenticator.file !== undefined) {
      log.info(`${authenticator.file} was read again`, { token: authenticator.requiredToken });
    }
    tokensChanged();
  }

  /** Stops watching, and waits for a running reload. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#options.source?.[Symbol.asyncDispose]();
    await this.#watch?.[Symbol.asyncDispose]();
    await this.#last.catch(() => {});
  }

  async #load(): Promise<TlsMaterial | undefined> {
    const { source, log } = this.#options;
    const material = await source?.load();
    for (const { level, fact, remedy } of material?.findings ?? []) {
      if (level === "warning") log.warn(`${fact} ${remedy ?? ""}`.trim());
    }
    return material;
  }

  async #reload(): Promise<void> {
    if (this.#stopping.signal.aborted || !await this.stage()) return;
    try {
      await this.#options.apply(this.#staged!);
    } catch (error) {
      this.#settle(false);
      throw error;
    }
    this.#settle(true);
  }
}

/** Reads a file as hexadecimal text; empty if it cannot be read. */
function readContent(file: string): string {
  try {
    return Deno.readFileSync(file).toHex();
  } catch {
    return "";
  }
}
