/**
 * Orders one certificate (RFC 8555 section 7.4): the order, its authorisations, the HTTP-01 challenge (section 8.3),
 * the signing request, the chain.
 * @module
 */
import { delay } from "@std/async/delay";
import { calculateJwkThumbprint } from "jose";
import { addressIn } from "../x509/certificate_names.ts";
import { type AcmeClient, type AcmeResponse, parseRetryAfter, readLocation } from "./acme_client.ts";
import { AcmeError, FailedValidations, type Problem } from "./acme_error.ts";

/** RFC 8555 section 7.1.3. */
interface Order {
  readonly status: "pending" | "ready" | "processing" | "valid" | "invalid";
  readonly authorizations: readonly string[];
  readonly finalize: string;
  readonly certificate?: string;
  readonly error?: Problem;
}

/** RFC 8555 section 7.1.4. */
interface Authorization {
  readonly status: "pending" | "valid" | "invalid" | "deactivated" | "expired" | "revoked";
  readonly identifier: { readonly value: string };
  readonly challenges: readonly Challenge[];
}

/** RFC 8555 section 8. */
interface Challenge {
  readonly type: string;
  readonly url: string;
  readonly status: "pending" | "processing" | "valid" | "invalid";
  readonly token: string;
  readonly error?: Problem;
}

/** Options of {@link orderCertificate}. */
export interface OrderOptions {
  /** DNS names and addresses. */
  readonly names: readonly string[];
  /** A profile of the directory (draft-ietf-acme-profiles). */
  readonly profile?: string | undefined;
  /** The RFC 9773 identifier of the certificate that it replaces. */
  readonly replaces?: string | undefined;
  /** The URL of an order that an earlier attempt left unfinished. */
  readonly unfinished?: string | undefined;
  /** Stores the order's URL, so that a later process can continue it. */
  readonly onOrderCreated: (url: string) => void;
  /** Makes the signing request, DER. */
  readonly request: () => Promise<Uint8Array>;
  /** Answers for a token until the returned function is called. */
  readonly respond: (token: string, answer: string) => () => void;
  /** Receives progress messages. */
  readonly progress: (step: string) => void;
}

/** Delays between two requests for the state of a resource, ms: the first and the longest. */
const POLL = [250, 5_000] as const;
/** The longest delay that the authority may demand, ms. */
const MAX_POLL_DELAY = 60_000;

/**
 * Obtains a certificate chain, PEM.
 * @throws {AcmeError} if that fails; the message has every name whose validation failed
 */
export async function orderCertificate(client: AcmeClient, options: OrderOptions): Promise<string> {
  const { progress } = options;
  const { url, order: first } = await resumeOrder(client, options) ?? await createOrder(client, options);
  let order = first;
  if (order.status === "pending") {
    await authorizeNames(client, order.authorizations, options);
    order = await pollUntil(client, url, order, ({ status }) => status !== "pending");
  }
  if (order.status === "ready") {
    progress("every name is validated; requesting the certificate");
    order = await finalizeOrder(client, url, order, await options.request());
  }
  order = await pollUntil(client, url, order, ({ status }) => status === "valid" || status === "invalid");
  if (order.status !== "valid" || order.certificate === undefined) {
    throw new AcmeError(order.error ?? { type: "unexpected", detail: `the order's status is ${order.status}` });
  }
  const { text } = await client.post(order.certificate);
  if (!text.includes("-----BEGIN CERTIFICATE-----")) {
    throw new AcmeError({ type: "unexpected", detail: "the certificate's URL did not return a PEM certificate" });
  }
  return text;
}

interface CreatedOrder {
  readonly url: string;
  readonly order: Order;
}

/** The order of an earlier attempt, if the authority still has it and it can succeed. */
async function resumeOrder(
  client: AcmeClient,
  { unfinished: url, progress }: OrderOptions,
): Promise<CreatedOrder | undefined> {
  if (url === undefined) return undefined;
  try {
    const { body: order } = await client.post<Order>(url);
    if (order.status === "invalid") return undefined;
    progress(`continuing the order of an earlier attempt (${order.status})`);
    return { url, order };
  } catch (error) {
    // Orders expire; the authority then reports that the order does not exist.
    if (error instanceof AcmeError && error.status >= 400 && error.status < 500 && error.type !== "rateLimited") {
      return undefined;
    }
    throw error;
  }
}

async function createOrder(client: AcmeClient, options: OrderOptions): Promise<CreatedOrder> {
  const { names, profile, replaces, onOrderCreated, progress } = options;
  const url = client.directory.newOrder;
  const identifiers = names.map((value) => ({ type: addressIn(value) === undefined ? "dns" : "ip", value }));
  const common = { identifiers, ...(profile === undefined ? {} : { profile }) };
  let answer: AcmeResponse<Order>;
  try {
    answer = await client.post<Order>(url, { ...common, ...(replaces === undefined ? {} : { replaces }) });
  } catch (error) {
    if (replaces === undefined || !mayRefuseReplaces(error)) throw error;
    progress("the authority refused the order with `replaces`; ordering without it");
    answer = await client.post<Order>(url, common);
  }
  const location = readLocation(answer.headers, url);
  onOrderCreated(location);
  progress(`ordered for ${names.join(", ")}`);
  return { url: location, order: answer.body };
}

/** Types of RFC 8555 section 6.7 and of draft-ietf-acme-profiles that name another cause than `replaces`. */
const OTHER_CAUSES: ReadonlySet<string> = new Set([
  ...["accountDoesNotExist", "badNonce", "badPublicKey", "badSignatureAlgorithm", "externalAccountRequired"],
  ...["invalidProfile", "rateLimited", "rejectedIdentifier", "unsupportedIdentifier", "userActionRequired"],
]);

/**
 * Whether an authority may have refused an order because of `replaces`. The field is optional, and RFC 9773 section 5
 * fixes a type for only one reason: `alreadyReplaced`. Boulder uses `malformed` and, for a certificate of another account,
 * `unauthorized`; other authorities may use other types.
 */
function mayRefuseReplaces(error: unknown): boolean {
  return error instanceof AcmeError && error.status >= 400 && error.status < 500 && error.status !== 429 &&
    !OTHER_CAUSES.has(error.type);
}

/** Validates all names, so that every failure is reported at once. */
async function authorizeNames(client: AcmeClient, urls: readonly string[], options: OrderOptions): Promise<void> {
  const failed: AcmeError[] = [];
  for (const url of urls) {
    try {
      await authorizeName(client, url, options);
    } catch (error) {
      if (!(error instanceof AcmeError) || error.status === 429) throw error;
      failed.push(error);
    }
  }
  const [first, ...rest] = failed;
  if (first !== undefined) throw rest.length === 0 ? first : new FailedValidations([first, ...rest]);
}

async function authorizeName(client: AcmeClient, url: string, options: OrderOptions): Promise<void> {
  const { body } = await client.post<Authorization>(url);
  const name = body.identifier.value;
  // Validated by an earlier order of the account, and still valid.
  if (body.status === "valid") return;
  const challenge = body.challenges.find(({ type }) => type === "http-01");
  if (challenge === undefined) {
    const offered = body.challenges.map(({ type }) => type).join(", ") || "none";
    throw new AcmeError({ type: "unexpected", detail: `HTTP-01 is required, the authority offers ${offered}` }, {
      name,
    });
  }
  const answer = `${challenge.token}.${await calculateJwkThumbprint(client.publicKey)}`;
  const remove = options.respond(challenge.token, answer);
  try {
    options.progress(`${name}: the authority requests the challenge on port 80`);
    if (challenge.status === "pending") await acceptChallenge(client, url, challenge);
    const done = await pollUntil<Authorization>(client, url, undefined, ({ status }) => status !== "pending");
    if (done.status === "valid") return;
    const problem = done.challenges.find(({ error }) => error !== undefined)?.error;
    throw new AcmeError(problem ?? { type: "unexpected", detail: `the authorisation's status is ${done.status}` }, {
      name,
    });
  } finally {
    remove();
  }
}

/**
 * Accepts a challenge (RFC 8555 section 7.5.1). A retry after a lost response fails, because it was already accepted.
 */
async function acceptChallenge(client: AcmeClient, url: string, challenge: Challenge): Promise<void> {
  try {
    await client.post(challenge.url, {});
  } catch (error) {
    if (!(error instanceof AcmeError) || error.type !== "malformed") throw error;
    const { body } = await client.post<Authorization>(url);
    if (body.challenges.find(({ url }) => url === challenge.url)?.status === "pending") throw error;
  }
}

async function finalizeOrder(client: AcmeClient, url: string, order: Order, request: Uint8Array): Promise<Order> {
  const csr = request.toBase64({ alphabet: "base64url", omitPadding: true });
  for (let tries = 3;; tries--) {
    try {
      return (await client.post<Order>(order.finalize, { csr })).body;
    } catch (error) {
      // The state of the order shows what is missing (RFC 8555 section 7.4).
      if (!(error instanceof AcmeError) || error.type !== "orderNotReady" || tries <= 1) throw error;
      await delay(POLL[0], { signal: client.signal });
      order = await pollUntil<Order>(client, url, undefined, ({ status }) => status !== "pending");
      if (order.status !== "ready") return order;
    }
  }
}

/** Polls a resource until a condition holds (RFC 8555 section 7.5.1), with the delays that the authority demands. */
async function pollUntil<T>(
  client: AcmeClient,
  url: string,
  known: T | undefined,
  done: (body: T) => boolean,
): Promise<T> {
  if (known !== undefined && done(known)) return known;
  for (let wait: number = POLL[0];; wait = Math.min(wait * 2, POLL[1])) {
    const { body, headers } = await client.post<T>(url);
    if (done(body)) return body;
    // Retry-After may be 0, or a date that this machine's clock has passed.
    const demanded = Math.max(parseRetryAfter(headers) ?? wait, POLL[0]);
    await delay(Math.min(demanded, MAX_POLL_DELAY), { signal: client.signal });
  }
}
