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
import { CONNECTION_OPTIONS, parseConnectionOptions } from "./connection_options.ts";
import type { Command, Invocation } from "./command_type.ts";
import { write } from "./standard_streams.ts";
import { detectReportStyle } from "./terminal.ts";

/** The options of `check`. */
export const CHECK_OPTIONS = {
  for: {
    type: "choice",
    values: CLIENT_NAMES,
    help: "The client that must be able to connect. Its additional requirements are checked, too.",
  },
  json: { type: "switch", default: false, help: "Print one JSON object instead of the table." },
  timeout: {
    type: "duration",
    default: "10s",
    value: "TIME",
    min: 1,
    help: "The time limit for the whole check, without --hold.",
  },
  hold: {
    type: "duration",
    default: "0",
    value: "TIME",
    help: "Keep an idle connection open for this time, to find a proxy that closes it (try 90s); 0 skips this test.",
  },
  send: { type: "text", value: "TEXT", emptyAllowed: true, help: "Send this text message, and wait for a reply." },
  expect: { type: "text", value: "TEXT", emptyAllowed: true, help: "The exact text of the reply." },
  ...CONNECTION_OPTIONS,
  sni: {
    type: "text",
    value: "NAME",
    unset: "the URL's host",
    help: "The server name (SNI) to send, which the certificate must contain.",
  },
  connectTo: {
    type: "text",
    value: "HOST:PORT",
    unset: "the URL's host and port",
    help: "The address to connect to, for a test before DNS points to it.",
  },
} as const satisfies OptionTable;

/** The command. */
export const checkCommand: Command = {
  name: "check",
  usage: "URL",
  summary: "diagnoses a ws or wss endpoint of any server",
  details:
    "Tests each step of a connection in order: URL, DNS, TCP, TLS versions, certificate chain, upgrade, messages, ping, " +
    "close. Exit code: 0 without warnings and errors; 1 with a warning or an error; 2 for wrong usage, an unreachable " +
    "server, or a check that did not finish. lib/check/README.md explains each code in brackets, with cause and remedy.",
  examples: [
    ["wss check wss://domain.com/wss", "why can't my client connect?"],
    ["wss check wss://domain.com/wss --for wechat", "can a WeChat mini program connect?"],
    ["wss check wss://domain.com/wss --send tom --expect ok", "does the service answer?"],
    ["wss check wss://domain.com/wss --hold 90s", "does a proxy close idle connections?"],
    ["wss check wss://domain.com/wss --connect-to 192.0.2.7:443", "test a server before DNS points to it"],
    ["wss check wss://localhost:8282/ --ca certs/ca.pem", "check the development service"],
  ],
  options: CHECK_OPTIONS,
  run,
};

async function run(line: Invocation): Promise<number> {
  const [url, ...rest] = line.positionals;
  const problems = [...line.problems];
  if (url === undefined) problems.push("check requires a URL: check wss://domain.com/wss");
  if (rest.length > 0) problems.push(`check takes one URL, but also got ${rest.join(" ")}`);
  // This command does not read the variables and the configuration file of the service.
  const { settings } = loadSettings(CHECK_OPTIONS, { flags: line.flags }, problems);
  const { for: client, timeout, hold, send, expect, sni, json } = settings;
  const options: CheckOptions = {
    ...parseConnectionOptions(settings),
    url: url!,
    timeout,
    hold,
    ...client && { for: client },
    ...send !== undefined && { send },
    ...expect !== undefined && { expect },
    ...sni !== undefined && { sni },
    ...settings.connectTo !== undefined && { connectTo: parseEndpoint(settings.connectTo) },
  };
  const style = detectReportStyle("stdout");
  const report = await runCheck(
    options,
    json ? {} : { onObservation: (one) => write("stdout", `${formatObservation(one, style)}\n`) },
  );
  write("stdout", json ? `${formatJson(report)}\n` : `\n${formatVerdict(report, style)}\n`);
  return report.exit;
}

/** Parses `host:port`; an IPv6 address is in brackets. */
function parseEndpoint(text: string): { hostname: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port < 1 || port > 65_535) {
    throw new UsageError(`--connect-to: must be HOST:PORT (192.0.2.7:443, [2001:db8::7]:443), not "${text}"`);
  }
  return { hostname: (match[1] ?? match[2])!, port };
}
