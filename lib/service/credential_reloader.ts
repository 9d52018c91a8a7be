/**
 * Certificate and token keys over the life of a service: loaded, watched, loaded again.
 * @module
 */
import { delay } from "@std/async/delay";
import type { Authenticator } from "../auth/authenticate.ts";
import { StartError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { CertificateSource } from "../tls/certificate_source.ts";
import type { TlsMaterial } from "../tls/tls_material.ts";

/** What is kept up to date, and how a new certificate is put to use. */
export interface CredentialReloaderOptions {
  /** Undefined in proxied mode, which has no certificate. */
  readonly source: CertificateSource | undefined;
  readonly authenticator: Authenticator | undefined;
  readonly log: Logger;
  /** Makes the listener use it. What it throws leaves the old one in use. */
  apply(material: TlsMaterial): Promise<void>;
  /** Other tokens are in force: connections that came in by one that no longer is may have to go. */
  tokensChanged(): void;
  /** Milliseconds; for tests. Default 5,000: see `#tokenFileChanged`. */
  readonly confirmAfter?: number;
  /** Reloads in place of this, where several workers do it together. What it throws is a StartError. */
  readonly reloadAll?: (() => Promise<void>) | undefined;
}

/** How long a token file that lacks something must stay as it is before that counts, ms; and how often it is waited. */
const CONFIRM_AFTER = 5_000;
const MOST_WAITS = 12;

/** Keeps a service's certificate and token keys. */
export class CredentialReloader {
  /** How many reloads there were. */
  readonly reloads = { success: 0, failure: 0 };
  readonly #options: CredentialReloaderOptions;
  #material: TlsMaterial | undefined;
  #staged: TlsMaterial | undefined;
  #watch: AsyncDisposable | undefined;
  #last: Promise<void> = Promise.resolve();
  readonly #stopping = new AbortController();

  constructor(options: CredentialReloaderOptions) {
    this.#options = options;
  }

  /** The certificate in use; undefined in proxied mode. */
  get material(): TlsMaterial | undefined {
    return this.#material;
  }

  /**
   * Loads the certificate, and watches from before that, so that no change falls in between.
   * @throws {StartError} why it is not usable
   */
  async start(): Promise<void> {
    const { source, authenticator, log } = this.#options;
    const { file } = authenticator ?? {};
    if (file !== undefined) {
      const options = { log, what: "the file of tokens", missingIsEmpty: true };
      const { watchFiles } = await import("../tls/watch_files.ts");
      this.#watch = watchFiles([file], () => this.#tokenFileChanged(), options);
    }
    source?.watch(() => this.reloadOrSay());
    try {
      this.#material = await this.#load();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** What `stage` read and `settle` will put to use. */
  get staged(): TlsMaterial | undefined {
    return this.#staged;
  }

  /** See `Service.reload`. One after the other, and a failed one does not stand in the way of the next. */
  reload(): Promise<void> {
    return this.#options.reloadAll?.() ?? this.exclusively(() => this.#counted(() => this.#reload()));
  }

  /**
   * Reads certificate and tokens again, and puts the tokens to use.
   * @returns whether there is another certificate, which `settle` puts to use
   * @throws {StartError} why they are not usable; what was there goes on serving
   */
  stage(): Promise<boolean> {
    return this.#counted(() => this.#stage());
  }

  async #stage(): Promise<boolean> {
    // All is read before anything is put to use: a bad file leaves everything as it was.
    const fresh = await this.#load();
    await this.#reloadTokens();
    const same = fresh === undefined || (fresh.cert === this.#material?.cert && fresh.key === this.#material.key);
    this.#staged = same ? undefined : fresh;
    return !same;
  }

  /** Keeps the certificate that `stage` read as the one in use, or forgets it. */
  settle(use: boolean): void {
    const fresh = this.#staged;
    this.#staged = undefined;
    if (!use || fresh === undefined) return;
    this.#material = fresh;
    const { leaf, notAfter } = fresh;
    this.#options.log.info("the new certificate serves", {
      serial: leaf.serialNumber,
      notAfter: notAfter.toISOString(),
    });
  }

  /** Runs something while no certificate is replaced: after what was asked for before, and before what comes next. */
  exclusively(run: () => Promise<void>): Promise<void> {
    return this.#last = this.#last.catch(() => {}).then(run);
  }

  /** Reloads; what is not usable goes to the log. */
  reloadOrSay(): Promise<void> {
    return this.#orSay(() => this.reload());
  }

  async #counted<T>(run: () => Promise<T>): Promise<T> {
    try {
      const result = await run();
      this.reloads.success++;
      return result;
    } catch (error) {
      this.reloads.failure++;
      throw error;
    }
  }

  async #orSay(run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      this.#options.log.error(`nothing was reloaded, what was there goes on serving: ${error.message}`);
    }
  }

  /**
   * Takes in a token file that changed. One that lacks what is in force may be half written: it must stay as it is for a
   * while before that counts, as it ends connections. The watch does not call again meanwhile.
   */
  #tokenFileChanged(): Promise<void> {
    return this.#orSay(async () => {
      const { authenticator, log } = this.#options;
      const { confirmAfter = CONFIRM_AFTER } = this.#options;
      let before: string | undefined;
      for (let wait = 0; wait < MOST_WAITS && !this.#stopping.signal.aborted; wait++) {
        if (!await authenticator!.removesKeys()) break;
        const now = contentOf(authenticator!.file!);
        if (now === before) break;
        if (before === undefined) {
          const message = "the file of tokens lacks some that are valid: they are taken back unless it changes again";
          log.info(message, { file: authenticator!.file, after: confirmAfter });
        }
        before = now;
        await delay(confirmAfter, { signal: this.#stopping.signal }).catch(() => {});
      }
      await this.exclusively(() => this.#counted(() => this.#reloadTokens()));
    });
  }

  async #reloadTokens(): Promise<void> {
    const { authenticator, log, tokensChanged } = this.#options;
    if (authenticator === undefined || this.#stopping.signal.aborted) return;
    await authenticator.reload();
    if (authenticator.file !== undefined) {
      log.info(`${authenticator.file} was read again`, { token: authenticator.need });
    }
    tokensChanged();
  }

  /** Ends the watch, and waits for a reload under way. */
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
    if (this.#stopping.signal.aborted || !await this.#stage()) return;
    try {
      await this.#options.apply(this.#staged!);
    } catch (error) {
      this.settle(false);
      throw error;
    }
    this.settle(true);
  }
}

/** The text of a file, or empty where there is none. */
function contentOf(file: string): string {
  try {
    return Deno.readFileSync(file).toHex();
  } catch {
    return "";
  }
}
