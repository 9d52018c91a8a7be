/**
 * A quiet connection, held: does a proxy cut it? The client sends nothing of its own; pings are answered, as every
 * client does.
 * @module
 */
import { formatDuration } from "../../duration_and_size.ts";
import { finding } from "../finding_codes.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
import { ended, type ExchangeResult } from "./message_exchange.ts";
import { type ClientSession, describeClose, isEnd } from "../../client/websocket_session.ts";

/** Holds the connection for `ms` milliseconds. */
export async function probeIdleTimeout(
  session: ClientSession,
  ms: number,
  outer: AbortSignal,
): Promise<ExchangeResult> {
  const start = performance.now();
  let pings = 0;
  try {
    return await within(ms, outer, async (signal) => {
      while (true) {
        const event = await session.next(signal);
        if (event.type === "ping") pings++;
        if (!isEnd(event)) continue;
        if (event.type === "invalid") return { findings: [ended(event)], over: true };
        const seconds = ((performance.now() - start) / 1000).toFixed(1);
        const how = event.type === "close"
          ? `with ${describeClose(event.code, event.reason)}`
          : "without a close frame";
        const pinged = pings === 0 ? "no ping came in that time" : `${pings} pings came in that time`;
        return {
          over: true,
          findings: [finding(
            "hold-cut",
            "warning",
            `The quiet connection was cut after ${seconds} s ${how}; ${pinged}.`,
            "Let the service ping more often than that, or raise the proxy's read timeout (nginx: proxy_read_timeout; " +
              "Apache: ProxyTimeout; HAProxy: timeout tunnel).",
          )],
        };
      }
    });
  } catch (error) {
    if (!(error instanceof DeadlineError) || outer.aborted) throw error;
    const pinged = pings === 0 ? "" : `, with ${pings} pings from the server`;
    return { findings: [finding("hold-ok", "ok", `left alone for ${formatDuration(ms)}${pinged}`)], over: false };
  }
}
