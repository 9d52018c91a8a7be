/**
 * Certificate and token keys over the life of a service: loaded, watched, loaded again.
 * @module
 */
import type { Authenticator } from "../auth/authenticate.ts";
import type { Mode } from "../config/service_mode.ts";
import type { Settings } from "../config/service_options.ts";
import { StartError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { materialFor, watchedFiles } from "./resolve_settings.ts";
import type { TlsMaterial } from "../tls/tls_material.ts";
import { watchFiles } from "../tls/watch_files.ts";

/** How often the certificate's age is looked at, ms: half a day. */
const AGE_CHECK = 43_200_000;

/** What is kept up to date, and how a new certificate is put to use. */
export interface CredentialReloaderOptions {
  readonly mode: Mode;
  readonly settings: Settings;
  readonly authenticator: Authenticator | undefined;
  readonly log: Logger;
  /** Makes the listener use it. What it throws leaves the old one in use. */
  apply(material: TlsMaterial): Promise<void>;
}

/** Keeps a service's certificate and token keys. */
export class CredentialReloader {
  readonly #options: CredentialReloaderOptions;
  #material: TlsMaterial | undefined;
  #watch: AsyncDisposable | undefined;
  #age: ReturnType<typeof setInterval> | undefined;
  #last: Promise<void> = Promise.resolve();
  #stopped = false;

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
    const { mode, settings, log } = this.#options;
    const files = watchedFiles(mode, settings);
    if (files.length > 0) this.#watch = watchFiles(files, () => this.reloadOrSay(), { log });
    try {
      this.#material = await this.#load();
    } catch (error) {
      await this.stop();
      throw error;
    }
    if (mode.kind === "proxied") return;
    this.#age = setInterval(() => this.reloadOrSay(), AGE_CHECK);
    Deno.unrefTimer(this.#age);
  }

  /** See `Service.reload`. One after the other, and a failed one does not stand in the way of the next. */
  reload(): Promise<void> {
    return this.exclusively(() => this.#reload());
  }

  /** Runs something while no certificate is replaced: after what was asked for before, and before what comes next. */
  exclusively(run: () => Promise<void>): Promise<void> {
    return this.#last = this.#last.catch(() => {}).then(run);
  }

  /** Reloads; what is not usable goes to the log. */
  async reloadOrSay(): Promise<void> {
    try {
      await this.reload();
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      this.#options.log.error(`nothing was reloaded, what was there goes on serving: ${error.message}`);
    }
  }

  /** Ends the watch, and waits for a reload under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#age);
    await this.#watch?.[Symbol.asyncDispose]();
    await this.#last.catch(() => {});
  }

  async #load(): Promise<TlsMaterial | undefined> {
    const { mode, log } = this.#options;
    const material = await materialFor(mode);
    for (const { level, fact, remedy } of material?.findings ?? []) {
      if (level === "warning") log.warn(`${fact} ${remedy ?? ""}`.trim());
    }
    return material;
  }

  async #reload(): Promise<void> {
    if (this.#stopped) return;
    const { settings, authenticator, apply, log } = this.#options;
    // All is read before anything is put to use: a bad file leaves everything as it was.
    const fresh = await this.#load();
    await authenticator?.reload();
    const file = settings.authTokenFile ?? settings.jwtSecretFile ?? settings.jwtPublicKeyFile;
    if (file !== undefined) log.info(`${file} was read again`, { token: authenticator?.need });
    if (fresh === undefined || (fresh.cert === this.#material?.cert && fresh.key === this.#material.key)) return;
    await apply(fresh);
    this.#material = fresh;
    const { leaf, notAfter } = fresh;
    log.info("the new certificate serves", { serial: leaf.serialNumber, notAfter: notAfter.toISOString() });
  }
}
