/**
 * A service as its user sees it.
 * @module
 */
import type { ServiceCalls } from "../hub/service_calls.ts";
import type { ServedCertificate } from "../tls/tls_material.ts";
import type { Peer } from "../ws/app_types.ts";

/** A running service. Disposing of it stops it. */
export interface Service extends ServiceCalls, AsyncDisposable {
  /** Where it listens, with the real port. */
  readonly addr: Deno.Addr;
  /** What a client connects to: `wss://localhost:8282/`. For a unix socket, `ws+unix:PATH`. */
  readonly url: string;
  /** Who terminates TLS: the service itself, or a proxy in front. */
  readonly mode: { readonly kind: "direct" | "proxied" };
  /** How many connections it takes; undefined where the system does not say what it can carry. */
  readonly maxConnections: number | undefined;
  /** The certificate in use; undefined in proxied mode. */
  readonly material: ServedCertificate | undefined;
  /** What tokens clients need; undefined where none. */
  readonly needs: string | undefined;
  /** Where the admin listener is; undefined where there is none, and in a worker, whose supervisor has it. */
  readonly admin: { readonly addr: Deno.Addr; readonly url: string } | undefined;
  /** The id of this node, in which the ids of its peers end. */
  readonly nodeId: string;
  /** The peers that are connected to this node. */
  readonly peers: ReadonlySet<Peer>;
  /**
   * Reads certificate, key and token files again; the new ones serve from then on, and no connection ends for it. The
   * service does it by itself when the files change.
   * @throws {StartError} why the new files are not usable; the old ones go on serving
   */
  reload(): Promise<void>;
  /**
   * Lets a successor process open the same address (`takeover`) while `start` brings it up, then begins to stop; who was
   * accepted here before that is still served here. Certificates are not replaced meanwhile.
   * @throws {StartError} where the system cannot do that; and what `start` throws. The service then goes on.
   */
  handOver(start: () => Promise<void>): Promise<void>;
  /**
   * Stops accepting, lets connections finish within `drainTimeout`, closes the rest with 1001. Idempotent.
   * Resolves when all is ended.
   */
  stop(): Promise<void>;
}
