import { assert, assertEquals } from "@std/assert";
import { maskedFrame, Opcode, textFrame, utf8 } from "../support/frames.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { RecordedService } from "./recorded_service.ts";

const LIMIT = 100_000;
const START = ["--max-payload", `${LIMIT}B`];

/** A message in a number of fragments of the given size. */
function fragments(count: number, size: number): Uint8Array<ArrayBuffer>[] {
  const part = new Uint8Array(size).fill(0x61);
  return Array.from(
    { length: count },
    (_, index) => maskedFrame(index === 0 ? Opcode.Binary : Opcode.Continuation, part, { fin: index === count - 1 }),
  );
}

for (const mode of ["direct", "proxied"]) {
  Deno.test(`accepts a message of the maximum length; one byte more closes with 1009 and does not reach the app (${mode})`, async (t) => {
    await using service = await RecordedService.start([...START, "--mode", mode]);
    await using bystander = await RawPeer.open(service, { name: "bystander" });
    // The characters take two, three and four bytes. The limit counts bytes, not characters.
    const cases: readonly (readonly [string, (bytes: number) => Uint8Array<ArrayBuffer>])[] = [
      ["text", (bytes) => textFrame("x".repeat(bytes))],
      ["binary", (bytes) => maskedFrame(Opcode.Binary, new Uint8Array(bytes))],
      ["two", (bytes) => textFrame("é".repeat(LIMIT / 2) + "x".repeat(bytes - LIMIT))],
      ["three", (bytes) => textFrame("字".repeat(33_333) + "x".repeat(bytes - 99_999))],
      ["four", (bytes) => textFrame("😀".repeat(LIMIT / 4) + "x".repeat(bytes - LIMIT))],
    ];
    for (const [name, make] of cases) {
      await t.step(name, async () => {
        await using peer = await RawPeer.open(service, { name });
        await peer.send(make(LIMIT));
        await peer.until(() => peer.frames.length === 1);
        assertEquals(peer.frames[0]!.payload.length, LIMIT);
        await peer.send(make(LIMIT + 1));
        assertEquals(await peer.ended, { code: 1009, reason: `message exceeds maxPayload (${LIMIT} bytes)` });
        const { code, reason, messages } = await service.call(name, "close");
        assertEquals([code, reason, messages], [1009, `message exceeds maxPayload (${LIMIT} bytes)`, 1]);
        assertEquals(service.calls("close", name).length, 1);
      });
    }
    await t.step("in fragments, whole", async () => {
      await using peer = await RawPeer.open(service, { name: "whole" });
      await peer.send(...fragments(10, LIMIT / 10));
      await peer.until(() => peer.frames.length === 1);
      assertEquals(peer.frames[0]!.payload.length, LIMIT);
      await peer.send(...fragments(11, LIMIT / 10));
      assertEquals((await peer.ended).code, 1009);
      const { code, messages } = await service.call("whole", "close");
      assertEquals([code, messages], [1009, 1]);
    });
    await t.step("and whatever follows it", async () => {
      await using peer = await RawPeer.open(service, { name: "more" });
      await peer.send(textFrame("x".repeat(LIMIT + 1)), textFrame("more"), textFrame("and more"));
      // Deno drops a peer that keeps sending after the service's close frame, so the close frame may be lost.
      await peer.ended;
      const { code, messages } = await service.call("more", "close");
      assertEquals([code, messages], [1009, 0]);
    });
    assertEquals(await bystander.ask("still here"), "still here");
  });

  Deno.test(`a message that passes the limit in fragments and never ends is cut, and the app gets 1009 (${mode})`, async () => {
    await using service = await RecordedService.start([...START, "--mode", mode]);
    await using bystander = await RawPeer.open(service, { name: "bystander" });
    await using peer = await RawPeer.open(service, { name: "endless" });
    const [first, ...more] = fragments(3, 10_000);
    await peer.send(first!);
    let sent = 0;
    while (await peer.send(more[0]!)) {
      sent += 10_000;
      assert(sent < 500_000_000, "it was never cut");
      // Another test covers floods. This message grows slowly enough for the event loop to run.
      if (sent % 200_000 === 0) await bystander.ask("tick");
    }
    const { code, reason, messages } = await service.call("endless", "close");
    assertEquals([code, messages], [1009, 0]);
    assert(reason?.startsWith("unfinished message exceeds maxPayload"), reason);
    assertEquals(service.calls("close", "endless").length, 1);
    assertEquals(await bystander.ask("still here"), "still here");
  });
}

Deno.test("the smallest limits are kept to the byte", async () => {
  await using service = await RecordedService.start(["--max-payload", "3B", "--mode", "proxied"]);
  await using peer = await RawPeer.open(service, { name: "tiny" });
  assertEquals(await peer.ask("字"), "字");
  await peer.send(maskedFrame(Opcode.Text, utf8("字x")));
  assertEquals((await peer.ended).code, 1009);
});
