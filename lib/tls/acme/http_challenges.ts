/**
 * Answers HTTP-01 challenges on port 80 (RFC 8555 section 8.3), and redirects all other requests to https.
 * @module
 */
import { STATUS_CODE } from "@std/http/status";

/** The path prefix of challenges. */
const PREFIX = "/.well-known/acme-challenge/";
/** The body for an unknown token. `--check` recognises a service of this program by it. */
export const UNKNOWN_TOKEN = "wss: no such challenge\n";

/** The active challenges, and the handler that answers them. */
export class HttpChallenges {
  readonly #answers = new Map<string, string>();
  readonly #names: readonly string[];
  #port: number | undefined;

  /** @param names the hosts that redirects may lead to; any other Host is redirected to the first */
  constructor(names: readonly string[]) {
    this.#names = names;
  }

  /** The port that redirects lead to; requests get 503 before it is known. */
  redirectTo(port: number): void {
    this.#port = port;
  }

  /** Answers challenges for a token until the returned function is called. */
  readonly respond = (token: string, answer: string): () => void => {
    this.#answers.set(token, answer);
    return () => {
      this.#answers.delete(token);
    };
  };

  /** Answers a request. */
  readonly handle = (request: Request): Response => {
    const url = URL.parse(request.url);
    if (url?.pathname.startsWith(PREFIX)) {
      const answer = this.#answers.get(url.pathname.slice(PREFIX.length));
      if (answer === undefined) return new Response(UNKNOWN_TOKEN, { status: STATUS_CODE.NotFound });
      return new Response(answer, { headers: { "content-type": "application/octet-stream" } });
    }
    if (url === null) return new Response("400 Bad Request\n", { status: STATUS_CODE.BadRequest });
    if (this.#port === undefined) {
      return new Response("503 Service Unavailable: the service is starting\n", {
        status: STATUS_CODE.ServiceUnavailable,
        headers: { "retry-after": "5" },
      });
    }
    // Only to names of this service, because the client chooses the Host header.
    const asked = url.hostname.replace(/^\[|\]$/g, "");
    const host = this.#names.includes(asked) ? asked : this.#names[0]!;
    const authority = `${host.includes(":") ? `[${host}]` : host}${this.#port === 443 ? "" : `:${this.#port}`}`;
    const location = `https://${authority}${url.pathname}${url.search}`;
    return new Response(null, { status: STATUS_CODE.PermanentRedirect, headers: { location } });
  };
}
