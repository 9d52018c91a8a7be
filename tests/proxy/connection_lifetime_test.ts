/** Idle connections, and connections through a proxy that reloads, stops or is killed. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { KINDS, openGeneratedProxies } from "./generated_proxies.ts";
import { startUpstream } from "./upstream.ts";
import { type Client, connect } from "./ws_client.ts";

/** Returns the close code, or undefined if the connection is still open after `ms` milliseconds. */
async function closedWithin(client: Client, ms: number): Promise<number | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<undefined>((resolve) => timer = setTimeout(() => resolve(undefined), ms));
  return await Promise.race([client.closed, timeout]).finally(() => clearTimeout(timer));
}

async function assertAnswers(client: Client): Promise<void> {
  client.send("tom");
  assertEquals(await client.next(), "ok");
}

Deno.test("pings of the service keep an idle connection open beyond the proxy's timeout", async () => {
  // The proxies are tested in parallel, because each test waits for real timeouts.
  const outcomes = await Promise.allSettled(KINDS.map(async (kind) => {
    await using proxies = await openGeneratedProxies(kind);
    if (proxies === undefined) return;
    const { ca } = proxies;
    // The service pings every three seconds. The proxy's timeout is 12 s.
    await using upstream = await startUpstream({ idleTimeout: "6s" });
    await using silent = await startUpstream({ idleTimeout: 0 });
    await using proxy = await proxies.start(kind, "--idle-timeout", "6s", "--upstream", upstream.address);
    await using silentProxy = await proxies.start(kind, "--idle-timeout", "6s", "--upstream", silent.address);
    const client = await connect({ ca, port: proxy.port });
    const control = await connect({ ca, port: silentProxy.port });
    const [code, silentCode] = await Promise.all([closedWithin(client, 20_000), closedWithin(control, 20_000)]);
    assertEquals(code, undefined, kind);
    // Without pings, the timeout closes the connection. Caddy has no timeout.
    if (kind !== "caddy") assertNotEquals(silentCode, undefined, `${kind}: its timeout is not in effect`);
    await assertAnswers(client);
    await client.close();
    await control.close();
    await upstream.waitForOpen(0);
    await silent.waitForOpen(0);
  }));
  const failed = outcomes.flatMap((outcome) => outcome.status === "rejected" ? [outcome.reason] : []);
  if (failed.length > 0) throw new AggregateError(failed, failed.map(String).join("\n"));
});

for (const kind of KINDS) {
  Deno.test(`${kind}: connects to the service at a Unix socket, and balances between several services`, async () => {
    await using proxies = await openGeneratedProxies(kind);
    if (proxies === undefined) return;
    const { ca } = proxies;
    await using upstream = await startUpstream({ unix: join(proxies.folder, "wss.sock") });
    await using second = await startUpstream();
    {
      await using proxy = await proxies.start(kind, "--unix", upstream.address, "--path", "/wss");
      const client = await connect({ ca, port: proxy.port });
      await assertAnswers(client);
      assertEquals(upstream.seen.at(-1)!.address, "::1");
      await client.close();
      await upstream.waitForOpen(0);
    }
    const group = ["--upstream", upstream.address, "--upstream", second.address];
    await using proxy = await proxies.start(kind, ...group);
    const clients = await Promise.all(Array.from({ length: 20 }, () => connect({ ca, port: proxy.port })));
    await Promise.all(clients.map(assertAnswers));
    assertEquals(upstream.open + second.open, 20);
    assert(upstream.open >= 3 && second.open >= 3, `not shared: ${upstream.open} and ${second.open}`);
    await Promise.all(clients.map((client) => client.close()));
    await Promise.all([upstream.waitForOpen(0), second.waitForOpen(0)]);
  });

  Deno.test(`${kind}: leaves no open connection at the service after a reload, a stop or a kill`, async (t) => {
    await using proxies = await openGeneratedProxies(kind);
    if (proxies === undefined) return;
    const { ca } = proxies;
    await using upstream = await startUpstream();
    const connectMany = async (port: number) =>
      await Promise.all(Array.from({ length: 20 }, () => connect({ ca, port })));

    await t.step("a reload keeps each connection or closes it on both sides, and accepts new ones", async () => {
      await using proxy = await proxies.start(kind, "--upstream", upstream.address);
      const before = await connectMany(proxy.port);
      await upstream.waitForOpen(20);
      await proxy.reload();
      const after = await connectMany(proxy.port);
      await Promise.all(after.map(assertAnswers));
      const codes = await Promise.all(before.map((client) => closedWithin(client, kind === "caddy" ? 10_000 : 500)));
      const kept = before.filter((_, at) => codes[at] === undefined);
      // Caddy 2.6 closes the connections; the other proxies keep them (measured).
      assertEquals(kept.length, kind === "caddy" ? 0 : 20);
      await Promise.all(kept.map(assertAnswers));
      await upstream.waitForOpen(20 + kept.length);
      await Promise.all([...kept, ...after].map((client) => client.close()));
      await upstream.waitForOpen(0);
    });

    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await t.step(`${signal} closes the connections at the service`, async () => {
        await using proxy = await proxies.start(kind, "--upstream", upstream.address);
        const clients = await connectMany(proxy.port);
        await upstream.waitForOpen(20);
        await proxy.stop(signal);
        await upstream.waitForOpen(0);
        await Promise.all(clients.map((client) => client.closed));
      });
    }
  });
}
