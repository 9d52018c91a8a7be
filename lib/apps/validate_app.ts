/**
 * Validates an app at start, before the first client connects.
 * @module
 */
import { findNearestName } from "../config/nearest_name.ts";
import { messageOf, StartError } from "../errors.ts";
import type { ServiceCalls } from "../hub/service_calls.ts";
import type { AppFactory, ServiceApp } from "../ws/app_types.ts";
import { createFetchApp, type FetchHandler, WEBSOCKET_HOOKS } from "./fetch_handler_app.ts";

const HOOKS = ["upgrade", "open", "message", "close", "error", "drain", "gap"] as const;

/** Hooks of crossws that this service does not call. */
const NEVER_CALLED: readonly string[] = ["ping", "pong"];

/**
 * Validates an app: hooks, a function that returns them and gets the service's calls, a fetch handler (`{ fetch }`, as
 * exported by h3 and Nitro), or an object with hooks in `Symbol.for("crossws.hooks")`.
 * @param name the app's name in messages: `app`, or the module's path
 * @param warn called for a hook that is valid but has no effect
 * @returns the app; a function is called, and its result validated, when the service is created
 * @throws {StartError} if the app is invalid. The message says what is required
 */
export function checkApp(
  app: unknown,
  name: string,
  warn: (message: string) => void,
): ServiceApp | ((service: ServiceCalls) => ServiceApp) {
  const fetch = fetchOf(app);
  if (fetch !== undefined) return createFetchApp(fetch);
  if (typeof app === "function") {
    return (service) => checkHooks(callFactory(app as AppFactory, service, name), name, "its function returned", warn);
  }
  return checkHooks(app, name, "it is", warn);
}

/** Returns the fetch handler, unless the object also has hooks. */
function fetchOf(app: unknown): FetchHandler | undefined {
  if ((typeof app !== "object" && typeof app !== "function") || app === null) return undefined;
  const { fetch } = app as { fetch?: unknown };
  if (typeof fetch !== "function" || HOOKS.some((hook) => hook in app)) return undefined;
  return (request) => fetch.call(app, request);
}

function callFactory(factory: AppFactory, service: ServiceCalls, name: string): unknown {
  let made: unknown;
  try {
    made = factory(service);
  } catch (error) {
    throw new StartError(`Cannot use the app ${name}: its function threw: ${messageOf(error)}`, { cause: error });
  }
  if (!(made instanceof Promise) && !(made instanceof Response)) return made;
  if (made instanceof Promise) made.catch(() => {});
  throw new StartError(
    `Cannot use the app ${name}: a function must return hooks synchronously, but this one returned ` +
      `a ${made.constructor.name}; export a fetch handler as { fetch }`,
  );
}

/** @param found the beginning of the sentence that describes the app: `it is` or `its function returned` */
function checkHooks(app: unknown, name: string, found: string, warn: (message: string) => void): ServiceApp {
  const fail = (problem: string) => new StartError(`Cannot use the app ${name}: ${problem}`);
  if (typeof app !== "object" || app === null) {
    const what = app === undefined || app === null ? String(app) : `a ${typeof app}`;
    throw fail(`${found} ${what}; an object of hooks is required, as returned by defineApp({ … })`);
  }
  const carried = (app as Record<symbol, unknown>)[WEBSOCKET_HOOKS];
  if (typeof carried === "object" && carried !== null) return checkHooks(carried, name, found, warn);

  const hooks = app as Record<string, unknown>;
  for (const hook of HOOKS) {
    if (hooks[hook] !== undefined && typeof hooks[hook] !== "function") {
      throw fail(`its ${hook} must be a function, not a ${typeof hooks[hook]}`);
    }
  }
  for (const key of Object.keys(hooks)) {
    if (typeof hooks[key] !== "function" || (HOOKS as readonly string[]).includes(key)) continue;
    if (NEVER_CALLED.includes(key)) {
      warn(`the app's hook ${key} is never called: Deno answers pings itself and does not report them`);
      continue;
    }
    const meant = findNearestName(key, HOOKS);
    if (meant !== undefined && hooks[meant] === undefined) throw fail(`it has no hook ${key}: did you mean ${meant}?`);
  }
  if (!HOOKS.some((hook) => hooks[hook] !== undefined)) throw fail(`it has none of the hooks ${HOOKS.join(", ")}`);
  return app as ServiceApp;
}
