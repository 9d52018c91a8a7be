/**
 * What is checked, how to reach it, and what the probes learn for each other.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { Endpoint, TlsOptions } from "../client/raw_connection.ts";
import type { Finding } from "../finding.ts";
import type { Version } from "./probes/client_hello.ts";

/** The default of `timeout`, in milliseconds. */
export const DEFAULT_TIMEOUT = 10_000;

/** The clients whose needs are known. */
export const CLIENT_NAMES = ["browser", "wechat", "android", "java", "nodejs", "python"] as const;
export type ClientName = typeof CLIENT_NAMES[number];

/** What `check` can be told. Only the URL is needed. */
export interface CheckOptions {
  /** The endpoint: `wss://domain.com/wss`. */
  readonly url: string;
  /** The client that has to get through. None: any. */
  readonly for?: ClientName;
  /** Limit for everything but the hold, in milliseconds. Default 10 s. */
  readonly timeout?: number;
  /** How long to hold a quiet connection, in milliseconds. Default 0: not at all. */
  readonly hold?: number;
  /** A text message to send. */
  readonly send?: string;
  /** The text that has to come. */
  readonly expect?: string;
  /** Authorities to trust beside the public ones, PEM text. */
  readonly ca?: readonly string[];
  /** The server name to send, and to look for in the certificate, in place of the URL's. */
  readonly sni?: string;
  /** Where to connect in place of the URL's host and port. */
  readonly connectTo?: Endpoint;
  /** Further headers of the upgrade request. */
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly origin?: string;
  readonly subprotocols?: readonly string[];
  /** Whether to ask for a WebSocket at all. Default true; false: no app sees a connection. */
  readonly upgrade?: boolean;
}

/** A URL that can be probed. */
export interface Target {
  readonly url: URL;
  /** wss. */
  readonly secure: boolean;
  /** The URL's host without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** The host is an IP address. */
  readonly isAddress: boolean;
  /** What the certificate has to be for. */
  readonly name: string;
  /** What is connected to: the URL's host and port, or what `--connect-to` says. */
  readonly endpoint: Endpoint;
  readonly options: CheckOptions;
}

/** What the certificate chain shows. */
export interface ChainEvidence {
  readonly findings: readonly Finding[];
  /** As it was sent, leaf first; empty where it could not be read. */
  readonly certificates: readonly X509Certificate[];
  /** Whether it leads to a root that every client has; undefined where it could not be read. */
  readonly isPublic?: boolean;
}

/** What earlier probes learnt. */
export interface Evidence {
  /** TLS versions that are offered. */
  versions?: readonly Version[];
  /** Whether the server asks the client for a certificate in the TLS handshake. */
  asksForCertificate?: boolean;
  chain?: ChainEvidence;
  /** Whether the handshake is refused once it carries `Content-Length: 0`. */
  contentLengthRefused?: boolean;
  pingUnanswered?: boolean;
}

/** How to make a TLS connection to a target. */
export function tlsOptions(target: Target): TlsOptions {
  return { serverName: target.name };
}
