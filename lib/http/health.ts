/**
 * `/healthz`: what a load balancer asks.
 * @module
 */

/** The path of the health check. */
export const HEALTH_PATH = "/healthz";

/**
 * 200 while the service takes connections, 503 while it drains.
 * @param peers how many are connected; undefined is not told: it is nobody's business on a public port
 */
export function healthResponse(draining: boolean, peers: number | undefined): Response {
  return Response.json({ status: draining ? "draining" : "ok", peers }, {
    status: draining ? 503 : 200,
    headers: { "cache-control": "no-store" },
  });
}
