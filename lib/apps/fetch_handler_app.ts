/**
 * An app that is a fetch handler, as h3 2 and Nitro export it. It answers an upgrade request with the hooks of the route,
 * in a property of the response (`crossws`) or of the request (`Symbol.for("crossws.hooks")`).
 * @module
 */
import type { Peer, ServiceApp, UpgradeRequest, UpgradeResult } from "../ws/app_types.ts";

/** A fetch handler. */
export type FetchHandler = (request: Request) => unknown;

type Hooks = Partial<Omit<ServiceApp, "gap">>;

/** The property in which crossws looks for the hooks of a request. */
export const WEBSOCKET_HOOKS: symbol = Symbol.for("crossws.hooks");

/** The key of a peer's hooks in its context. A symbol, so that apps do not see or send it. */
const RESOLVED = Symbol("hooks");

/** Creates an app from a fetch handler. The handler is called once per connection and selects the hooks of the route. */
export function createFetchApp(fetch: FetchHandler): ServiceApp {
  return {
    async upgrade(request) {
      const { hooks, refusal } = findHooks(await fetch(request), request);
      if (hooks === undefined) return refusal;
      const result = await hooks.upgrade?.(request) ?? {};
      if (result instanceof Response) return result;
      return { ...result, context: { ...result.context, [RESOLVED]: hooks } } as UpgradeResult;
    },
    open: (peer) => hooksOf(peer).open?.(peer),
    message: (peer, message) => hooksOf(peer).message?.(peer, message),
    close: (peer, details) => hooksOf(peer).close?.(peer, details),
    error: (peer, error) => hooksOf(peer).error?.(peer, error),
    drain: (peer) => hooksOf(peer).drain?.(peer),
  };
}

function hooksOf(peer: Peer): Hooks {
  return (peer.context as { [RESOLVED]?: Hooks })[RESOLVED] ?? {};
}

interface FoundHooks {
  readonly hooks?: Hooks;
  readonly refusal: Response;
}

function findHooks(answer: unknown, request: UpgradeRequest): FoundHooks {
  const { crossws } = (answer ?? {}) as { crossws?: Hooks };
  const { context } = request as { context?: Record<symbol, unknown> };
  const requested = (request as unknown as Record<symbol, unknown>)[WEBSOCKET_HOOKS] ?? context?.[WEBSOCKET_HOOKS];
  if (context !== undefined) delete context[WEBSOCKET_HOOKS];
  const hooks = crossws ?? requested as Hooks | undefined;
  if (!(answer instanceof Response)) return { ...(hooks && { hooks }), refusal: notFound() };
  // h3 returns 426 together with the hooks. Any other error status is a refusal.
  if (hooks === undefined || (crossws === undefined && !answer.ok && answer.status !== 426)) {
    if (!answer.ok) return { refusal: answer };
    answer.body?.cancel().catch(() => {});
    return { refusal: notFound() };
  }
  answer.body?.cancel().catch(() => {});
  return { hooks, refusal: answer };
}

function notFound(): Response {
  return new Response("404 Not Found\nThe app has no WebSocket endpoint at this path.\n", {
    status: 404,
    headers: { "content-type": "text/plain; charset=utf-8" },
  });
}
