/**
 * Loads the app that `--app` names: a built-in one, or a module of the user.
 * @module
 */
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import project from "../../deno.json" with { type: "json" };
import { messageOf, stackOf, StartError } from "../errors.ts";
import type { AppFactory, ServiceApp } from "../ws/app_types.ts";
import chat from "./chat.ts";
import { checkApp } from "./validate_app.ts";
import echo from "./echo.ts";
import ok from "./reply_ok.ts";

/** The built-in apps. */
export const APPS: Readonly<Record<string, ServiceApp | AppFactory>> = { ok, echo, chat };

/**
 * Loads an app by name, path or URL.
 * @param warn called for an export that is valid but has no effect
 * @throws {StartError} if the module is not a valid app; the message names the module and the problem
 */
export async function loadApp(name: string, warn: (message: string) => void): Promise<ServiceApp | AppFactory> {
  const known = Object.hasOwn(APPS, name) ? APPS[name] : undefined;
  if (known) return known;
  const isUrl = /^(https?|file|data|npm|jsr):/.test(name);
  if (!isUrl && !/[/\\.]/.test(name)) {
    throw new StartError(
      `Cannot load the app "${name}": it is none of ${
        Object.keys(APPS).join(", ")
      }; to load a module, pass its path (./${name}.ts)`,
    );
  }
  let module: { default?: unknown };
  try {
    module = await import(isUrl ? name : pathToFileURL(resolve(name)).href);
  } catch (error) {
    // Deno colours its messages even if the output is not a terminal.
    const reason = stripVTControlCharacters(messageOf(error));
    const advice = /not a dependency|not in import map/.test(reason) ? `\n${dependencyAdvice(name)}` : "";
    throw new StartError(`Cannot load the app ${name}: ${reason}${findErrorLine(error, reason)}${advice}`, {
      cause: error,
    });
  }
  if (module.default === undefined) {
    throw new StartError(
      `Cannot use the app ${name}: it has no default export; it must end in "export default defineApp({ … })"`,
    );
  }
  return checkApp(module.default, name, warn);
}

/** The line of the app that threw, unless the message already names one, as that of a syntax error does. */
function findErrorLine(thrown: unknown, message: string): string {
  const frame = /^ +at .*:\d+:\d+\)?$/m.exec(stripVTControlCharacters(stackOf(thrown)))?.[0];
  return frame === undefined || message.includes("\n    at ") || frame.includes(import.meta.url) ? "" : `\n${frame}`;
}

/**
 * Explains how an app imports the dependencies of its own deno.json or package.json. Deno reads only one configuration, by
 * default the one next to main.ts; with `links` the app's configuration can replace it.
 */
function dependencyAdvice(name: string): string {
  if (Deno.build.standalone || !import.meta.url.startsWith("file:")) {
    return "A deno.json or package.json next to the app is not read here: use full specifiers (npm:NAME@VERSION, " +
      "jsr:@SCOPE/NAME@VERSION), or start wss from its sources.";
  }
  const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/[/\\]$/, "");
  // npm-lazy-caching is for our own tests, and concerns the packages of deno.json.
  const unstable = project.unstable.filter((feature) => feature !== "npm-lazy-caching");
  const config = JSON.stringify({ links: [root], nodeModulesDir: "auto", unstable });
  return [
    "A deno.json or package.json next to the app is read only with --config. Put this into the deno.json next to the app",
    `(create it if there is only a package.json): ${config}`,
    `Then start with: deno run -A --config deno.json ${resolve(root, "main.ts")} --app ${name}`,
  ].join("\n");
}
