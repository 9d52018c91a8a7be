/**
 * Finding the app that `--app` names: one of ours, or a module of the user's.
 * @module
 */
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import project from "../../deno.json" with { type: "json" };
import { messageOf, StartError } from "../errors.ts";
import type { AppFactory, ServiceApp } from "../ws/app_types.ts";
import type { ServiceCalls } from "../hub/calls.ts";
import chat from "./chat.ts";
import echo from "./echo.ts";
import ok from "./reply_ok.ts";

/** The apps that come with the program. */
export const APPS: Readonly<Record<string, ServiceApp | AppFactory>> = { ok, echo, chat };

const HOOKS = ["upgrade", "open", "message", "close", "error", "drain", "gap"] as const;

/**
 * Loads an app by name, path or URL.
 * @throws {StartError} naming the module and what is wrong with it
 */
export async function loadApp(name: string): Promise<ServiceApp | AppFactory> {
  const known = Object.hasOwn(APPS, name) ? APPS[name] : undefined;
  if (known) return known;
  const isUrl = /^(https?|file|data|npm|jsr):/.test(name);
  if (!isUrl && !/[/\\.]/.test(name)) {
    throw new StartError(
      `Cannot load the app "${name}": it is none of ${
        Object.keys(APPS).join(", ")
      }; a module is given by its path (./${name}.ts)`,
    );
  }
  let module: { default?: unknown };
  try {
    module = await import(isUrl ? name : pathToFileURL(resolve(name)).href);
  } catch (error) {
    // Deno colours its messages even where nobody can see colours.
    const reason = stripVTControlCharacters(messageOf(error));
    const advice = /not a dependency|not in import map/.test(reason) ? `\n${dependencyAdvice(name)}` : "";
    throw new StartError(`Cannot load the app ${name}: ${reason}${advice}`, { cause: error });
  }
  const made = module.default;
  if (typeof made !== "function") return checkApp(made, name, "its default export");
  return (service) => checkApp(callFactory(made as AppFactory, service, name), name, "what its function returned");
}

/**
 * How an app imports what its own deno.json or package.json names. Deno takes one configuration for a program, the one
 * beside main.ts; `links` lets the app's configuration stand in for it.
 */
function dependencyAdvice(name: string): string {
  if (Deno.build.standalone || !import.meta.url.startsWith("file:")) {
    return "A deno.json or package.json beside the app is not read here: import by whole specifiers (npm:NAME@VERSION, " +
      "jsr:@SCOPE/NAME@VERSION), or start wss from its sources.";
  }
  const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/[/\\]$/, "");
  // npm-lazy-caching is for our own tests, and concerns the packages of deno.json.
  const unstable = project.unstable.filter((feature) => feature !== "npm-lazy-caching");
  const config = JSON.stringify({ links: [root], nodeModulesDir: "auto", unstable });
  return [
    "A deno.json or package.json beside the app is read only if Deno is told so. Put this into the deno.json beside the",
    `app (make one where there is only a package.json): ${config}`,
    `Then start with: deno run -A --config deno.json ${resolve(root, "main.ts")} --app ${name}`,
  ].join("\n");
}

function callFactory(factory: AppFactory, service: ServiceCalls, name: string): unknown {
  try {
    return factory(service);
  } catch (error) {
    throw new StartError(`Cannot use the app ${name}: its function threw: ${messageOf(error)}`, { cause: error });
  }
}

/** Holds what a module exports to the shape of an app. */
function checkApp(app: unknown, name: string, what: string): ServiceApp {
  if (typeof app !== "object" || app === null) {
    const found = app === undefined ? "it has no default export" : `${what} is a ${typeof app}`;
    throw new StartError(`Cannot use the app ${name}: ${found}; it must end in "export default defineApp({ … })"`);
  }
  const hooks = app as Record<string, unknown>;
  for (const hook of HOOKS) {
    if (hooks[hook] !== undefined && typeof hooks[hook] !== "function") {
      throw new StartError(
        `Cannot use the app ${name}: its ${hook} is a ${typeof hooks[hook]}, and must be a function`,
      );
    }
  }
  if (!HOOKS.some((hook) => hooks[hook] !== undefined)) {
    throw new StartError(`Cannot use the app ${name}: it has none of the hooks ${HOOKS.join(", ")}`);
  }
  return app as ServiceApp;
}
