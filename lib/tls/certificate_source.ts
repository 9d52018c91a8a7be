/**
 * Sources of a service's certificate: the operator's files or the development authority. For ACME see
 * acme/acme_source.ts.
 * @module
 */
import { delay } from "@std/async/delay";
import type { CertificateFiles } from "../config/service_mode.ts";
import type { Logger } from "../log.ts";
import { loadCertificateFiles, MismatchedKey } from "./certificate_files.ts";
import type { TlsMaterial } from "./loaded_certificate.ts";
import { watchFiles } from "./watch_files.ts";

/**
 * A source of certificates. The caller calls `watch` once, then `load`, and `load` again after each change. Disposing
 * of the source ends the watch; after that is awaited, `changed` is not running and is not called again.
 */
export interface CertificateSource extends AsyncDisposable {
  /**
   * Starts to watch. `changed` is called whenever `load` may return something else; compare, because it may be the
   * same. Its errors are logged. Calls do not overlap.
   */
  watch(changed: () => Promise<void>): void;
  /**
   * Loads the current material. A source that has none yet obtains it, within a time limit.
   * @throws {StartError} if it is not usable or cannot be obtained; the caller keeps what it has
   */
  load(): Promise<TlsMaterial>;
}

/** Interval of checks of the certificate's age, ms: half a day. */
const AGE_CHECK = 43_200_000;

/** Delays before the files are read again if they do not match, ms. A renewal replaces one file after the other. */
const REPLACED_WITHIN = [100, 300, 600] as const;

/** The operator's files. */
export class FilesSource implements CertificateSource {
  readonly #files: CertificateFiles;
  readonly #log: Logger;
  #watch: AsyncDisposable | undefined;
  #age: ReturnType<typeof setInterval> | undefined;

  constructor(files: CertificateFiles, log: Logger) {
    this.#files = files;
    this.#log = log;
  }

  watch(changed: () => Promise<void>): void {
    const { cert, key, chain, keyPassphraseFile } = this.#files;
    const paths = [cert, key, chain, keyPassphraseFile].filter((path) => path !== undefined);
    this.#watch = watchFiles(paths, changed, { log: this.#log });
    // Loading logs a warning if the certificate expires soon.
    this.#age = setInterval(changed, AGE_CHECK);
    Deno.unrefTimer(this.#age);
  }

  async load(): Promise<TlsMaterial> {
    for (const wait of REPLACED_WITHIN) {
      try {
        return loadCertificateFiles(this.#files);
      } catch (error) {
        if (!(error instanceof MismatchedKey)) throw error;
      }
      await delay(wait);
    }
    return loadCertificateFiles(this.#files);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#age);
    await this.#watch?.[Symbol.asyncDispose]();
  }
}

/** The development certificate, which is renewed before it expires. */
export class DevelopmentSource implements CertificateSource {
  #age: ReturnType<typeof setInterval> | undefined;

  watch(changed: () => Promise<void>): void {
    this.#age = setInterval(changed, AGE_CHECK);
    Deno.unrefTimer(this.#age);
  }

  async load(): Promise<TlsMaterial> {
    const { developmentMaterial } = await import("./development_certificate.ts");
    return await developmentMaterial();
  }

  [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#age);
    return Promise.resolve();
  }
}
