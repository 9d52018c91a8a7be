/**
 * The upgrade: 101 with everything right, or what the answer means.
 * @module
 */
import type { Finding } from "../../finding.ts";
import { messageOf } from "../../errors.ts";
import { finding } from "../finding_codes.ts";
import { connectTcp, connectTls, type RawConnection, type TlsOptions } from "../../client/raw_connection.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
import { quote } from "../quote_response.ts";
import { certificateWanted, explainStatus, tlsOnBothHops, wantsCertificate } from "./http_status.ts";
import { type Target, tlsOptions } from "../check_target.ts";
import {
  acceptFor,
  type Head,
  latin1Text,
  newKey,
  readBody,
  readHead,
  writeUpgrade,
} from "../../client/handshake_request.ts";

/** An answer that takes longer is worth a word, in milliseconds. */
const SLOW = 3000;

/** How long a refusal's body is waited for, in milliseconds. */
const BODY_WAIT = 500;

/** What the upgrade came to. The caller closes the connection. */
export interface Upgraded {
  readonly findings: readonly Finding[];
  /** Open, and upgraded so far that frames can be read. */
  readonly connection?: RawConnection;
  /** What came behind the head. */
  readonly rest: Uint8Array;
  readonly subprotocol?: string;
}

const NOTHING = new Uint8Array(0);

/**
 * Connects and asks for the upgrade.
 * @param tls what the connection is to do beyond sending the target's name; by default no certificate is judged
 */
export async function probeUpgrade(target: Target, tls: TlsOptions, signal: AbortSignal): Promise<Upgraded> {
  let connection: RawConnection | undefined;
  const start = performance.now();
  try {
    connection = target.secure
      ? await connectTls(target.endpoint, { ...tlsOptions(target), ...tls }, signal)
      : await connectTcp(target.endpoint, signal);
    const asked = performance.now();
    const key = newKey();
    await connection.write(writeUpgrade(target, key), signal);
    const head = await readHead(connection, signal);
    const ms = Math.round(performance.now() - asked);
    if ("kind" in head) return await failed(connection, noHead(connection, head));
    if (head.status !== 101) {
      const body = await within(BODY_WAIT, signal, (wait) => readBody(connection!, head, wait)).catch(() => "");
      return await failed(connection, explainStatus(target, head, body));
    }
    const { findings, subprotocol } = await judge101(target, head, key);
    if (findings.length === 0) findings.push(finding("upgrade-ok", "ok", `101 in ${ms} ms`));
    if (ms > SLOW) {
      findings.push(finding(
        "upgrade-slow",
        "warning",
        `The upgrade was answered after ${(ms / 1000).toFixed(1)} s: clients with a shorter patience give up.`,
        "See what the service does before it answers, and how busy it is.",
      ));
    }
    return { findings, connection, rest: head.rest, ...subprotocol && { subprotocol } };
  } catch (error) {
    await connection?.close();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    return { findings: [noAnswer(error, seconds)], rest: NOTHING };
  }
}

async function failed(connection: RawConnection, found: Finding): Promise<Upgraded> {
  await connection.close();
  return { findings: [found], rest: NOTHING };
}

function noAnswer(error: unknown, seconds: string): Finding {
  if (error instanceof DeadlineError) {
    return finding(
      "upgrade-timeout",
      "error",
      `The upgrade request was not answered within ${seconds} s.`,
      "See whether the service, or the one behind the proxy, hangs; --timeout waits longer.",
    );
  }
  if (wantsCertificate(messageOf(error))) return certificateWanted(messageOf(error));
  return finding(
    "upgrade-cut",
    "error",
    `The connection ended before the upgrade was answered (${messageOf(error)}).`,
    "See the service's log at this time.",
  );
}

function noHead(connection: RawConnection, { kind, bytes }: { kind: "cut" | "garbage"; bytes: Uint8Array }): Finding {
  const detail = connection.error === undefined ? "" : ` (${connection.error.message})`;
  if (wantsCertificate(detail)) return certificateWanted(connection.error?.message ?? "");
  if (kind === "cut") {
    return finding(
      "upgrade-cut",
      "error",
      `The connection was closed in place of an answer to the upgrade request${detail}.`,
      "See the service's log at this time; a firewall for the web does this too.",
    );
  }
  // What nginx makes of the TLS alert of the service behind it: it passes the bytes on as an answer of HTTP/0.9.
  if (bytes[0] === 21 && bytes[1] === 3) return tlsOnBothHops("The answer to the upgrade request is a TLS alert.");
  return finding(
    "upgrade-garbage",
    "error",
    `The answer to the upgrade request is not HTTP: ${quote(latin1Text(bytes.subarray(0, 60)))}.`,
    "Use the port and path on which the WebSocket service or its proxy listens.",
  );
}

/** What RFC 6455 §4.1 has a client check in a 101. */
async function judge101(
  target: Target,
  head: Head,
  key: string,
): Promise<{ findings: Finding[]; subprotocol?: string }> {
  const all = (name: string) => head.headers.get(name) ?? [];
  const tokens = (name: string) => all(name).flatMap((value) => value.split(",")).map((token) => token.trim());
  const wrong: string[] = [];
  if (head.version !== "HTTP/1.1") wrong.push(`it is ${head.version}, not HTTP/1.1`);
  if (!tokens("upgrade").some((token) => token.toLowerCase() === "websocket")) {
    wrong.push("Upgrade: websocket is missing");
  }
  if (!tokens("connection").some((token) => token.toLowerCase() === "upgrade")) {
    wrong.push("Connection: Upgrade is missing");
  }
  const accept = all("sec-websocket-accept");
  if (accept.length !== 1) wrong.push(`Sec-WebSocket-Accept is there ${accept.length} times`);
  else if (accept[0] !== await acceptFor(key)) wrong.push("Sec-WebSocket-Accept does not answer the key that was sent");

  const findings: Finding[] = [];
  if (wrong.length > 0) {
    findings.push(finding(
      "upgrade-answer-wrong",
      "error",
      `The answer is 101 with what a client has to refuse: ${wrong.join("; ")}.`,
      "Let a WebSocket library answer the handshake, and no cache or proxy change it.",
    ));
  }
  const extensions = tokens("sec-websocket-extensions").filter((token) => token !== "");
  const offered = target.options.headers?.some(([name]) => name.toLowerCase() === "sec-websocket-extensions");
  if (extensions.length > 0 && !offered) {
    findings.push(finding(
      "extension-unasked",
      "error",
      `The server chose the extension ${quote(extensions.join(", "))} that was not offered: clients must fail.`,
      "Let the server choose only extensions that the client offers; see whether a proxy keeps an old answer.",
    ));
  }
  return judgeSubprotocol(target, all("sec-websocket-protocol"), findings);
}

function judgeSubprotocol(
  target: Target,
  chosen: readonly string[],
  findings: Finding[],
): { findings: Finding[]; subprotocol?: string } {
  const offered = target.options.subprotocols ?? [];
  const [subprotocol] = chosen;
  if (subprotocol === undefined) {
    if (offered.length > 0) {
      findings.push(finding(
        "subprotocol-missing",
        "warning",
        `${offered.join(", ")} was offered as subprotocol and the server chose none: browsers then fail.`,
        "Let the server choose one of those offered, or offer none.",
      ));
    }
    return { findings };
  }
  if (chosen.length === 1 && offered.includes(subprotocol)) return { findings, subprotocol };
  findings.push(finding(
    "subprotocol-unasked",
    "error",
    `The server chose the subprotocol ${quote(chosen.join(", "))} that was not offered: clients must fail.`,
    offered.length === 0
      ? "Let the server choose a subprotocol only where one is offered; if this one is wanted, offer it: --subprotocol."
      : "Let the server choose among those offered.",
  ));
  return { findings };
}
