// A connection that opens after its peer has ended or has been closed. The response to the upgrade is delayed here; in a
// service the event loop is blocked for that time.
import { assertEquals } from "@std/assert";
import { whenReached } from "../../lib/auth/token_expiry.ts";
import { Handshake } from "../../lib/handshake/handshake_context.ts";
import { Hub } from "../../lib/hub/hub.ts";
import { createLogger } from "../../lib/log.ts";
import { AccessLog } from "../../lib/ws/access_log.ts";
import type { App } from "../../lib/ws/app_types.ts";
import { IdleTimeouts } from "../../lib/ws/idle_timeout.ts";
import { MemoryBudget } from "../../lib/ws/memory_budget.ts";
import { MessageScheduler } from "../../lib/ws/message_scheduler.ts";
import type { PeerDependencies } from "../../lib/ws/peer_dependencies.ts";
import { Poller } from "../../lib/ws/poller.ts";
import { CorkTimer } from "../../lib/ws/send_buffer.ts";
import { ServiceCounters } from "../../lib/ws/service_counters.ts";
import { upgrade } from "../../lib/ws/upgrade.ts";
import { Client } from "../support/client.ts";
import { Notes } from "./notes.ts";

/** What a connection that opens late causes. */
interface Late {
  readonly client: Client;
  /** The hooks that ran. */
  readonly calls: readonly string[];
  /** The close reasons in the access log. */
  readonly closed: Notes<string>;
  readonly counters: ServiceCounters;
}

/**
 * Upgrades one connection without a watchdog, and answers the upgrade only once `until` has resolved.
 * @param openTimeout milliseconds until a peer that has not opened ends
 * @param expiresAt when the token expires, milliseconds since the epoch
 */
async function openLate(
  { openTimeout, expiresAt }: { openTimeout: number; expiresAt?: number },
  until: (ended: Promise<unknown>) => Promise<unknown>,
  verify: (late: Late) => Promise<void>,
): Promise<void> {
  const calls: string[] = [];
  const closed = new Notes<string>();
  const log = createLogger({
    level: "debug",
    format: "json",
    write(line) {
      const { message, reason } = JSON.parse(line);
      if (message === "closed") closed.add(reason);
    },
  });
  const app: App = { open: () => void calls.push("open"), close: () => void calls.push("close") };
  const poller = new Poller();
  const budget = new MemoryBudget(1024 ** 2);
  using scheduler = new MessageScheduler(budget);
  using corkTimer = new CorkTimer();
  const hub = new Hub(log);
  const counters = new ServiceCounters();
  const ended = Promise.withResolvers<void>();
  const peers: PeerDependencies = {
    app,
    log,
    access: new AccessLog(log, log, "debug"),
    notices: log,
    warnOnce: (message) => log.warn(message),
    hub,
    userLimitReached: () => false,
    openPeers: new Set(),
    isRefusing: () => false,
    poller,
    scheduler,
    budget,
    counters,
    corkTimer,
    tls: false,
    maxPayload: 1024,
    messageRate: 0,
    maxBackpressure: 1024,
    slowReaderTimeout: 1000,
    openTimeout,
    idleTimeouts: new IdleTimeouts(0, poller),
    opened() {},
    ended: () => ended.resolve(),
  };
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    const handshake = new Handshake(request, new URL(request.url), {
      address: "127.0.0.1",
      trustedProxy: false,
      connection: undefined,
    });
    handshake.slot = { ok: true, release() {} };
    handshake.expiresAt = expiresAt;
    const response = await upgrade(handshake, peers);
    await until(ended.promise);
    return response;
  });
  await using client = await Client.open(`ws://127.0.0.1:${server.addr.port}/`);
  await verify({ client, calls, closed, counters });
  poller.stop();
  await hub.stop();
}

Deno.test("a connection that opens after its peer has ended is closed with 1013, and no hook runs", async () => {
  await openLate({ openTimeout: 1 }, (ended) => ended, async ({ client, calls, closed, counters }) => {
    assertEquals(await client.closed, { code: 1013, reason: "the connection opened too late" });
    assertEquals([calls, closed.all], [[], ["the connection did not open in time"]]);
    assertEquals([counters.opened, counters.refused.gone], [0, 1]);
  });
});

Deno.test("a connection whose token expires before it opens is closed with 3000, and no hook runs", async () => {
  const expiresAt = Date.now();
  // This timer starts after the peer's and has the same duration.
  const expired = () => new Promise<void>((resolve) => void whenReached(expiresAt, resolve));
  await openLate({ openTimeout: 60_000, expiresAt }, expired, async ({ client, calls, closed, counters }) => {
    assertEquals(await client.closed, { code: 3000, reason: "the token has expired" });
    assertEquals([calls, await closed.until(1)], [[], ["the token has expired"]]);
    assertEquals([counters.opened, counters.refused.token], [0, 1]);
  });
});
