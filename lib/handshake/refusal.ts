/**
 * A refused request: what every check returns instead of throwing, and how it becomes a response.
 * @module
 */
import { STATUS_TEXT } from "@std/http/status";

/** Why a request gets no WebSocket. The reason is for the person who reads the body or the log: cause and way out. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What the operator has to change, logged as a warning the first time. */
  readonly warning?: string;
}

const statusText: Readonly<Record<number, string>> = STATUS_TEXT;

/** The refusal as a plain text response. */
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
