/** ALPN: a server that takes h2 only, and one that does without. */
import { assertEquals } from "@std/assert";
import { hasOpenssl, openPki } from "../../support/openssl.ts";
import { answerFrames, type Identity, readRequest, rightAnswer, type Server, writeAll } from "../test_servers.ts";
import { expectReport, identityOf, makeAuthorities, urlOf } from "../expect.ts";

/** A sound service on Deno.listenTls, which refuses by an alert what it does not offer. */
function tlsService(identity: Identity, alpnProtocols: string[]): Server {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...identity, alpnProtocols });
  const served: Promise<void>[] = [];
  async function serve(connection: Deno.TlsConn): Promise<void> {
    try {
      const request = await readRequest(connection);
      if (request === "") return;
      await writeAll(connection, await rightAnswer(request));
      await answerFrames(connection);
    } catch {
      // A handshake that failed.
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

Deno.test({ name: "ALPN", ignore: !await hasOpenssl() }, async (t) => {
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
      // Refused or not, the upgrade is looked at too.
      assertEquals(report.observations.find(({ probe }) => probe === "upgrade")?.code, "upgrade-ok");
    });
  }
});
