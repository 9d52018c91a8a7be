/**
 * The transport of ACME (RFC 8555 section 6): the directory, nonces, signed requests, POST-as-GET, and the account
 * (section 7.3). Orders are in order_certificate.ts.
 * @module
 */
import { delay } from "@std/async/delay";
import { exportJWK, FlattenedSign, type JWK } from "jose";
import { messageOf } from "../../errors.ts";
import { AcmeError, readProblem } from "./acme_error.ts";

/** A directory (RFC 8555 section 7.1.1). */
export interface Directory {
  readonly newNonce: string;
  readonly newAccount: string;
  readonly newOrder: string;
  /** RFC 9773; undefined if the authority does not offer it. */
  readonly renewalInfo?: string;
  readonly meta?: {
    readonly termsOfService?: string;
    readonly externalAccountRequired?: boolean;
    /** Names and descriptions (draft-ietf-acme-profiles). */
    readonly profiles?: Readonly<Record<string, string>>;
  };
}

/** A response with its complete body. */
export interface AcmeResponse<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The parsed body; undefined if it is not JSON. */
  readonly body: T;
}

/** Options of an {@link AcmeClient}. */
export interface ClientOptions {
  /** The directory's URL. */
  readonly directory: string;
  /** The account's key: P-256. */
  readonly key: CryptoKeyPair;
  /** PEM certificates of a private authority, trusted in addition to the public ones. */
  readonly caCerts?: readonly string[] | undefined;
  readonly userAgent: string;
  /** Aborts requests in progress. */
  readonly signal: AbortSignal;
}

/** External account binding (RFC 8555 section 7.3.4). */
export interface ExternalAccount {
  readonly kid: string;
  /** The MAC key from the authority, base64url. */
  readonly key: string;
}

/** Timeout of one request, ms. */
const REQUEST_TIMEOUT = 30_000;
/** Delays before retries after a network failure or an internal error of the authority, ms. */
const RETRY_AFTER: readonly number[] = [500, 1_000, 2_000];
/** Attempts per request, because a valid nonce may be refused (RFC 8555 section 6.5); Pebble does it on purpose. */
const MAX_NONCE_ATTEMPTS = 10;
/** The longest Retry-After that is waited for here, ms. A longer one is thrown to the caller. */
const MAX_RETRY_AFTER = 10_000;
/** The largest response, in bytes. A chain has a few KiB; more is a mistake or an attack. */
const MAX_RESPONSE_BYTES = 1024 ** 2;

/** A client of one authority. Disposing of it closes its connections. */
export class AcmeClient implements Disposable {
  readonly #options: ClientOptions;
  readonly #http: Deno.HttpClient;
  readonly #nonces: string[] = [];
  #directory!: Directory;
  #jwk!: JWK;
  /** The account's URL, which signed requests name (`kid`, RFC 8555 section 6.2). */
  #account: string | undefined;

  private constructor(options: ClientOptions) {
    this.#options = options;
    this.#http = Deno.createHttpClient(options.caCerts === undefined ? {} : { caCerts: [...options.caCerts] });
  }

  /**
   * Fetches the directory.
   * @throws {AcmeError} if the authority cannot be reached or the response is not a directory
   */
  static async open(options: ClientOptions): Promise<AcmeClient> {
    const client = new AcmeClient(options);
    try {
      const { body } = await client.get<Directory>(options.directory);
      for (const name of ["newNonce", "newAccount", "newOrder"] as const) {
        if (typeof body?.[name] !== "string") {
          throw new AcmeError({
            type: "unexpected",
            detail: `${options.directory} is not an ACME directory: ${name} is missing`,
          });
        }
      }
      client.#directory = body;
      client.#jwk = await exportJWK(options.key.publicKey);
      return client;
    } catch (error) {
      client[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#http.close();
  }

  get directory(): Directory {
    return this.#directory;
  }

  get signal(): AbortSignal {
    return this.#options.signal;
  }

  /** The account key's public half. */
  get publicKey(): JWK {
    return this.#jwk;
  }

  /** Uses an existing account. */
  useAccount(url: string): void {
    this.#account = url;
  }

  /**
   * Creates the account, or finds the existing one for the key (RFC 8555 section 7.3).
   * @param contact e-mail addresses
   * @returns its URL
   */
  async createAccount(contact: readonly string[], external: ExternalAccount | undefined): Promise<string> {
    this.#account = undefined;
    const url = this.#directory.newAccount;
    const { headers } = await this.post(url, {
      termsOfServiceAgreed: true,
      ...(contact.length > 0 ? { contact: contact.map((address) => `mailto:${address}`) } : {}),
      ...(external ? { externalAccountBinding: await this.#bind(external, url) } : {}),
    });
    return this.#account = readLocation(headers, url);
  }

  /** Replaces the account's contact (RFC 8555 section 7.3.2). */
  async updateContact(contact: readonly string[]): Promise<void> {
    await this.post(this.#account!, { contact: contact.map((address) => `mailto:${address}`) });
  }

  /** An unsigned GET, which only the directory and renewal information allow. */
  get<T>(url: string): Promise<AcmeResponse<T>> {
    return this.#withRetries(() => this.#send<T>(url, { headers: { accept: "application/json" } }));
  }

  /** A signed POST; without a payload, POST-as-GET (RFC 8555 section 6.3). */
  async post<T = unknown>(url: string, payload?: unknown): Promise<AcmeResponse<T>> {
    for (let attemptsLeft = MAX_NONCE_ATTEMPTS;; attemptsLeft--) {
      try {
        return await this.#withRetries(() => this.#post<T>(url, payload));
      } catch (error) {
        // The error response contains a new nonce (RFC 8555 section 6.5).
        if (!(error instanceof AcmeError) || error.type !== "badNonce" || attemptsLeft <= 1) throw error;
      }
    }
  }

  async #post<T>(url: string, payload: unknown): Promise<AcmeResponse<T>> {
    const nonce = this.#nonces.pop() ?? await this.#newNonce();
    const signer = this.#account === undefined ? { jwk: this.#jwk } : { kid: this.#account };
    const bytes = new TextEncoder().encode(payload === undefined ? "" : JSON.stringify(payload));
    const jws = await new FlattenedSign(bytes)
      .setProtectedHeader({ alg: "ES256", nonce, url, ...signer })
      .sign(this.#options.key.privateKey);
    return await this.#send<T>(url, {
      method: "POST",
      headers: { "content-type": "application/jose+json" },
      body: JSON.stringify(jws),
    });
  }

  async #newNonce(): Promise<string> {
    await this.#send(this.#directory.newNonce, { method: "HEAD" });
    const nonce = this.#nonces.pop();
    if (nonce === undefined) {
      throw new AcmeError({ type: "unexpected", detail: "the newNonce response has no Replay-Nonce" });
    }
    return nonce;
  }

  /** The account's public key, signed with the MAC key from the authority (RFC 8555 section 7.3.4). */
  async #bind({ kid, key }: ExternalAccount, url: string): Promise<unknown> {
    const secret = Uint8Array.fromBase64(key, { alphabet: "base64url" });
    const jwk = new TextEncoder().encode(JSON.stringify(this.#jwk));
    return await new FlattenedSign(jwk).setProtectedHeader({ alg: "HS256", kid, url }).sign(secret);
  }

  /** Retries after temporary failures of the network or the authority. Other failures are thrown at once. */
  async #withRetries<T>(send: () => Promise<T>): Promise<T> {
    for (const wait of RETRY_AFTER) {
      try {
        return await send();
      } catch (error) {
        if (!(error instanceof AcmeError) || !isTemporary(error)) throw error;
        const after = Math.max(error.retryAfter ?? 0, wait);
        if (after > MAX_RETRY_AFTER) throw error;
        await delay(after, { signal: this.signal });
      }
    }
    return await send();
  }

  async #send<T>(url: string, init: RequestInit): Promise<AcmeResponse<T>> {
    const { signal, userAgent } = this.#options;
    signal.throwIfAborted();
    const ending = new AbortController();
    const end = () => ending.abort(signal.reason);
    signal.addEventListener("abort", end, { once: true });
    const timer = setTimeout(
      () => ending.abort(new Error(`no answer within ${REQUEST_TIMEOUT / 1000} s`)),
      REQUEST_TIMEOUT,
    );
    try {
      const headers = { "user-agent": userAgent, "accept-language": "en", ...init.headers };
      const response = await fetch(url, {
        ...init,
        headers,
        client: this.#http,
        signal: ending.signal,
        redirect: "follow",
      });
      const nonce = response.headers.get("replay-nonce");
      if (nonce !== null) this.#nonces.push(nonce);
      const text = await readText(response);
      if (!response.ok) {
        throw new AcmeError(readProblem(text, response.status), {
          status: response.status,
          retryAfter: parseRetryAfter(response.headers),
        });
      }
      const json = /[/+]json\b/.test(response.headers.get("content-type") ?? "");
      return {
        status: response.status,
        headers: response.headers,
        text,
        body: (json ? parseJson(text) : undefined) as T,
      };
    } catch (error) {
      if (error instanceof AcmeError) throw error;
      signal.throwIfAborted();
      throw new AcmeError({ type: "unreachable", detail: `${new URL(url).host}: ${messageOf(error)}` }, {}, {
        cause: error,
      });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
    }
  }
}

function isTemporary({ type, status }: AcmeError): boolean {
  return type === "unreachable" || type === "serverInternal" || (status >= 500 && status !== 501);
}

async function readText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_RESPONSE_BYTES) {
      throw new AcmeError({ type: "unexpected", detail: `a response larger than ${MAX_RESPONSE_BYTES} bytes` });
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new AcmeError({ type: "unexpected", detail: `JSON is required, the response is: ${text.slice(0, 100)}` });
  }
}

/** The URL of the resource that a request created. @throws {AcmeError} if it is missing */
export function readLocation(headers: Headers, url: string): string {
  const location = headers.get("location");
  if (location === null) throw new AcmeError({ type: "unexpected", detail: `the response of ${url} has no Location` });
  return new URL(location, url).href;
}

/** Milliseconds that `Retry-After` asks for (RFC 9110 section 10.2.3: seconds or a date); undefined without one. */
export function parseRetryAfter(headers: Headers, now = Date.now()): number | undefined {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
