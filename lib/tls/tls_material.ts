/**
 * What a certificate and its key are once loaded.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { Finding } from "../finding.ts";

/** PEM text that `Deno.serve` takes, and what was found out about it. */
export interface TlsMaterial {
  /** The leaf and its intermediates, PEM, in the order in which TLS sends them. */
  readonly cert: string;
  /** The private key, PKCS#8 PEM, decrypted. Never logged. */
  readonly key: string;
  readonly leaf: X509Certificate;
  /** The DNS names and addresses that the leaf is for. */
  readonly names: readonly string[];
  readonly notAfter: Date;
  /** Warnings and notes; errors were thrown. */
  readonly findings: readonly Finding[];
  /** Where the leaf was read from. */
  readonly file: string;
}
