/**
 * The command `proxy`: prints a proxy configuration that matches the service's configuration.
 * @module
 */
import { messageOf, StartError } from "../errors.ts";
import { loadWithFile, readVariables } from "../config/load_settings.ts";
import { findNearestName } from "../config/nearest_name.ts";
import { apache } from "../proxy/apache.ts";
import { caddy } from "../proxy/caddy.ts";
import { haproxy } from "../proxy/haproxy.ts";
import { nginx } from "../proxy/nginx.ts";
import { PROXY_OPTIONS } from "../proxy/proxy_options.ts";
import { resolveSite } from "../proxy/resolve_site.ts";
import type { Generator } from "../proxy/site_description.ts";
import { PROGRAM } from "./help.ts";
import { write } from "./standard_streams.ts";
import type { Command, Invocation } from "./command_type.ts";

/** The supported proxies. */
export const GENERATORS: readonly Generator[] = [nginx, apache, haproxy, caddy];

/**
 * Generates the configuration for a command line. `out` is the file to write it to.
 * @throws {UsageError} with all problems
 */
export function generateProxyConfiguration(
  { flags, positionals, problems }: Invocation,
  variables: Readonly<Record<string, string>>,
): { readonly text: string; readonly out: string | undefined; readonly notes: readonly string[] } {
  const names = GENERATORS.map(({ name }) => name);
  const generator = GENERATORS.find(({ name }) => name === positionals[0]);
  const allProblems = [...problems];
  if (generator === undefined) {
    const name = positionals[0];
    const guess = name === undefined ? undefined : findNearestName(name, names);
    allProblems.push(
      (name === undefined ? "a proxy is required" : `unknown proxy ${JSON.stringify(name)}`) +
        `: choose one of ${names.join(", ")}${guess === undefined ? "" : `; did you mean ${guess}?`}`,
    );
  }
  if (positionals.length > 1) allProblems.push(`proxy takes one name, but also got ${positionals.slice(1).join(" ")}`);
  const { settings, given, notes } = loadWithFile(PROXY_OPTIONS, { flags, variables }, allProblems);
  const site = resolveSite(settings, given, generator!);
  return { text: generator!.render(site), out: settings.out, notes };
}

export const proxyCommand: Command = {
  name: "proxy",
  usage: "nginx|apache|haproxy|caddy",
  summary: "prints the configuration of a proxy for this service",
  details:
    "It reads the service's options from flags, variables and wss.json, so that paths, address and timeouts match.\n" +
    "With --domain, --cert and --key it prints a whole server. Without them it prints a location for your own server.",
  examples: [
    ["wss proxy nginx", "the location for an nginx server that has your certificate"],
    [
      "wss proxy apache --domain ws.example.com --cert fullchain.pem --key key.pem --root /var/www/html",
      "a whole server with a website at /",
    ],
    ["wss proxy caddy --domain ws.example.com --unix /run/wss.sock", "a whole server; Caddy obtains the certificate"],
  ],
  options: PROXY_OPTIONS,
  async run(line: Invocation): Promise<number> {
    const { text, out, notes } = generateProxyConfiguration(line, readVariables(PROXY_OPTIONS));
    for (const note of notes) write("stderr", `${PROGRAM}: ${note}\n`);
    if (out === undefined) {
      write("stdout", text);
      return 0;
    }
    try {
      await Deno.writeTextFile(out, text);
    } catch (error) {
      throw new StartError(`Cannot write ${out}: ${messageOf(error)}`);
    }
    return 0;
  },
};
