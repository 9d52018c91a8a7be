/**
 * Describes why the module of an app cannot be imported.
 * @module
 */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import project from "../../deno.json" with { type: "json" };
import { messageOf, stackOf } from "../errors.ts";

/** Describes the reason, the line of the app that threw, and the remedy if Deno does not find a dependency. */
export function describeImportError(error: unknown, name: string): string {
  // Deno colours its messages even if the output is not a terminal.
  const reason = stripVTControlCharacters(messageOf(error));
  const advice = /not a dependency|not in import map/.test(reason) ? `\n${adviseOnDependencies(name)}` : "";
  return `${reason}${findErrorLine(error, reason)}${advice}`;
}

/** The line of the app that threw, unless the message already names one, as that of a syntax error does. */
function findErrorLine(thrown: unknown, message: string): string {
  const frame = /^ +at .*:\d+:\d+\)?$/m.exec(stripVTControlCharacters(stackOf(thrown)))?.[0];
  return frame === undefined || message.includes("\n    at ") ||
      frame.includes(new URL("load_app.ts", import.meta.url).href)
    ? ""
    : `\n${frame}`;
}

/**
 * Explains how an app imports the dependencies of its own deno.json or package.json. Deno reads only one configuration, by
 * default the one next to main.ts; with `links` the app's configuration can replace it.
 */
function adviseOnDependencies(name: string): string {
  if (Deno.build.standalone || !import.meta.url.startsWith("file:")) {
    return "A deno.json or package.json next to the app is not read here: use full specifiers (npm:NAME@VERSION, " +
      "jsr:@SCOPE/NAME@VERSION), or start wss from its sources.";
  }
  const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/[/\\]$/, "");
  // npm-lazy-caching is only for this project's own tests.
  const unstable = project.unstable.filter((feature) => feature !== "npm-lazy-caching");
  const config = JSON.stringify({ links: [root], nodeModulesDir: "auto", unstable });
  return [
    "A deno.json or package.json next to the app is read only with --config. Put this into the deno.json next to the app",
    `(create it if there is only a package.json): ${config}`,
    `Then start with: deno run -A --config deno.json ${resolve(root, "main.ts")} --app ${name}`,
  ].join("\n");
}
