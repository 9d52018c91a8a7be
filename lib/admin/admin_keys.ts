/**
 * Who may use the API: the keys of `--admin-key-file`, kept up to date.
 * @module
 */
import { findSharedSecret, NoSecretError, parseSecrets, type SharedSecrets } from "../auth/shared_secrets.ts";
import { messageOf, StartError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { decodeText } from "../text_file.ts";
import { watchFiles } from "../tls/watch_files.ts";

/** The keys in a file. */
export class AdminKeys implements AsyncDisposable {
  readonly #file: string;
  readonly #log: Logger;
  readonly #watch: AsyncDisposable;
  #secrets: SharedSecrets;

  /**
   * Reads the file, and watches it: what is in it is in force from then on.
   * @throws {StartError} why it is not usable
   */
  constructor(file: string, log: Logger) {
    this.#file = file;
    this.#log = log;
    const options = { log, what: "the file of admin keys", missingIsEmpty: true };
    // The watch comes first, so that no change falls between the two.
    this.#watch = watchFiles([file], () => this.#changed(), options);
    try {
      this.#secrets = read(file, log);
    } catch (error) {
      void this.#watch[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Whether the text is one of the keys; takes as long for a wrong one. */
  accepts(key: string): boolean {
    return findSharedSecret(key, this.#secrets) !== undefined;
  }

  /**
   * Reads the file again. One that is empty or gone leaves no key valid.
   * @throws {StartError} why it is not usable; the keys that there were stay in force
   */
  reload(): void {
    try {
      this.#secrets = read(this.#file, this.#log);
    } catch (error) {
      if (!(error instanceof NoSecretError)) throw error;
      this.#secrets = { digests: [], warnings: [] };
      this.#log.warn(`${error.message}: no admin key is valid`);
      return;
    }
    this.#log.info(`${this.#file} was read again`, { keys: this.#secrets.digests.length });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch[Symbol.asyncDispose]();
  }

  #changed(): void {
    try {
      this.reload();
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      this.#log.error(`the admin keys were not reloaded, those that there were stay valid: ${error.message}`);
    }
  }
}

function read(file: string, log: Logger): SharedSecrets {
  let text: string;
  try {
    text = decodeText(Deno.readFileSync(file));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new NoSecretError(`Cannot read the admin keys: there is no ${file}`);
    }
    throw new StartError(`Cannot read the admin keys (${file}): ${messageOf(error)}`, { cause: error });
  }
  const secrets = parseSecrets(text, file);
  for (const warning of secrets.warnings) {
    // What concerns subprotocols does not concern keys.
    if (!warning.includes("subprotocol")) log.warn(warning);
  }
  return secrets;
}
