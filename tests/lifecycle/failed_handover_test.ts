/** A hand-over that fails after the successor has taken the unix sockets: the old service continues at their paths. Linux. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { silent } from "../../lib/log.ts";
import { serve, type ServiceApp, StartError } from "../../lib/mod.ts";
import { loadFfi } from "../../lib/net/ffi/load_ffi.ts";
import { dialUpgraded, dialUpgradedUnix, exchangeEcho } from "../support/raw.ts";

// The C library is loaded before the first test. The sanitizer would otherwise report it as a leak of a test.
loadFfi();

const app: ServiceApp = { message: (peer, message) => void peer.send(message.text()) };

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "wss-socket-" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Requests the health check of an admin listener. */
async function isHealthy(path: string): Promise<boolean> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  const answer = await fetch("http://localhost/healthz", { client });
  await answer.body?.cancel();
  return answer.ok;
}

Deno.test("a successor that ends before its report: the service listens at both unix sockets again", () =>
  withFolder(async (folder) => {
    const [unix, admin] = [join(folder, "main"), join(folder, "admin")];
    const options = { mode: "proxied", unix, admin: `unix:${admin}`, drainTimeout: 0 } as const;
    await using service = await serve(app, options, { log: silent });
    const held = await dialUpgradedUnix(unix);
    // A second failure must not differ from the first.
    for (let round = 0; round < 2; round++) {
      const start = async () => {
        const takeover = { port: 0, adminPort: 0 };
        const successor = await serve(app, options, { log: silent, takeover });
        await successor.stop();
        throw new Error("the successor has ended");
      };
      await assertRejects(() => service.handOver(start), Error, "the successor has ended");
      const fresh = await dialUpgradedUnix(unix);
      for (const connection of [held, fresh]) await exchangeEcho(connection);
      fresh.close();
      assertEquals(await isHealthy(admin), true);
    }
    held.close();
    await service.stop();
    assertEquals([...Deno.readDirSync(folder)], []);
  }));

Deno.test("a successor that cannot open its main address: the service listens at its admin socket again", () =>
  withFolder(async (folder) => {
    const admin = join(folder, "admin");
    const options = { mode: "proxied", host: "127.0.0.1", port: 0, admin: `unix:${admin}`, drainTimeout: 0 } as const;
    await using service = await serve(app, options, { log: silent });
    const { port } = service.addr as Deno.NetAddr;
    const held = await dialUpgraded({ port });
    // The configuration has changed since: no machine has this address: it is reserved for documentation.
    const start = async () => {
      const takeover = { port, adminPort: 0 };
      await serve(app, { ...options, host: "203.0.113.1" }, { log: silent, takeover });
    };
    await assertRejects(() => service.handOver(start), StartError, "not an address of this machine");
    assertEquals(await isHealthy(admin), true);
    const fresh = await dialUpgraded({ port });
    for (const connection of [held, fresh]) {
      await exchangeEcho(connection);
      connection.close();
    }
  }));
