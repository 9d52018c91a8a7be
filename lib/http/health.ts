/**
 * `/healthz`: what a load balancer asks.
 * @module
 */

/** The path of the health check. */
export const HEALTH_PATH = "/healthz";

/** 200 while the service takes connections, 503 while it drains; with how many peers are connected. */
export function healthResponse(draining: boolean, peers: number): Response {
  return Response.json({ status: draining ? "draining" : "ok", peers }, {
    status: draining ? 503 : 200,
    headers: { "cache-control": "no-store" },
  });
}
