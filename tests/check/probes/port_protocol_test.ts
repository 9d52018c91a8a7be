/** Detection of the protocol of a port. */
import { echoService, listenOnly, rawServer, writeAll } from "../test_servers.ts";
import { expectCodes, urlOf } from "../expect.ts";

Deno.test("detects the protocol of the port", async (t) => {
  await using plain = echoService();
  await t.step("a wss URL with a plain port", () => expectCodes({ url: urlOf("wss", plain) }, ["protocol-plain"], 1));
  await t.step("a correct plain service", () => expectCodes({ url: urlOf("ws", plain) }, [], 0));
  await t.step("another protocol", async () => {
    await using ssh = rawServer(async (connection) => {
      await writeAll(connection, "SSH-2.0-OpenSSH_9.2\r\n");
      await listenOnly(connection);
    });
    await expectCodes({ url: urlOf("wss", ssh) }, ["protocol-unknown"], 1);
    await expectCodes({ url: urlOf("ws", ssh) }, ["protocol-unknown"], 1);
  });
  await t.step("a silent port", async () => {
    await using silent = rawServer(listenOnly);
    await expectCodes({ url: urlOf("wss", silent), timeout: 3000 }, ["protocol-silent"], 1);
    await expectCodes({ url: urlOf("ws", silent), timeout: 3000 }, ["upgrade-timeout"], 1);
  });
  await t.step("a port that closes connections", async () => {
    await using closing = rawServer(() => Promise.resolve());
    await expectCodes({ url: urlOf("wss", closing) }, ["protocol-closed"], 1);
    await expectCodes({ url: urlOf("ws", closing) }, ["protocol-closed"], 1);
  });
});
