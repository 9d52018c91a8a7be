/**
 * The endpoint that probes connect to, and the evidence that probes collect for later ones.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { Endpoint, TlsOptions } from "../client/raw_connection.ts";
import type { Finding } from "../diagnostic_finding.ts";
import type { CheckOptions } from "./check_options.ts";
import type { Version } from "./probes/client_hello.ts";

/** A valid URL, parsed. */
export interface Target {
  readonly url: URL;
  /** Whether the scheme is wss. */
  readonly secure: boolean;
  /** The URL's host, IPv6 without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** Whether the host is an IP address. */
  readonly isAddress: boolean;
  /** The name that the certificate must be for. */
  readonly name: string;
  /** Where to connect: `connectTo` of the options, or else the URL's host and port. */
  readonly endpoint: Endpoint;
  readonly options: CheckOptions;
}

/** The certificate chain that the server sent, and its findings. */
export interface ChainEvidence {
  readonly findings: readonly Finding[];
  /** In the order in which they were sent, leaf first; empty if the chain could not be read. */
  readonly certificates: readonly X509Certificate[];
  /** Whether the chain leads to a root that every client trusts; undefined if it could not be read. */
  readonly isPublic?: boolean;
}

/** The results of earlier probes. */
export interface Evidence {
  /** The TLS versions that the server offers. */
  versions?: readonly Version[];
  /** Whether the server requests a client certificate in the TLS handshake. */
  requestsClientCertificate?: boolean;
  chain?: ChainEvidence;
  /** Whether the server refuses a handshake with `Content-Length: 0`. */
  contentLengthRefused?: boolean;
  pingUnanswered?: boolean;
}

/** Returns the options of a TLS connection to a target. */
export function tlsOptions(target: Target): TlsOptions {
  return { serverName: target.name };
}
