/**
 * When to renew a certificate: as the authority suggests (ACME Renewal Information, RFC 9773), or else after two thirds
 * of its lifetime. Also how long to wait after a failure.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { validityOf } from "../x509/inspect_chain.ts";
import { derChildren, readDer } from "../x509/der.ts";
import { EXTENSION, readFields } from "../x509/certificate_fields.ts";
import { type AcmeClient, parseRetryAfter } from "./acme_client.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** How often to ask the authority if it gives no interval: six hours, the example of RFC 9773 section 4.3. */
const DEFAULT_POLL_INTERVAL = 6 * HOUR;
/** The shortest and the longest delay after a failure. */
const BACKOFF = [MINUTE, 6 * HOUR] as const;
/** The share of a delay that is random, in both directions. */
const JITTER = 0.2;
/** The longest delay that {@link backoff} returns without a demand of the authority, ms. */
export const MAX_BACKOFF = BACKOFF[1] * (1 + JITTER);

/** What the authority suggests (RFC 9773 section 4.2). */
export interface RenewalInfo {
  readonly start: Date;
  readonly end: Date;
  /** A page with an explanation for people; http or https. */
  readonly explanation: string | undefined;
  /** Milliseconds until it should be asked again: from a minute to a day. */
  readonly askAgain: number;
}

/**
 * The identifier of a certificate (RFC 9773 section 4.1): its issuer's key identifier and its serial number, base64url.
 * Undefined if the certificate has no key identifier of its issuer.
 */
export function certificateId(certificate: X509Certificate): string | undefined {
  const extension = readFields(certificate)?.extensions.get(EXTENSION.authorityKeyId);
  if (extension === undefined) return undefined;
  try {
    const keyId = derChildren(readDer(extension)).find(({ tag }) => tag === 0x80)?.content;
    // The DER of an INTEGER: a number whose first bit is set has an octet of zeros before it.
    const hex = certificate.serialNumber.length % 2 === 0 ? certificate.serialNumber : `0${certificate.serialNumber}`;
    const serial = Uint8Array.fromHex(parseInt(hex.slice(0, 2), 16) >= 0x80 ? `00${hex}` : hex);
    const encode = (bytes: Uint8Array) => bytes.toBase64({ alphabet: "base64url", omitPadding: true });
    return keyId && `${encode(keyId)}.${encode(serial)}`;
  } catch {
    return undefined;
  }
}

/**
 * Asks the authority for its suggestion.
 * @returns undefined if the authority has none for this certificate, or an invalid one
 * @throws {AcmeError} if it cannot be asked
 */
export async function renewalInfo(client: AcmeClient, certificate: X509Certificate): Promise<RenewalInfo | undefined> {
  const { renewalInfo: base } = client.directory;
  const id = certificateId(certificate);
  if (base === undefined || id === undefined) return undefined;
  const { body, headers } = await client.get<{
    suggestedWindow?: { start?: string; end?: string };
    explanationURL?: string;
  }>(`${base.replace(/\/$/, "")}/${id}`);
  const start = new Date(body?.suggestedWindow?.start ?? NaN);
  const end = new Date(body?.suggestedWindow?.end ?? NaN);
  // Section 4.2: an end that is not after the start makes the whole invalid. NaN compares as false.
  if (!(end > start)) return undefined;
  const explanation = /^https?:\/\/[\x21-\x7e]{1,300}$/.exec(body.explanationURL ?? "")?.[0];
  const askAgain = Math.min(Math.max(parseRetryAfter(headers) ?? DEFAULT_POLL_INTERVAL, MINUTE), DAY);
  return { start, end, explanation, askAgain };
}

/**
 * A random moment of the window, uniformly distributed (RFC 9773 section 4.2), so that clients do not come all at once.
 */
export function randomRenewalTime({ start, end }: RenewalInfo, random = Math.random()): Date {
  return new Date(start.getTime() + random * (end.getTime() - start.getTime()));
}

/**
 * The renewal time without a suggestion: two thirds of the lifetime, minus a random part of up to a twentieth of it.
 * A certificate of 90 days is renewed with 30 to 34.5 days left, one of six days with two to two and a quarter.
 */
export function defaultRenewalTime(certificate: X509Certificate, random = Math.random()): Date {
  const { from, to } = validityOf(certificate);
  const lifetime = to.getTime() - from.getTime();
  return new Date(from.getTime() + lifetime * (2 / 3 - random / 20));
}

/**
 * Milliseconds to wait after a failure: one minute after the first, doubled after each further one, at most six hours,
 * with a random change of up to a fifth. Never less than the authority demands.
 */
export function backoff(failures: number, retryAfter: number | undefined, random = Math.random()): number {
  const wait = Math.min(BACKOFF[0] * 2 ** Math.min(failures - 1, 20), BACKOFF[1]);
  return Math.round(Math.max(wait * (1 - JITTER + random * 2 * JITTER), retryAfter ?? 0));
}
