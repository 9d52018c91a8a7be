/**
 * The options of a check.
 * @module
 */
import type { Endpoint } from "../client/raw_connection.ts";

/** The default of `timeout`, in milliseconds. */
export const DEFAULT_TIMEOUT = 10_000;

/** The clients that have a profile in client_requirements.ts. */
export const CLIENT_NAMES = ["browser", "wechat", "android", "java", "nodejs", "python"] as const;
export type ClientName = typeof CLIENT_NAMES[number];

/** The options of `runCheck`. Only the URL is required. */
export interface CheckOptions {
  /** The URL of the endpoint: `wss://domain.com/wss`. */
  readonly url: string;
  /** The client whose requirements are checked too. Default: none, only what every client requires. */
  readonly for?: ClientName;
  /** The time limit of everything but the hold, in milliseconds. Default 10 s. */
  readonly timeout?: number;
  /** How long to hold an idle connection, in milliseconds. Default 0: not at all. */
  readonly hold?: number;
  /** A text message to send. */
  readonly send?: string;
  /** The text message that the server must send. */
  readonly expect?: string;
  /** Authorities to trust in addition to the public ones, PEM text. */
  readonly ca?: readonly string[];
  /** The server name for SNI and for the certificate's names. Default: the URL's host. */
  readonly sni?: string;
  /** Where to connect. Default: the URL's host and port. */
  readonly connectTo?: Endpoint;
  /** Additional headers of the upgrade request. */
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** The Origin header of the upgrade request. Default: none, except with `for: "browser"`. */
  readonly origin?: string;
  /** The subprotocols to offer, in order of preference. */
  readonly subprotocols?: readonly string[];
  /** Whether to request the upgrade. Default true. With false, no app receives a connection. */
  readonly upgrade?: boolean;
}
