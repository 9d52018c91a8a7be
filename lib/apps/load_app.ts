/**
 * Loads the app that `--app` names: a built-in one, or a module of the user.
 * @module
 */
import { StartError } from "../errors.ts";
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
    module = await import(isUrl ? name : await fileUrl(name));
  } catch (error) {
    const { describeImportError } = await import("./describe_import_error.ts");
    throw new StartError(`Cannot load the app ${name}: ${describeImportError(error, name)}`, { cause: error });
  }
  if (module.default === undefined) {
    throw new StartError(
      `Cannot use the app ${name}: it has no default export; it must end in "export default defineApp({ … })"`,
    );
  }
  return checkApp(module.default, name, warn);
}

/** Only an app of the user needs these modules. They take 10 ms of a start (measured). */
async function fileUrl(path: string): Promise<string> {
  const [{ resolve }, { pathToFileURL }] = await Promise.all([import("node:path"), import("node:url")]);
  return pathToFileURL(resolve(path)).href;
}
