/**
 * Verifies the response to a client's opening handshake (RFC 6455 section 4.1). A pure function.
 * @module
 */
import { acceptFor, type HandshakeRequest, type ResponseHead } from "./opening_handshake.ts";

/** The outcome of the check. */
export interface VerifiedResponse {
  /** The chosen subprotocol, one of those offered. */
  readonly subprotocol?: string;
  /** Reasons to fail the connection. Empty: the connection is open. */
  readonly problems: readonly ResponseProblem[];
}

/** A reason to fail the connection. */
export interface ResponseProblem {
  /** `response`: the 101 response is invalid. The others: the server chose something that was not offered. */
  readonly kind: "response" | "extension" | "subprotocol";
  /** A clause: `Upgrade: websocket is missing`. For an extension or a subprotocol, what the server chose. */
  readonly detail: string;
}

/** Checks a 101 response against its request and key. */
export async function verifyResponse(
  request: HandshakeRequest,
  head: ResponseHead,
  key: string,
): Promise<VerifiedResponse> {
  const all = (name: string) => head.headers.get(name) ?? [];
  const tokens = (name: string) => all(name).flatMap((value) => value.split(",")).map((token) => token.trim());
  const has = (name: string, token: string) => tokens(name).some((each) => each.toLowerCase() === token);
  const problems: ResponseProblem[] = [];
  const wrong = (detail: string) => problems.push({ kind: "response", detail });

  if (head.version !== "HTTP/1.1") wrong(`it is ${head.version}, not HTTP/1.1`);
  if (!has("upgrade", "websocket")) wrong("Upgrade: websocket is missing");
  if (!has("connection", "upgrade")) wrong("Connection: Upgrade is missing");
  const accept = all("sec-websocket-accept");
  if (accept.length === 0) wrong("Sec-WebSocket-Accept is missing");
  else if (accept.length > 1) wrong(`Sec-WebSocket-Accept is present ${accept.length} times`);
  else if (accept[0] !== await acceptFor(key)) wrong("Sec-WebSocket-Accept does not match the key that was sent");

  const extensions = tokens("sec-websocket-extensions").filter((token) => token !== "");
  const offersExtensions = request.headers?.some(([name]) => name.toLowerCase() === "sec-websocket-extensions");
  if (extensions.length > 0 && !offersExtensions) {
    problems.push({ kind: "extension", detail: extensions.join(", ") });
  }
  const chosen = all("sec-websocket-protocol");
  const [subprotocol] = chosen;
  if (subprotocol === undefined) return { problems };
  if (chosen.length === 1 && offeredSubprotocols(request).includes(subprotocol)) return { problems, subprotocol };
  return { problems: [...problems, { kind: "subprotocol", detail: chosen.join(", ") }] };
}

/** The subprotocols that a request offers, by option or by header. */
export function offeredSubprotocols({ subprotocols = [], headers = [] }: HandshakeRequest): readonly string[] {
  const given = headers.filter(([name]) => name.toLowerCase() === "sec-websocket-protocol");
  if (given.length === 0) return subprotocols;
  return given.flatMap(([, value]) => value.split(",")).map((token) => token.trim());
}
