/**
 * Holds an idle connection and reports whether a proxy closes it. The client sends only pongs.
 * @module
 */
import { formatDuration } from "../../duration_and_size.ts";
import { finding } from "../finding_codes.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
import { closeRemedy, type ExchangeResult, explainEnd, namesOtherCause } from "./message_exchange.ts";
import { type ClientSession, describeClose, isEnd } from "../../client/websocket_session.ts";

/** Holds the connection idle for `ms` milliseconds. */
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
        if (event.type === "invalid") return { findings: [explainEnd(event)], ended: true };
        const seconds = ((performance.now() - start) / 1000).toFixed(1);
        const how = event.type === "close"
          ? `with ${describeClose(event.code, event.reason)}`
          : "without a close frame";
        const pinged = pings === 0 ? "the server sent no ping" : `the server sent ${pings} pings`;
        return {
          ended: true,
          findings: [finding(
            "hold-cut",
            "warning",
            `The idle connection was closed after ${seconds} s ${how}; ${pinged}.`,
            event.type === "close" && namesOtherCause(event.code, event.reason)
              ? closeRemedy(event.code, event.reason)
              : "Make the service ping more often, or raise the proxy's read timeout (nginx: proxy_read_timeout; " +
                "Apache: ProxyTimeout; HAProxy: timeout tunnel).",
          )],
        };
      }
    });
  } catch (error) {
    if (!(error instanceof DeadlineError) || outer.aborted) throw error;
    const pinged = pings === 0 ? "" : `, with ${pings} pings from the server`;
    return { findings: [finding("hold-ok", "ok", `stayed open for ${formatDuration(ms)}${pinged}`)], ended: false };
  }
}
