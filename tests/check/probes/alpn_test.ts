/** Servers with different ALPN protocols. */
import { assertEquals } from "@std/assert";
import { hasOpenssl, openPki } from "../../support/openssl.ts";
import { answerFrames, type Identity, readRequest, type Server, upgradeResponse, writeAll } from "../test_servers.ts";
import { expectReport, identityOf, makeAuthorities, urlOf } from "../expect.ts";

/** Starts a correct service on Deno.listenTls, which sends an alert for protocols that it does not offer. */
function tlsService(identity: Identity, alpnProtocols: string[]): Server {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...identity, alpnProtocols });
  const served: Promise<void>[] = [];
  async function serve(connection: Deno.TlsConn): Promise<void> {
    try {
      const request = await readRequest(connection);
      if (request === "") return;
      await writeAll(connection, await upgradeResponse(request));
      await answerFrames(connection);
    } catch {
      // The handshake failed.
    } finally {
      connection.close();
    }
  }
  const accepting = (async () => {
    for await (const connection of listener) served.push(serve(connection));
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      await Promise.all(served);
    },
  };
}

Deno.test({ name: "reports a server that refuses http/1.1 by ALPN", ignore: !await hasOpenssl() }, async (t) => {
  await using pki = await openPki();
  const { sound, full, ca } = await makeAuthorities(pki);
  const identity = await identityOf(full, sound.key);
  const cases: [name: string, offered: string[], codes: string[]][] = [
    ["h2 only", ["h2"], ["alpn-refused"]],
    ["h2 and http/1.1", ["h2", "http/1.1"], []],
    ["none", [], []],
  ];
  for (const [name, offered, codes] of cases) {
    await t.step(name, async () => {
      await using server = tlsService(identity, offered);
      const report = await expectReport({ url: urlOf("wss", server, "/", "localhost"), ca }, codes);
      // The upgrade is probed even if ALPN is refused.
      assertEquals(report.observations.find(({ probe }) => probe === "upgrade")?.code, "upgrade-ok");
    });
  }
});
