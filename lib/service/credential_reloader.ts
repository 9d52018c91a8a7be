/**
 * Loads a service's certificate and token keys, watches their files, and reloads them.
 * @module
 */
import { delay } from "@std/async/delay";
import type { Authenticator } from "../auth/authenticate.ts";
import type { Logger } from "../log.ts";
import { AutomaticReload } from "../tls/automatic_reload.ts";
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
  /** Milliseconds before removed tokens are revoked, see `#reloadTokenFile`. Default 5,000; less in tests. */
  readonly confirmAfter?: number;
  /** Milliseconds until a reload that failed is repeated, see {@link AutomaticReload}. */
  readonly retryAfter?: number;
  /** Used instead of the own reload if several workers reload together. Must throw only a StartError. */
  readonly reloadAll?: ((tokens: boolean) => Promise<void>) | undefined;
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
  /** Reloads the certificate when it has changed, without the tokens: an unusable token file must not prevent that. */
  readonly #certificate: AutomaticReload;
  /** Reloads the tokens when their file has changed. */
  readonly #tokens: AutomaticReload;
  /** The warnings about the certificate that was read last. */
  #warnings = "";
  #material: TlsMaterial | undefined;
  #staged: TlsMaterial | undefined;
  #watch: AsyncDisposable | undefined;
  /** Resolves when the start has ended. */
  readonly #started = Promise.withResolvers<void>();
  #last: Promise<void> = this.#started.promise;
  /** Aborted when the certificate is no longer reloaded. */
  readonly #draining = new AbortController();
  /** Aborted when the tokens are no longer reloaded, either. */
  readonly #stopping = new AbortController();

  constructor(options: CredentialReloaderOptions) {
    this.#options = options;
    this.#certificate = new AutomaticReload(() => this.reload(false), options);
    this.#tokens = new AutomaticReload(() => this.#count(() => this.#reloadTokenFile()), options);
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
      this.#watch = watchFiles([file], () => this.#tokens.changed(), options);
    }
    source?.watch(() => this.#certificate.changed());
    try {
      this.#material = await this.#load();
      await open();
    } catch (error) {
      // The stop awaits the reloads that wait for the start.
      this.#draining.abort();
      this.#stopping.abort();
      this.#started.resolve();
      await this.drain();
      await this.stop();
      throw error;
    }
    this.#started.resolve();
  }

  /** The certificate that `stage` has read, until `settle` is called. */
  get staged(): TlsMaterial | undefined {
    return this.#staged;
  }

  /**
   * See `Service.reload`. Reloads run one after the other; a failed one does not prevent the next.
   * @param tokens whether to reload the tokens, too
   */
  async reload(tokens = true): Promise<void> {
    const { reloadAll } = this.#options;
    await this.#started.promise;
    if (reloadAll !== undefined && !this.#draining.signal.aborted) return await reloadAll(tokens);
    await this.runExclusively(() => this.#count(() => this.#reload(tokens)));
  }

  /** Reloads within `open` of `start`, for a worker that has missed a reload of the others. Logs a failure. */
  reloadBeforeListening(): Promise<void> {
    return this.#certificate.changed(() => this.#count(async () => this.#settle(await this.stage(true))));
  }

  /**
   * Reads the certificate again, unless the service drains. With `tokens` it also reads the tokens, and applies them.
   * @returns whether the certificate changed; `settle` applies it
   * @throws {StartError} if a file is not usable; everything then stays as it was
   */
  async stage(tokens: boolean): Promise<boolean> {
    // Everything is read before anything is applied, so that a bad file changes nothing.
    const fresh = this.#draining.signal.aborted ? undefined : await this.#load();
    if (tokens) await this.#reloadTokens();
    const same = fresh === undefined || (fresh.cert === this.#material?.cert && fresh.key === this.#material.key);
    this.#staged = same ? undefined : fresh;
    return !same;
  }

  /** Ends a reload of all workers: uses the certificate that `stage` read, or discards it, and counts the reload. */
  settle(result: ReloadResult): void {
    this.reloads[result === "failed" ? "failure" : "success"]++;
    this.#settle(result === "applied");
    if (result !== "failed") this.#certificate.done();
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

  /**
   * Reads a changed token file again. If valid tokens are missing, the file may be incompletely written. Because revoking
   * them closes connections, the file must first stay unchanged for a while. The watch does not call again meanwhile.
   */
  async #reloadTokenFile(): Promise<void> {
    const { authenticator, log, confirmAfter = CONFIRM_AFTER } = this.#options;
    let before: string | undefined;
    for (let wait = 0; wait < MAX_WAITS && !this.#stopping.signal.aborted; wait++) {
      // This reads the file, too, and throws if it is not usable.
      if (!await authenticator!.removesKeys()) break;
      const now = readContent(authenticator!.file!);
      if (now === before) break;
      if (before === undefined) {
        const message = "valid tokens are missing from the token file; they are revoked unless the file changes again";
        log.info(message, { file: authenticator!.file, after: confirmAfter });
      }
      before = now;
      await delay(confirmAfter, { signal: this.#stopping.signal }).catch(() => {});
    }
    await this.runExclusively(() => this.#reloadTokens());
  }

  async #reloadTokens(): Promise<void> {
    const { authenticator, log, tokensChanged } = this.#options;
    if (authenticator === undefined || this.#stopping.signal.aborted) return;
    await authenticator.reload();
    this.#tokens.done();
    if (authenticator.file !== undefined) {
      log.info(`${authenticator.file} was read again`, { token: authenticator.requiredToken });
    }
    tokensChanged();
  }

  /**
   * Ends the reloads of the certificate, and waits for a running reload. Tokens can still be revoked, because connections
   * may stay open for long.
   */
  async drain(): Promise<void> {
    this.#draining.abort();
    await this.#options.source?.[Symbol.asyncDispose]();
    await this.#certificate[Symbol.asyncDispose]();
    await this.#last.catch(() => {});
  }

  /** Ends the reloads of the tokens, too, and waits for a running one. Call `drain` first. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#watch?.[Symbol.asyncDispose]();
    await this.#tokens[Symbol.asyncDispose]();
    await this.#last.catch(() => {});
  }

  async #load(): Promise<TlsMaterial | undefined> {
    const { source, log } = this.#options;
    const material = await source?.load();
    const warnings = (material?.findings ?? []).filter(({ level }) => level === "warning")
      .map(({ fact, remedy }) => `${fact} ${remedy ?? ""}`.trim());
    // The attempts of a failing reload log a warning once.
    const isNew = !this.#certificate.isFailing || warnings.join("\n") !== this.#warnings;
    this.#warnings = warnings.join("\n");
    if (isNew) { for (const warning of warnings) log.warn(warning); }
    return material;
  }

  async #reload(tokens: boolean): Promise<void> {
    if (await this.stage(tokens)) {
      try {
        await this.#options.apply(this.#staged!);
      } catch (error) {
        this.#settle(false);
        throw error;
      }
      this.#settle(true);
    }
    this.#certificate.done();
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
