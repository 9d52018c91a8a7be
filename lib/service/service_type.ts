/**
 * The public interface of a running service.
 * @module
 */
import type { ServiceCalls } from "../hub/service_calls.ts";
import type { ServedCertificate } from "../tls/loaded_certificate.ts";
import type { Peer } from "../ws/app_types.ts";

/** A running service. Disposing of it stops it. */
export interface Service extends ServiceCalls, AsyncDisposable {
  /** The address that the service listens on, with the actual port. */
  readonly addr: Deno.Addr;
  /** The URL for clients, for example `wss://localhost:8282/`. For a unix socket, `ws+unix:PATH`. */
  readonly url: string;
  /** `direct`: the service terminates TLS. `proxied`: a proxy does. */
  readonly mode: { readonly kind: "direct" | "proxied" };
  /** The connection limit; undefined if the system does not report its own limit. */
  readonly maxConnections: number | undefined;
  /** The certificate in use; undefined in proxied mode. */
  readonly material: ServedCertificate | undefined;
  /** The kind of token that clients must present, for example `a JWT (HS256)`. Undefined if no token is required. */
  readonly requiredToken: string | undefined;
  /** The admin listener's address. Undefined without one, and in a worker, because the supervisor runs it. */
  readonly admin: { readonly addr: Deno.Addr; readonly url: string } | undefined;
  /** The id of this node. The ids of its peers end with it. */
  readonly nodeId: string;
  /** The peers that are connected to this node. */
  readonly peers: ReadonlySet<Peer>;
  /**
   * Reads the certificate, key and token files again and applies them together: if one is not usable, all stay as they
   * were. A new certificate closes no connection. The admin keys are reloaded, too, independently of the others. The
   * service also reloads by itself when files change, then the certificate and the token file independently. If that
   * fails, it tries again every minute.
   * @throws {StartError} if files are not usable. The message names all of them
   */
  reload(): Promise<void>;
  /**
   * Shares the address with a successor process (`takeover`) that `start` starts, then begins to stop. Connections that
   * were accepted before are still served here. Certificates are not replaced meanwhile.
   * @throws {StartError} if the system does not support this
   * @throws the error of `start`. The service then continues
   */
  handOver(start: () => Promise<void>): Promise<void>;
  /**
   * Stops accepting, lets connections finish within `drainTimeout`, and closes the rest with 1001. Idempotent.
   * Resolves when all connections have ended.
   */
  stop(): Promise<void>;
}
