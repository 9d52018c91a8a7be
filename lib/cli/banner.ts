/**
 * What `serve` prints once it listens.
 * @module
 */
import type { LogFields } from "../log.ts";
import type { RunningService } from "../service/running_service.ts";
import { formatDuration, formatSize } from "../duration_and_size.ts";
import type { DevelopmentTlsMaterial } from "../tls/development_certificate.ts";
import { parseBroker } from "../hub/brokers/broker_url.ts";
import { PROGRAM } from "./help.ts";
import { howToTrustShortly } from "./trust_ca.ts";
import { VERSION } from "../version.ts";

/** For a person at a terminal. @param workers how many share the port; undefined: this process serves alone */
export function banner(service: RunningService, workers?: number): string {
  const { settings, mode, material, url, needs, nodeId } = service;
  const rows: [string, string][] = [
    ["address", url],
    ["paths", settings.path.join(" and ")],
    ["mode", modeText(service)],
  ];
  if (material) {
    rows.push(["certificate", `${material.file} for ${material.names.join(", ")} until ${day(material.notAfter)}`]);
  }
  rows.push(["app", settings.app]);
  if (workers !== undefined) rows.push(["workers", `${workers} processes on this port`]);
  if (settings.broker !== undefined) rows.push(["broker", `${parseBroker(settings.broker).shown}, as node ${nodeId}`]);
  if (needs) rows.push(["token", `${needs}, as Authorization: Bearer TOKEN or subprotocol bearer.TOKEN`]);
  rows.push(["limits", limitsText(service)]);
  const lines = [`${PROGRAM} ${VERSION}`, ...rows.map(([name, text]) => `  ${name.padEnd(12)}${text}`), ""];

  if (mode.kind === "direct") {
    const authority = authorityOf(service);
    const page = settings.page ?? authority !== undefined;
    if (page) lines.push(`try it      ${url.replace(/^wss/, "https")} in a browser`);
    if (authority) {
      lines.push(`or          deno eval --cert ${authority} '${tryScript(url)}'`);
      lines.push(`trust       ${howToTrustShortly(authority).replace(/^trust /, "")}`);
    }
  } else {
    lines.push(
      "next        a proxy in front must terminate TLS: clients connect to it with wss://, never to this port",
    );
  }
  lines.push("stop        Ctrl-C", "");
  return lines.join("\n") + "\n";
}

/** The same for a machine. */
export function bannerFields(service: RunningService, workers?: number): LogFields {
  const { settings, mode, material, url, needs, nodeId } = service;
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

function tryScript(url: string): string {
  return `const s = new WebSocket("${url}"); s.onopen = () => s.send("tom"); ` +
    `s.onmessage = (e) => { console.log(e.data); s.close(); }`;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
