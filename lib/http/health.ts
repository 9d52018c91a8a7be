/**
 * `/healthz`, the health check for load balancers.
 * @module
 */

/** The path of the health check. */
export const HEALTH_PATH = "/healthz";

/**
 * Returns 200 while the service accepts connections, and 503 while it drains.
 * @param peers the number of connected peers; undefined omits it, for clients that are not of this machine
 */
export function healthResponse(draining: boolean, peers: number | undefined): Response {
  return Response.json({ status: draining ? "draining" : "ok", peers }, {
    status: draining ? 503 : 200,
    headers: { "cache-control": "no-store" },
  });
}
