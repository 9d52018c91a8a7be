/**
 * A loaded certificate with its key.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { Finding } from "../diagnostic_finding.ts";

/** The public part of the certificate that a service uses. */
export interface ServedCertificate {
  /** The server's own certificate. */
  readonly leaf: X509Certificate;
  /** The DNS names and addresses that it is for. */
  readonly names: readonly string[];
  /** When it expires. */
  readonly notAfter: Date;
  /** Where it was read from. */
  readonly file: string;
}

/** PEM text for `Deno.serve`, and the findings about it. */
export interface TlsMaterial extends ServedCertificate {
  /** The leaf and its intermediates, PEM, in the order in which TLS sends them. */
  readonly cert: string;
  /** The private key, PKCS#8 PEM, decrypted. Never logged. */
  readonly key: string;
  /** Warnings and notes. Errors are thrown instead. */
  readonly findings: readonly Finding[];
}
