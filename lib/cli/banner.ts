/**
 * Formats and prints the banner and the log fields with which `serve` reports that it listens.
 * @module
 */
import type { Settings } from "../config/service_options.ts";
import type { LogFields, Logger } from "../log.ts";
import type { RunningService } from "../service/running_service.ts";
import { formatDuration, formatSize } from "../duration_and_size.ts";
import type { DevelopmentTlsMaterial } from "../tls/development_certificate.ts";
import { parseBroker } from "../hub/brokers/broker_url.ts";
import { shellWord } from "../tls/shell_command.ts";
import { PROGRAM, programWords, WIDTH, wrapShellCommand, wrapText } from "./help.ts";
import { colour, write } from "./standard_streams.ts";
import { VERSION } from "../version.ts";

// Colours of a terminal (ECMA-48, Select Graphic Rendition).
const [BOLD, DIM, CYAN] = ["1", "2", "36"] as const;

/**
 * Formats the banner for a terminal. Lines are wrapped to the terminal's width, 80 columns at most.
 * @param workers the number of workers on the port; undefined without a supervisor
 */
export function formatBanner(service: RunningService, workers?: number): string {
  const { settings, mode, material, url, requiredToken, nodeId, admin } = service;
  const lines = [colour(`${PROGRAM} ${VERSION}`, BOLD, "stdout")];
  const columns = Math.min(WIDTH, terminalColumns());
  function row(label: string, indent: number, texts: readonly string[], code?: string): void {
    lines.push(...texts.map((text, at) => {
      const shown = code === undefined ? text : colour(text, code, "stdout");
      return colour((at === 0 ? label : "").padEnd(indent), DIM, "stdout") + shown;
    }));
  }
  const fact = (label: string, text: string, code?: string) =>
    row(`  ${label}`, 14, wrapText(text, columns - 14), code);
  const hint = (label: string, text: string) => row(label, 12, wrapText(text, columns - 12));
  const command = (label: string, ...words: string[]) =>
    row(label, 12, wrapShellCommand([...programWords(), ...words], columns - 12), CYAN);

  fact("address", url, CYAN);
  fact("paths", settings.path.join(" and "));
  fact("mode", describeMode(service));
  if (material) {
    fact("certificate", `${material.file} for ${material.names.join(", ")} until ${formatDay(material.notAfter)}`);
  }
  fact("app", settings.app);
  if (workers !== undefined) fact("workers", `${workers} processes on this port`);
  if (settings.broker !== undefined) fact("broker", `${parseBroker(settings.broker).shown}, as node ${nodeId}`);
  if (admin) fact("admin", `${admin.url}: POST /api/METHOD, /metrics, /healthz`);
  if (requiredToken) fact("token", `${requiredToken}, as Authorization: Bearer TOKEN or subprotocol bearer.TOKEN`);
  fact("limits", describeLimits(service));
  lines.push("");

  const authority = findAuthorityFile(service);
  if (mode.kind === "direct" || mode.address.transport === "tcp") {
    command("try it", ...connectWords(service, authority));
  }
  if (mode.kind === "direct") {
    if (settings.page ?? authority !== undefined) hint("or", `${url.replace(/^wss/, "https")} in a browser`);
    if (authority) command("trust", "cert");
  } else {
    hint("next", "a proxy in front must terminate TLS: clients connect to it with wss://, never to this port");
    command("proxy", "proxy", "nginx");
  }
  hint("stop", "Ctrl-C");
  return lines.join("\n") + "\n\n";
}

/**
 * Reports that the service listens: with the banner on standard output if that is a terminal, otherwise in the log. A JSON
 * log always gets the event. `--log-format` overrides the terminal: text prints the banner, json does not.
 */
export function reportListening(
  { logFormat }: Pick<Settings, "logFormat">,
  log: Logger,
  { banner, fields }: { readonly banner: string; readonly fields: LogFields },
): void {
  const printsBanner = logFormat === undefined ? Deno.stdout.isTerminal() : logFormat === "text";
  if (printsBanner) write("stdout", banner);
  // With the banner, a text log would show the same facts twice on one screen.
  if (!printsBanner || (logFormat === undefined && !Deno.stderr.isTerminal())) log.info("listening", fields);
}

/** Returns the width of the terminal, or 80 if it is unknown. */
function terminalColumns(): number {
  return (Deno.stdout.isTerminal() ? Deno.consoleSize().columns : 0) || WIDTH;
}

/** Returns the arguments of a `connect` command for this service. An option and its value are one element. */
function connectWords({ url, settings, requiredToken }: RunningService, authority: string | undefined): string[] {
  return [
    "connect",
    shellWord(url),
    ...(authority === undefined ? [] : [`--ca ${shellWord(authority)}`]),
    ...(settings.strictProxy ? [`-H '${proofOfTls(settings.minTls)}'`] : []),
    ...(requiredToken ? ["-H 'Authorization: Bearer TOKEN'"] : []),
  ];
}

/** Returns a header with which `--strict-proxy` accepts a request. */
function proofOfTls(minTls: "1.2" | "1.3"): string {
  return minTls === "1.3" ? "X-SSL-Protocol: TLSv1.3" : "X-Forwarded-Proto: https";
}

/** Returns the content of the banner as fields for a JSON log. */
export function createBannerFields(service: RunningService, workers?: number): LogFields {
  const { settings, mode, material, url, requiredToken, nodeId, admin } = service;
  return {
    url,
    mode: mode.kind,
    app: settings.app,
    workers,
    paths: settings.path.join(" "),
    certificate: material?.file,
    names: material?.names.join(" "),
    notAfter: material?.notAfter.toISOString(),
    token: requiredToken,
    broker: settings.broker === undefined ? undefined : parseBroker(settings.broker).shown,
    node: settings.broker === undefined ? undefined : nodeId,
    admin: admin?.url,
    version: VERSION,
  };
}

function describeMode({ mode, settings }: RunningService): string {
  if (mode.kind === "direct") return "direct: this service terminates TLS 1.2 and 1.3";
  const trusted = mode.address.transport === "unix" ? "all clients of the socket" : settings.trustedProxy.join(", ");
  return `proxied: plain ws; the proxy in front terminates TLS; trusted: ${trusted}`;
}

function describeLimits({ settings, maxConnections }: RunningService): string {
  const limits = [
    `messages of ${formatSize(settings.maxPayload)}`,
    `${formatSize(settings.maxBackpressure)} unsent per peer`,
    settings.idleTimeout === 0 ? "no idle timeout" : `idle ${formatDuration(settings.idleTimeout)}`,
  ];
  if (maxConnections !== undefined) limits.push(`${maxConnections} connections`);
  if (settings.maxConnectionsPerAddress > 0) limits.push(`${settings.maxConnectionsPerAddress} per address`);
  if (settings.maxConnectionsPerUser > 0) limits.push(`${settings.maxConnectionsPerUser} per user`);
  if (settings.messageRate > 0) limits.push(`${settings.messageRate} messages/s`);
  return limits.join(", ");
}

function findAuthorityFile({ material }: RunningService): string | undefined {
  return material && "authorityFile" in material ? (material as DevelopmentTlsMaterial).authorityFile : undefined;
}

function formatDay(date: Date): string {
  return date.toISOString().slice(0, 10);
}
