/**
 * Refusals. A check returns a refusal instead of throwing an error. The caller converts it to a response.
 * @module
 */
import { STATUS_TEXT } from "@std/http/status";

/** A refused request. The reason states cause and remedy, for the body and the log. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What the operator must change. Logged as a warning the first time. */
  readonly warning?: string;
}

const statusText: Readonly<Record<number, string>> = STATUS_TEXT;

/** Creates the plain text response of a refusal. */
export function refusalResponse({ status, reason, headers }: Refusal): Response {
  return new Response(`${status} ${statusText[status]}\n${reason}\n`, {
    status,
    headers: {
      "content-type": "text/plain; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      ...headers,
    },
  });
}
