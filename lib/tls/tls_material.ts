/**
 * What a certificate and its key are once loaded.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { Finding } from "../finding.ts";

/** The certificate that a service uses, as others may see it. */
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

/** PEM text that `Deno.serve` takes, and what was found out about it. */
export interface TlsMaterial extends ServedCertificate {
  /** The leaf and its intermediates, PEM, in the order in which TLS sends them. */
  readonly cert: string;
  /** The private key, PKCS#8 PEM, decrypted. Never logged. */
  readonly key: string;
  /** Warnings and notes; errors were thrown. */
  readonly findings: readonly Finding[];
}
