/**
 * Probes a handshake with `Content-Length: 0`, which the client of Java 17, Dart and some devices send. RFC 9110
 * section 8.6 allows the header. Some servers, including Deno.serve, answer 400. Another failure counts only if the same
 * handshake without the header succeeds afterwards: the service may limit connections or accept a token once.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
import { ClientSession, isEnd } from "../../client/websocket_session.ts";
import { CloseCode } from "../../close_codes.ts";
import type { Target } from "../probe_target.ts";
import { finding } from "../finding_codes.ts";
import { throwIfLocal } from "./local_failure.ts";
import { formatStatus } from "./response_fingerprints.ts";
import { requestUpgrade } from "./websocket_handshake.ts";

const DEADLINE = 3000;

/** How long to wait for the answer to the close frame, in milliseconds. */
const CLOSE_WAIT = 500;

/** Statuses about the form of a request. */
const ABOUT_FORM = [400, 411, 413, 501];

/** Statuses that are not caused by the header: limits, a service that stops. */
const UNRELATED = [429, 502, 503, 504];

/** Makes such a handshake on a separate connection. An ordinary handshake must have succeeded before. */
export async function probeContentLength(target: Target, outer: AbortSignal): Promise<readonly Finding[]> {
  const { headers = [] } = target.options;
  if (headers.some(([name]) => name.toLowerCase() === "content-length")) return [];
  const options = { ...target.options, headers: [...headers, ["Content-Length", "0"] as const] };
  try {
    return await within(DEADLINE, outer, async (signal) => {
      const result = await tryHandshake({ ...target, options }, signal);
      if (typeof result === "string") return await tryHandshake(target, signal) === 101 ? [refused(result)] : [];
      if (result === 101 || UNRELATED.includes(result)) return [];
      const isCause = ABOUT_FORM.includes(result) || await tryHandshake(target, signal) === 101;
      return isCause ? [refused(formatStatus(result))] : [];
    });
  } catch (error) {
    // The check's timeout ended. This probe is optional, so it is not reported as unfinished.
    if (error instanceof DeadlineError) return [];
    throw error;
  }
}

/** Makes a handshake and closes. Returns the status of the response, or what happened instead of one. */
async function tryHandshake(target: Target, signal: AbortSignal): Promise<number | string> {
  try {
    const { connection, head } = await requestUpgrade(target, {}, signal);
    await using _connection = connection;
    if ("kind" in head) return "a closed connection";
    if (head.status !== 101) return head.status;
    const session = new ClientSession(connection, head.rest);
    await within(CLOSE_WAIT, signal, async (wait) => {
      await session.close(CloseCode.NormalClosure, "", wait);
      while (!isEnd(await session.next(wait)));
    }).catch(() => {});
    return 101;
  } catch (error) {
    if (error instanceof DeadlineError) throw error;
    throwIfLocal(error);
    return "a broken connection";
  }
}

function refused(result: string): Finding {
  return finding(
    "content-length-refused",
    "note",
    `A handshake with Content-Length: 0 results in ${result}. The client of Java 17, Dart and some devices send that ` +
      "header, so they cannot connect.",
    'Put a proxy in front that removes the header (nginx: proxy_set_header Content-Length ""; Apache: RequestHeader unset ' +
      "Content-Length; HAProxy: http-request del-header content-length; Caddy removes it by default).",
  );
}
