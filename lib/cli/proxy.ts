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
import { write } from "./output.ts";
import type { Command, Invocation } from "./command_type.ts";

/** The supported proxies. */
export const GENERATORS: readonly Generator[] = [nginx, apache, haproxy, caddy];

/**
 * The configuration for a command line, and the file to write it to.
 * @throws {UsageError} with everything that is missing or wrong
 */
export function proxyConfiguration(
  { flags, positionals, problems }: Invocation,
  variables: Readonly<Record<string, string>>,
): { readonly text: string; readonly out: string | undefined; readonly notes: readonly string[] } {
  const names = GENERATORS.map(({ name }) => name);
  const generator = GENERATORS.find(({ name }) => name === positionals[0]);
  const mistakes = [...problems];
  if (generator === undefined) {
    const asked = positionals[0];
    const guess = asked === undefined ? undefined : findNearestName(asked, names);
    mistakes.push(
      (asked === undefined ? "which proxy" : `there is no configuration for ${JSON.stringify(asked)}`) +
        `: it is one of ${names.join(", ")}${guess === undefined ? "" : `; did you mean ${guess}?`}`,
    );
  }
  if (positionals.length > 1) mistakes.push(`one proxy at a time: ${positionals.slice(1).join(" ")} is too many`);
  const { settings, given, notes } = loadWithFile(PROXY_OPTIONS, { flags, variables }, mistakes);
  const site = resolveSite(settings, given, generator!);
  return { text: generator!.render(site), out: settings.out, notes };
}

export const proxyCommand: Command = {
  name: "proxy",
  usage: "nginx|apache|haproxy|caddy",
  summary: "prints the proxy configuration that fits this service's own",
  details:
    "It reads the service's options from flags, variables and wss.json, so that path, address and timeouts fit.\n" +
    "With --domain, --cert and --key it prints the whole server; without them the location to paste into one that you have.",
  examples: [
    ["wss proxy nginx", "the location for an nginx that has your certificate"],
    [
      "wss proxy apache --domain ws.example.com --cert fullchain.pem --key key.pem --root /var/www/html",
      "a whole site, the website at /",
    ],
    ["wss proxy caddy --domain ws.example.com --unix /run/wss.sock", "Caddy gets the certificate"],
  ],
  options: PROXY_OPTIONS,
  async run(line: Invocation): Promise<number> {
    const { text, out, notes } = proxyConfiguration(line, readVariables());
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
