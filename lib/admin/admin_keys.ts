/**
 * The keys of the admin API, from `--admin-key-file`. The file is watched.
 * @module
 */
import { findSharedSecret, NoSecretError, parseSecrets, type SharedSecrets } from "../auth/shared_secrets.ts";
import { messageOf, StartError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { decodeText } from "../text_file.ts";
import { AutomaticReload } from "../tls/automatic_reload.ts";
import { watchFiles } from "../tls/watch_files.ts";

/** The keys from a file. */
export class AdminKeys implements AsyncDisposable {
  readonly #file: string;
  readonly #log: Logger;
  readonly #watch: AsyncDisposable;
  readonly #automatic: AutomaticReload;
  #secrets: SharedSecrets;

  /**
   * Reads the file and watches it. Later changes take effect by themselves.
   * @throws {StartError} if the file is not usable
   */
  constructor(file: string, log: Logger) {
    this.#file = file;
    this.#log = log;
    const reload = () => Promise.try(() => this.reload());
    this.#automatic = new AutomaticReload(reload, { log, what: "reloading the admin keys" });
    const options = { log, what: "the admin key file", missingIsEmpty: true };
    // The watch starts before the file is read, so that no change is missed.
    this.#watch = watchFiles([file], () => this.#automatic.changed(), options);
    try {
      this.#secrets = read(file, log);
    } catch (error) {
      void this.#watch[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Whether the text is one of the keys. Takes the same time for valid and invalid keys. */
  accepts(key: string): boolean {
    return findSharedSecret(key, this.#secrets) !== undefined;
  }

  /**
   * Reads the file again. If it is empty or missing, no key is valid.
   * @throws {StartError} if the file is not usable. The previous keys then stay valid
   */
  reload(): void {
    try {
      this.#secrets = read(this.#file, this.#log);
    } catch (error) {
      if (!(error instanceof NoSecretError)) throw error;
      this.#secrets = { digests: [], warnings: [] };
      this.#automatic.done();
      this.#log.warn(`${error.message}: no admin key is valid`);
      return;
    }
    this.#automatic.done();
    this.#log.info(`${this.#file} was read again`, { keys: this.#secrets.digests.length });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch[Symbol.asyncDispose]();
    await this.#automatic[Symbol.asyncDispose]();
  }
}

function read(file: string, log: Logger): SharedSecrets {
  let text: string;
  try {
    text = decodeText(Deno.readFileSync(file));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new NoSecretError(`Cannot read the admin keys: ${file} does not exist`);
    }
    throw new StartError(`Cannot read the admin keys (${file}): ${messageOf(error)}`, { cause: error });
  }
  const secrets = parseSecrets(text, file);
  for (const warning of secrets.warnings) {
    // Warnings about subprotocols do not apply to admin keys.
    if (!warning.includes("subprotocol")) log.warn(warning);
  }
  return secrets;
}
