/** Messages, subprotocols, headers, and a connection that is held open. */
import { assert, assertEquals } from "@std/assert";
import { answerFrames, echoService, upgradeResponse, upgradeServer, writeAll } from "../test_servers.ts";
import { expectCodes, expectReport, urlOf } from "../expect.ts";

Deno.test("exchanges messages, offers subprotocols and holds the connection", async (t) => {
  await using echo = echoService();
  const to = { url: urlOf("ws", echo) };
  await t.step("an echo", () => expectCodes({ ...to, send: "tom", expect: "tom" }, [], 0));
  await t.step(
    "another message",
    () => expectCodes({ ...to, send: "tom", expect: "ok", timeout: 10_000 }, ["message-unexpected"], 1),
  );
  await t.step("no message", () => expectCodes({ ...to, expect: "ok", timeout: 10_000 }, ["message-missing"], 1));
  await t.step("a subprotocol", () => expectCodes({ ...to, subprotocols: ["a", "b"] }, [], 0));
  await t.step("an idle connection", () => expectCodes({ ...to, hold: 1000 }, [], 0));
  await t.step("an idle connection that the service closes for another reason", async () => {
    await using server = echoService({
      onOpen: (socket) => setTimeout(() => socket.close(4001, "token expired"), 1000),
    });
    const report = await expectReport({ url: urlOf("ws", server), hold: 30_000 }, ["hold-cut"], 1);
    assert(/4001/.test(report.first!.fact) && /credentials/.test(report.first!.remedy!), JSON.stringify(report.first));
  });
  await t.step("a message that the server sends first", async () => {
    await using server = echoService({ onOpen: (socket) => socket.send("welcome") });
    await expectCodes({ url: urlOf("ws", server), expect: "welcome" }, [], 0);
  });
  await t.step("a subprotocol that the server does not select", async () => {
    await using server = upgradeServer(async (connection, request) => {
      await writeAll(connection, await upgradeResponse(request));
      await answerFrames(connection);
    });
    await expectCodes({ url: urlOf("ws", server), subprotocols: ["mqtt"] }, ["subprotocol-missing"], 1);
  });
  await t.step("a header and an Origin are sent", async () => {
    const seen: (string | null)[] = [];
    await using server = echoService({
      onRequest(request) {
        if (request.headers.has("upgrade")) seen.push(request.headers.get("x-token"), request.headers.get("origin"));
        return undefined;
      },
    });
    const options = { headers: [["X-Token", "tom"]], origin: "https://page.example" } as const;
    await expectCodes({ url: urlOf("ws", server), ...options }, [], 0);
    assertEquals(seen, ["tom", "https://page.example"]);
  });
  await t.step("--connect-to another server", async () => {
    const connectTo = { hostname: "127.0.0.1", port: echo.port };
    await expectCodes({ url: "ws://name.invalid/", connectTo }, [], 0);
  });
});
