/**
 * `check`: diagnoses why a client cannot connect to a ws or wss endpoint, of this or any other server.
 * @module
 */
import { runCheck } from "../check/run_check.ts";
import { formatJson, formatObservation, formatVerdict } from "../check/report.ts";
import { type CheckOptions, CLIENT_NAMES } from "../check/check_options.ts";
import { loadSettings } from "../config/load_settings.ts";
import type { OptionTable } from "../config/option_table.ts";
import { UsageError } from "../errors.ts";
import { CLIENT_OPTIONS, clientOptions } from "./tls_client_options.ts";
import type { Command, Invocation } from "./command_type.ts";
import { write } from "./output.ts";
import { reportStyle } from "./terminal.ts";

/** The options of `check`. */
export const CHECK_OPTIONS = {
  for: {
    type: "choice",
    values: CLIENT_NAMES,
    help: "The client that has to get through: what it needs on top is checked too.",
  },
  json: { type: "switch", default: false, help: "Print one JSON object in place of the table." },
  timeout: {
    type: "duration",
    default: "10s",
    value: "TIME",
    min: 1,
    help: "Limit for the whole check, apart from --hold.",
  },
  hold: {
    type: "duration",
    default: "0",
    value: "TIME",
    help: "Hold a quiet connection so long, to find a proxy that cuts it (try 90s); 0 does not.",
  },
  send: { type: "text", value: "TEXT", emptyAllowed: true, help: "Send this as a message, and wait for one." },
  expect: { type: "text", value: "TEXT", emptyAllowed: true, help: "The message that has to come, exactly." },
  ...CLIENT_OPTIONS,
  sni: {
    type: "text",
    value: "NAME",
    unset: "the URL's host",
    help: "The server name to send, and to look for in the certificate.",
  },
  connectTo: {
    type: "text",
    value: "HOST:PORT",
    unset: "the URL's host and port",
    help: "Where to connect: tests a server before DNS points to it.",
  },
} as const satisfies OptionTable;

/** The command. */
export const checkCommand: Command = {
  name: "check",
  usage: "URL",
  summary: "diagnoses a ws or wss endpoint, ours or anybody's",
  details:
    "Goes through everything in the order in which a connection happens: URL, DNS, TCP, TLS versions, certificate " +
    "chain, upgrade, messages, ping, close. Exit code: 0 sound, 1 a warning or an error, 2 misused, unreachable, or a " +
    "check that did not finish. Every code in brackets stands in lib/check/README.md, with cause and remedy.",
  examples: [
    ["wss check wss://domain.com/wss", "why can't my client connect?"],
    ["wss check wss://domain.com/wss --for wechat", "and a WeChat mini program?"],
    ["wss check wss://domain.com/wss --send tom --expect ok", "does the service answer?"],
    ["wss check wss://domain.com/wss --hold 90s", "does a proxy cut quiet connections?"],
    ["wss check wss://domain.com/wss --connect-to 192.0.2.7:443", "before DNS points there"],
    ["wss check wss://localhost:8282/ --ca certs/ca.pem", "the development service"],
  ],
  options: CHECK_OPTIONS,
  run,
};

async function run(line: Invocation): Promise<number> {
  const [url, ...rest] = line.positionals;
  const problems = [...line.problems];
  if (url === undefined) problems.push("check needs a URL: check wss://domain.com/wss");
  if (rest.length > 0) problems.push(`check takes one URL, and was given ${rest.join(" ")} too`);
  // This command does not read the service's variables and file.
  const { settings } = loadSettings(CHECK_OPTIONS, { flags: line.flags }, problems);
  const { for: client, timeout, hold, send, expect, sni, json } = settings;
  const options: CheckOptions = {
    ...clientOptions(settings),
    url: url!,
    timeout,
    hold,
    ...client && { for: client },
    ...send !== undefined && { send },
    ...expect !== undefined && { expect },
    ...sni !== undefined && { sni },
    ...settings.connectTo !== undefined && { connectTo: readEndpoint(settings.connectTo) },
  };
  const style = reportStyle("stdout");
  const report = await runCheck(
    options,
    json ? {} : { onObservation: (one) => write("stdout", `${formatObservation(one, style)}\n`) },
  );
  write("stdout", json ? `${formatJson(report)}\n` : `\n${formatVerdict(report, style)}\n`);
  return report.exit;
}

/** `host:port`, with an IPv6 address in brackets. */
function readEndpoint(text: string): { hostname: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port < 1 || port > 65_535) {
    throw new UsageError(`--connect-to: it is HOST:PORT (192.0.2.7:443, [2001:db8::7]:443), not "${text}"`);
  }
  return { hostname: (match[1] ?? match[2])!, port };
}
