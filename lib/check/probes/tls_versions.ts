/**
 * Finds out which TLS versions a server offers. Each version is tested with a separate ClientHello.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import { type HelloOptions, SUITES_MODERN, SUITES_RC4, type Version, VERSIONS } from "./client_hello.ts";
import { finding } from "../finding_codes.ts";
import { within } from "../../client/deadline.ts";
import { throwIfLocal } from "./local_failure.ts";
import { alertName, sendClientHello, type ServerReply } from "./server_hello.ts";
import { sniName } from "./port_protocol.ts";
import type { Target } from "../probe_target.ts";

const DEADLINE = 4000;

/** The versions that the server offers. */
export interface OfferedVersions {
  readonly findings: readonly Finding[];
  /** From the oldest to the newest. */
  readonly offered: readonly Version[];
  /** Whether the server requests a client certificate; false if only TLS 1.3 is offered, which encrypts the request. */
  readonly requestsClientCertificate: boolean;
}

/**
 * Tests all versions in parallel, then weak cipher suites of the versions that are offered.
 * @throws {DeadlineError} if the signal aborts: a version that was not tested in time must not be reported as missing
 * @throws {LocalFailure} if this machine cannot connect
 */
export async function probeVersions(target: Target, signal: AbortSignal): Promise<OfferedVersions> {
  const test = (options: HelloOptions) => sendHello(target, options, signal);
  const names = Object.keys(VERSIONS) as Version[];
  const replies = await Promise.all(names.map((version) => test({ version })));
  const offered = names.filter((version, at) => agreesOn(replies[at], version));
  const has = (version: Version) => offered.includes(version);

  const old = offered.filter((version) => version !== "TLS 1.3").at(-1);
  const [modern, rc4] = await Promise.all([
    has("TLS 1.2") ? test({ version: "TLS 1.2", suites: SUITES_MODERN }) : undefined,
    old === undefined ? undefined : test({ version: old, suites: SUITES_RC4 }),
  ]);
  signal.throwIfAborted();
  const suites = { modern: agreesOn(modern, "TLS 1.2"), rc4: old !== undefined && agreesOn(rc4, old) };
  const requestsClientCertificate = replies.some((reply) => reply?.kind === "hello" && reply.requestsClientCertificate);
  const findings = inspectVersions(offered, suites, replies);
  if (requestsClientCertificate) {
    findings.push(finding(
      "client-certificate-asked",
      "note",
      "The server requests a client certificate: browsers may show a dialog, or send none.",
    ));
  }
  return { findings, offered, requestsClientCertificate };
}

async function sendHello(target: Target, options: HelloOptions, outer: AbortSignal): Promise<ServerReply | undefined> {
  try {
    return await within(DEADLINE, outer, (signal) => {
      const serverName = sniName(target);
      const named = serverName === undefined ? options : { ...options, serverName };
      return sendClientHello(target.endpoint, { ...named, certificates: true }, signal);
    });
  } catch (error) {
    throwIfLocal(error);
    // The server dropped, reset or ignored the connection: it does not offer the version.
    return undefined;
  }
}

function agreesOn(reply: ServerReply | undefined, version: Version): boolean {
  return reply?.kind === "hello" && reply.version === version;
}

/** Reports old versions, missing versions and weak suites. */
function inspectVersions(
  offered: readonly Version[],
  { modern, rc4 }: { readonly modern: boolean; readonly rc4: boolean },
  replies: readonly (ServerReply | undefined)[],
): Finding[] {
  if (offered.length === 0) return [explainNoVersion(replies)];
  const has = (version: Version) => offered.includes(version);
  const list = offered.join(", ");
  const findings: Finding[] = [];
  const hasCurrent = has("TLS 1.2") || has("TLS 1.3");
  if (!hasCurrent) {
    findings.push(finding(
      "tls-too-old",
      "error",
      `Only ${list} ${offered.length === 1 ? "is" : "are"} offered, which current clients refuse.`,
      "Turn on TLS 1.2 and 1.3, and turn off older versions (nginx: ssl_protocols TLSv1.2 TLSv1.3;).",
    ));
  }
  const deprecated = offered.filter((version) => version === "TLS 1.0" || version === "TLS 1.1");
  if (hasCurrent && deprecated.length > 0) {
    findings.push(finding(
      "tls-old-offered",
      "warning",
      `${deprecated.join(" and ")} ${deprecated.length === 1 ? "is" : "are"} still offered (RFC 8996 forbids that).`,
      "Turn them off (nginx: ssl_protocols TLSv1.2 TLSv1.3; Apache: SSLProtocol -all +TLSv1.2 +TLSv1.3).",
    ));
  }
  if (has("SSLv3")) {
    findings.push(finding(
      "ssl3-offered",
      "warning",
      "SSLv3 is still offered: an attacker can decrypt its traffic (POODLE, RFC 7568).",
      "Turn it off, and check whether the TLS library is outdated.",
    ));
  }
  if (rc4) {
    findings.push(finding(
      "rc4-offered",
      "warning",
      "RC4 cipher suites are still offered (RFC 7465 forbids them).",
      "Remove RC4 from the cipher list (nginx: ssl_ciphers, Apache: SSLCipherSuite).",
    ));
  }
  if (has("TLS 1.2") && !modern) {
    findings.push(finding(
      "suites-old",
      "warning",
      "TLS 1.2 is offered without any ECDHE suite with AES-GCM or ChaCha20. Deno, Go and others refuse other suites.",
      "Add the ECDHE-ECDSA and ECDHE-RSA suites with AES-GCM to the cipher list.",
    ));
  }
  if (hasCurrent && !has("TLS 1.3")) {
    findings.push(finding("tls13-missing", "note", `${list}; TLS 1.3 is not offered.`));
  }
  if (!has("TLS 1.2") && has("TLS 1.3")) {
    findings.push(
      finding("tls12-missing", "note", "Only TLS 1.3 is offered: devices from before 2019 cannot connect."),
    );
  }
  return findings.length > 0 ? findings : [finding("tls-ok", "ok", list)];
}

function explainNoVersion(replies: readonly (ServerReply | undefined)[]): Finding {
  const alerts = replies.flatMap((reply) => reply?.kind === "alert" ? [alertName(reply.description)] : []);
  if (alerts.includes("unrecognized_name")) {
    return finding(
      "tls-name-refused",
      "error",
      "The server refuses the TLS handshake for this server name (unrecognized_name).",
      "Use the name that the server is configured for, or give it with --sni.",
    );
  }
  const detail = alerts.length === 0 ? "no answer" : [...new Set(alerts)].join(", ");
  return finding(
    "tls-none",
    "error",
    `The handshake fails with every version from SSLv3 to TLS 1.3 (${detail}).`,
    "Check whether the server has a certificate for this name. If not, use a name that it has one for, or give it with " +
      "--sni. Otherwise check the server's error log: its certificate, its key or its cipher list may be invalid.",
  );
}
