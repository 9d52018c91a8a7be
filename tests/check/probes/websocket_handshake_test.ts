/** Upgrades that fail. */
import { answerFrames, echoService, listenOnly, upgradeResponse, upgradeServer, writeAll } from "../test_servers.ts";
import { expectCodes, urlOf } from "../expect.ts";

Deno.test("reports why an upgrade fails", async (t) => {
  const bodies: [status: number, code: string][] = [
    [200, "upgrade-ignored"],
    [301, "upgrade-redirected"],
    [308, "upgrade-redirected"],
    [400, "upgrade-bad-request"],
    [401, "upgrade-unauthorized"],
    [403, "upgrade-forbidden"],
    [404, "upgrade-not-found"],
    [405, "upgrade-method"],
    [418, "upgrade-refused"],
    [426, "upgrade-required"],
    [429, "upgrade-too-many"],
    [500, "upgrade-server-error"],
    [502, "upgrade-bad-gateway"],
    [503, "upgrade-unavailable"],
    [504, "upgrade-gateway-timeout"],
  ];
  for (const [status, code] of bodies) {
    await t.step(`status ${status}`, async () => {
      await using server = echoService({
        onRequest: () => new Response("why", { status, headers: { location: "/x" } }),
      });
      await expectCodes({ url: urlOf("ws", server) }, [code], 1);
    });
  }
  await t.step("a wrong path", async () => {
    await using server = echoService({ path: "/wss" });
    await expectCodes({ url: urlOf("ws", server, "/ws") }, ["upgrade-not-found"], 1);
    await expectCodes({ url: urlOf("ws", server, "/wss") }, [], 0);
  });

  const answers: [
    name: string,
    answer: (connection: Deno.TcpConn, request: string) => Promise<void>,
    codes: string[],
  ][] = [
    ["the connection is closed without a response", () => Promise.resolve(), ["upgrade-cut"]],
    ["bytes that are not HTTP", (connection) => writeAll(connection, "\x00\x01garbage\r\n\r\n"), ["upgrade-not-http"]],
    ["an incomplete response head", (connection) => writeAll(connection, "HTTP/1.1 101 Swit"), ["upgrade-not-http"]],
    ["a wrong Sec-WebSocket-Accept", async (connection) => {
      await writeAll(connection, await upgradeResponse("Sec-WebSocket-Key: another\r\n"));
      await listenOnly(connection);
    }, ["upgrade-response-invalid", "ping-unanswered", "close-missing"]],
    ["an extension that was not offered", async (connection, request) => {
      await writeAll(connection, await upgradeResponse(request, "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
      await answerFrames(connection);
    }, ["extension-not-offered"]],
    ["a subprotocol that was not offered", async (connection, request) => {
      await writeAll(connection, await upgradeResponse(request, "Sec-WebSocket-Protocol: mqtt\r\n"));
      await answerFrames(connection);
    }, ["subprotocol-not-offered"]],
    ["invalid frames after the upgrade", async (connection, request) => {
      await writeAll(connection, await upgradeResponse(request) + "\xff\xffgarbage");
      await listenOnly(connection);
    }, ["frame-invalid"]],
    ["the connection ends after the upgrade", async (connection, request) => {
      await writeAll(connection, await upgradeResponse(request));
    }, ["connection-lost"]],
    ["the server ignores control frames", async (connection, request) => {
      await writeAll(connection, await upgradeResponse(request));
      await listenOnly(connection);
    }, ["ping-unanswered", "close-missing"]],
  ];
  for (const [name, answer, codes] of answers) {
    await t.step(name, async () => {
      await using server = upgradeServer(answer);
      await expectCodes({ url: urlOf("ws", server) }, codes, 1);
    });
  }
  await t.step("the server closes the connection", async () => {
    await using server = echoService({ onOpen: (socket) => socket.close(1008, "who are you?") });
    await expectCodes({ url: urlOf("ws", server) }, ["closed-by-server"], 1);
  });
  await t.step("the response is slow", async () => {
    await using server = echoService({
      async onRequest(request) {
        if (request.headers.has("upgrade")) await new Promise((resolve) => setTimeout(resolve, 3300));
        return undefined;
      },
    });
    await expectCodes({ url: urlOf("ws", server), timeout: 30_000 }, ["upgrade-slow"], 1);
  });
});
