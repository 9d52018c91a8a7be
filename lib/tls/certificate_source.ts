/**
 * Where a service's certificate comes from: the operator's files, the development authority, or ACME (acme/acme_source.ts).
 * @module
 */
import type { CertificateFiles } from "../config/service_mode.ts";
import type { Logger } from "../log.ts";
import { developmentMaterial } from "./development_certificate.ts";
import { loadCertificateFiles } from "./certificate_files.ts";
import type { TlsMaterial } from "./tls_material.ts";
import { watchFiles } from "./watch_files.ts";

/**
 * A source of certificates. Its user calls `watch` once, then `load`, and `load` again whenever it was told of a change.
 * Disposing of it ends the watch; once that is awaited, no call of `changed` is running or comes.
 */
export interface CertificateSource extends AsyncDisposable {
  /**
   * Begins to watch. `changed` is called whenever `load` may yield something else, also when it does not: compare. What
   * it throws is logged. No second call is made while one is running.
   */
  watch(changed: () => Promise<void>): void;
  /**
   * The material as it is there now. A source that has none yet gets it, in a bounded time.
   * @throws {StartError} it is not usable, or there is none to be had; the user keeps what it has
   */
  load(): Promise<TlsMaterial>;
}

/** How often the certificate's age is looked at, ms: half a day. */
const AGE_CHECK = 43_200_000;

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
    // It warns of the end that comes near.
    this.#age = setInterval(changed, AGE_CHECK);
    Deno.unrefTimer(this.#age);
  }

  load(): Promise<TlsMaterial> {
    return Promise.try(() => loadCertificateFiles(this.#files));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#age);
    await this.#watch?.[Symbol.asyncDispose]();
  }
}

/** The development certificate, which is made anew when it is old. */
export class DevelopmentSource implements CertificateSource {
  #age: ReturnType<typeof setInterval> | undefined;

  watch(changed: () => Promise<void>): void {
    this.#age = setInterval(changed, AGE_CHECK);
    Deno.unrefTimer(this.#age);
  }

  load(): Promise<TlsMaterial> {
    return developmentMaterial();
  }

  [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#age);
    return Promise.resolve();
  }
}
