import { assertEquals } from "@std/assert";
import { textFrame } from "../support/frames.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { eventually, RecordedService } from "./recorded_service.ts";

Deno.test("a hook that throws or rejects closes only its own peer with 1011, and calls the error hook", async (t) => {
  await using service = await RecordedService.start();
  await using bystander = await RawPeer.open(service, { name: "bystander" });
  const cases = [
    { name: "throws", order: "!throw", error: "message was told to fail" },
    { name: "rejects", order: "!reject", error: "message was told to fail later" },
    { name: "fragile", order: undefined, error: "open was told to fail" },
  ];
  for (const { name, order, error } of cases) {
    await t.step(name, async () => {
      await using peer = await RawPeer.open(service, { name });
      if (order) await peer.send(textFrame(order));
      assertEquals(await peer.ended, { code: 1011, reason: "internal error" });
      const { code, reason } = await service.call(name, "close");
      assertEquals([code, reason], [1011, "internal error"]);
      assertEquals((await service.call(name, "error")).message, error);
      assertEquals([service.calls("close", name).length, service.calls("error", name).length], [1, 1]);
    });
  }
  await t.step("close hook", async () => {
    const client = await service.client("sore");
    assertEquals((await client.close(4001, "bye")).code, 4001);
    assertEquals((await service.call("sore", "error")).message, "close was told to fail");
    assertEquals(service.calls("close", "sore").length, 1);
  });
  assertEquals(await bystander.ask("still here"), "still here");
  const failed = () => service.log.filter(({ level }) => level === "error");
  await eventually(() => failed().length >= 4, "four errors in the log");
  const failures = failed();
  assertEquals(
    failures.map(({ message, hook }) => [message, hook]),
    [
      ...["message", "message", "open"].map((hook) => ["a hook of the app threw; its peer is closed with 1011", hook]),
      // Its peer has already ended.
      ["a hook of the app threw", "close"],
    ],
  );
});

Deno.test("close codes of an app are sent only if they are valid", async (t) => {
  await using service = await RecordedService.start(["--mode", "proxied"]);
  const forbidden = [
    0,
    1,
    -1,
    999,
    1004,
    1005,
    1006,
    1015,
    1016,
    1100,
    2999,
    5000,
    65_535,
    66_536,
    1000.5,
    NaN,
    Infinity,
  ];
  for (const code of forbidden) {
    await t.step(`${code} becomes 1000`, async () => {
      const name = `app-${String(code).replace(".", "-")}`;
      await using peer = await RawPeer.open(service, { name });
      await peer.send(textFrame(`!close ${code} because`));
      assertEquals(await peer.ended, { code: 1000, reason: "because" });
      assertEquals((await service.call(name, "close")).code, 1000);
    });
  }
  for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]) {
    await t.step(`${code} is sent`, async () => {
      const name = `app-${code}`;
      await using peer = await RawPeer.open(service, { name });
      await peer.send(textFrame(`!close ${code} because`));
      assertEquals(await peer.ended, { code, reason: "because" });
      assertEquals((await service.call(name, "close")).code, code);
    });
  }
  // An app with this mistake repeats it for every peer. The log has the first five warnings and the number of others.
  const warnings = () => service.log.filter(({ message }) => message.includes("not allowed in a close frame"));
  await eventually(() => warnings().length >= 5, "the warnings");
  await service.stop();
  assertEquals(warnings().reduce((sum, { more }) => sum + Number(more ?? 1), 0), forbidden.length);
});

Deno.test("truncates a long close reason between characters, and drops a peer that ignores its close frame", async () => {
  await using service = await RecordedService.start(["--mode", "proxied"]);
  await using peer = await RawPeer.open(service, { name: "deaf", answering: false });
  await peer.send(textFrame(`!close 4000 ${"字".repeat(50)}`));
  await peer.until(() => peer.frames.length === 1);
  assertEquals(new TextDecoder("utf-8", { fatal: true }).decode(peer.frames[0]!.payload.slice(2)), "字".repeat(41));
  assertEquals((await service.call("deaf", "close")).code, 4000);
  assertEquals((await peer.ended).code, 4000);
  await service.until(0);
});
