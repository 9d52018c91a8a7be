/**
 * A service as its user sees it.
 * @module
 */
import type { ServiceCalls } from "../hub/service_calls.ts";
import type { ServedCertificate } from "../tls/tls_material.ts";
import type { Peer } from "../ws/app_types.ts";

/** A running service. Disposing of it stops it. */
export interface Service extends ServiceCalls, AsyncDisposable {
  /** The address that it listens on, with the actual port. */
  readonly addr: Deno.Addr;
  /** The URL for clients, for example `wss://localhost:8282/`. For a unix socket, `ws+unix:PATH`. */
  readonly url: string;
  /** Whether the service itself terminates TLS, or a proxy in front. */
  readonly mode: { readonly kind: "direct" | "proxied" };
  /** The connection limit; undefined if the system does not report its own limit. */
  readonly maxConnections: number | undefined;
  /** The certificate in use; undefined in proxied mode. */
  readonly material: ServedCertificate | undefined;
  /** The tokens that clients need; undefined if none. */
  readonly needs: string | undefined;
  /** Where the admin listener is; undefined without one, and in a worker: there the supervisor has it. */
  readonly admin: { readonly addr: Deno.Addr; readonly url: string } | undefined;
  /** The id of this node. The ids of its peers end with it. */
  readonly nodeId: string;
  /** The number of peers that are connected to this node. */
  readonly peers: ReadonlySet<Peer>;
  /**
   * Reads the certificate, key and token files again and applies them, without closing a connection for a new certificate.
   * The service does this by itself when the files change.
   * @throws {StartError} if the new files are not usable; the old ones then stay in use
   */
  reload(): Promise<void>;
  /**
   * Lets a successor process open the same address (`takeover`) while `start` starts it, then begins to stop. Connections
   * that were accepted before are still served here. Certificates are not replaced meanwhile.
   * @throws {StartError} if the system does not support this
   * @throws the error of `start`; the service then continues
   */
  handOver(start: () => Promise<void>): Promise<void>;
  /**
   * Stops accepting, lets connections finish within `drainTimeout`, and closes the rest with 1001. Idempotent.
   * Resolves when all connections have ended.
   */
  stop(): Promise<void>;
}
