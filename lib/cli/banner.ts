/**
 * The text and the log fields that `serve` prints when it listens.
 * @module
 */
import type { LogFields } from "../log.ts";
import type { RunningService } from "../service/running_service.ts";
import { formatDuration, formatSize } from "../duration_and_size.ts";
import type { DevelopmentTlsMaterial } from "../tls/development_certificate.ts";
import { parseBroker } from "../hub/brokers/broker_url.ts";
import { shellWord } from "../tls/shell_command.ts";
import { PROGRAM, programWords, shellLines, WIDTH, wrap } from "./help.ts";
import { colour } from "./output.ts";
import { VERSION } from "../version.ts";

// Colours of a terminal (ECMA-48, Select Graphic Rendition).
const [BOLD, DIM, CYAN] = ["1", "2", "36"] as const;

/**
 * The banner for a terminal. No line is longer than the terminal is wide (80 columns at most), unless a single word is.
 * @param workers the number of workers on the port; undefined if this process serves alone
 */
export function banner(service: RunningService, workers?: number): string {
  const { settings, mode, material, url, needs, nodeId, admin } = service;
  const lines = [colour(`${PROGRAM} ${VERSION}`, BOLD, "stdout")];
  const columns = Math.min(WIDTH, terminalColumns());
  function row(label: string, indent: number, texts: readonly string[], code?: string): void {
    lines.push(...texts.map((text, at) => {
      const shown = code === undefined ? text : colour(text, code, "stdout");
      return colour((at === 0 ? label : "").padEnd(indent), DIM, "stdout") + shown;
    }));
  }
  const fact = (label: string, text: string, code?: string) => row(`  ${label}`, 14, wrap(text, columns - 14), code);
  const hint = (label: string, text: string) => row(label, 12, wrap(text, columns - 12));
  const command = (label: string, ...words: string[]) =>
    row(label, 12, shellLines([...programWords(), ...words], columns - 12), CYAN);

  fact("address", url, CYAN);
  fact("paths", settings.path.join(" and "));
  fact("mode", modeText(service));
  if (material) {
    fact("certificate", `${material.file} for ${material.names.join(", ")} until ${day(material.notAfter)}`);
  }
  fact("app", settings.app);
  if (workers !== undefined) fact("workers", `${workers} processes on this port`);
  if (settings.broker !== undefined) fact("broker", `${parseBroker(settings.broker).shown}, as node ${nodeId}`);
  if (admin) fact("admin", `${admin.url}: POST /api/METHOD, /metrics, /healthz`);
  if (needs) fact("token", `${needs}, as Authorization: Bearer TOKEN or subprotocol bearer.TOKEN`);
  fact("limits", limitsText(service));
  lines.push("");

  const authority = authorityOf(service);
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

/** The width of the terminal; the usual one if it is not known. */
function terminalColumns(): number {
  return (Deno.stdout.isTerminal() ? Deno.consoleSize().columns : 0) || WIDTH;
}

/** The arguments with which `connect` reaches this service. An option and its value are one element. */
function connectWords({ url, settings, needs }: RunningService, authority: string | undefined): string[] {
  return [
    "connect",
    shellWord(url),
    ...(authority === undefined ? [] : [`--ca ${shellWord(authority)}`]),
    ...(settings.strictProxy ? ["-H 'X-Forwarded-Proto: https'"] : []),
    ...(needs ? ["-H 'Authorization: Bearer TOKEN'"] : []),
  ];
}

/** The same as fields for JSON logs. */
export function bannerFields(service: RunningService, workers?: number): LogFields {
  const { settings, mode, material, url, needs, nodeId, admin } = service;
  return {
    url,
    mode: mode.kind,
    app: settings.app,
    workers,
    paths: settings.path.join(" "),
    certificate: material?.file,
    names: material?.names.join(" "),
    notAfter: material?.notAfter.toISOString(),
    token: needs,
    broker: settings.broker === undefined ? undefined : parseBroker(settings.broker).shown,
    node: settings.broker === undefined ? undefined : nodeId,
    admin: admin?.url,
    version: VERSION,
  };
}

function modeText({ mode, settings }: RunningService): string {
  if (mode.kind === "direct") return "direct: TLS 1.2 and 1.3 end here";
  const trusted = mode.address.transport === "unix" ? "whoever may open the socket" : settings.trustedProxy.join(", ");
  return `proxied: plain ws here, TLS ends at the proxy in front; trusted: ${trusted}`;
}

function limitsText({ settings, maxConnections }: RunningService): string {
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

function authorityOf({ material }: RunningService): string | undefined {
  return material && "authorityFile" in material ? (material as DevelopmentTlsMaterial).authorityFile : undefined;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
