/**
 * Clients that violate RFC 6455. Each case states the behaviour of Deno 2.9 and the requirement of the RFC. In every
 * case other clients are not affected, the `close` hook runs once, and the log has one line about it at debug. The test
 * also counts the violations by that line.
 */
import { assert, assertEquals } from "@std/assert";
import { closeFrame, maskedFrame, Opcode, serverFrame, textFrame, utf8 } from "../support/frames.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { eventually, RecordedService } from "./recorded_service.ts";

interface Case {
  readonly name: string;
  readonly sends: readonly Uint8Array<ArrayBuffer>[];
  /** The code of the service's close frame. "none": the connection ends without one. "served": it stays open. */
  readonly sees: number | "none" | "served" | "broken";
  /** The code that the app's `close` hook receives. */
  readonly told: number;
  /** The cause in the log. */
  readonly error?: string;
  /** The messages that reach the app. */
  readonly messages?: readonly string[];
  readonly rfc: string;
}

const { Continuation, Text, Binary, Ping, Close } = Opcode;
const part = { fin: false };
const nothing = new Uint8Array();
const bytes = (...values: number[]) => new Uint8Array(values);

/** A connection that Deno ends without a close frame. */
function cut(name: string, error: string, rfc: string, ...sends: Uint8Array<ArrayBuffer>[]): Case {
  return { name, sends, sees: "none", told: 1006, error, rfc };
}

const CASES: readonly Case[] = [
  {
    name: "unmasked",
    sends: [serverFrame(Text, utf8("hi"))],
    sees: "served",
    told: 1000,
    messages: ["hi"],
    rfc: "5.1: MUST close, 1002",
  },
  ...[1, 2, 4].map((reserved) =>
    cut(
      `reserved-bits-${reserved}`,
      "Reserved bits are not zero",
      "5.2: MUST fail, 1002",
      maskedFrame(Text, utf8("hi"), { reserved }),
    )
  ),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) =>
    cut(`opcode-${opcode}`, "Invalid value", "5.2: MUST fail, 1002", maskedFrame(opcode, nothing))
  ),
  cut("utf8-wrong", "Invalid UTF-8", "8.1: MUST fail, 1007", maskedFrame(Text, bytes(0xc3, 0x28))),
  cut("utf8-surrogate", "Invalid UTF-8", "8.1: MUST fail, 1007", maskedFrame(Text, bytes(0xed, 0xa0, 0x80))),
  cut("utf8-overlong", "Invalid UTF-8", "8.1: MUST fail, 1007", maskedFrame(Text, bytes(0xc0, 0xaf))),
  cut("utf8-cut-off", "Invalid UTF-8", "8.1: MUST fail, 1007", maskedFrame(Text, bytes(0x61, 0xe5, 0xad))),
  cut(
    "utf8-wrong-in-the-second-fragment",
    "Invalid UTF-8",
    "8.1: MUST fail, 1007",
    maskedFrame(Text, bytes(0xe5), part),
    maskedFrame(Continuation, bytes(0x28, 0x28)),
  ),
  {
    name: "utf8-split-between-fragments",
    sends: [maskedFrame(Text, bytes(0xe5, 0xad), part), maskedFrame(Continuation, bytes(0x97))],
    sees: "served",
    told: 1000,
    messages: ["字"],
    rfc: "5.6: in order",
  },
  {
    name: "utf8-cut-off-in-the-last-fragment",
    sends: [maskedFrame(Text, utf8("a"), part), maskedFrame(Continuation, bytes(0xe5, 0xad))],
    sees: "served",
    told: 1000,
    messages: ["a"],
    rfc: "8.1: MUST fail, 1007",
  },
  cut(
    "ping-in-fragments",
    "Control frame must not be fragmented",
    "5.5: MUST NOT, 1002",
    maskedFrame(Ping, nothing, part),
  ),
  cut(
    "close-in-fragments",
    "Control frame must not be fragmented",
    "5.5: MUST NOT, 1002",
    maskedFrame(Close, bytes(3, 232), part),
  ),
  cut("ping-too-long", "Ping frame too large", "5.5: at most 125 bytes, 1002", maskedFrame(Ping, new Uint8Array(126))),
  {
    // Deno answers with the same 126 bytes.
    name: "close-too-long",
    sends: [maskedFrame(Close, new Uint8Array(126).fill(0x61))],
    sees: "broken",
    told: 1006,
    error: "Invalid close code",
    rfc: "5.5: at most 125 bytes, 1002",
  },
  ...[0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000, 65_535].map((code): Case => ({
    name: `close-${code}`,
    sends: [closeFrame(code)],
    sees: 1002,
    told: 1006,
    error: "Invalid close code",
    rfc: code === 1014 ? "7.4.1 and IANA: in order since 2012" : "7.4: 1002",
  })),
  cut("close-of-one-byte", "Invalid close frame", "5.5.1: two bytes or none, 1002", maskedFrame(Close, bytes(3))),
  cut("close-with-a-wrong-reason", "Invalid UTF-8", "5.5.1: UTF-8, 1007", closeFrame(1000, bytes(0xc3, 0x28))),
  { name: "close-empty", sends: [closeFrame()], sees: 1005, told: 1005, rfc: "7.1.5: in order" },
  { name: "close-3000", sends: [closeFrame(3000)], sees: 3000, told: 3000, rfc: "7.4.2: in order" },
  { name: "close-4999", sends: [closeFrame(4999)], sees: 4999, told: 4999, rfc: "7.4.2: in order" },
  {
    name: "frames-after-close",
    sends: [closeFrame(1000), textFrame("late"), closeFrame(1001)],
    sees: 1000,
    told: 1000,
    rfc: "5.5.1: MUST NOT be processed",
  },
  { name: "two-closes", sends: [closeFrame(1000), closeFrame(4000)], sees: 1000, told: 1000, rfc: "1.4: the first" },
  cut(
    "a-message-inside-another",
    "Invalid fragment",
    "5.4: MUST NOT, 1002",
    maskedFrame(Text, utf8("one"), part),
    maskedFrame(Text, utf8("two")),
  ),
  {
    name: "fragments-of-two-messages",
    sends: [
      maskedFrame(Text, utf8("one"), part),
      maskedFrame(Text, utf8("two"), part),
      maskedFrame(Continuation, utf8("three")),
    ],
    sees: "served",
    told: 1000,
    messages: ["twothree"],
    rfc: "5.4: MUST NOT, 1002",
  },
  {
    name: "a-ping-inside-a-message",
    sends: [maskedFrame(Text, utf8("on"), part), maskedFrame(Ping, nothing), maskedFrame(Continuation, utf8("e"))],
    sees: "served",
    told: 1000,
    messages: ["one"],
    rfc: "5.4: in order",
  },
  cut("orphan", "Invalid continuation frame", "5.4: MUST NOT, 1002", maskedFrame(Continuation, utf8("x"))),
  cut("orphan-part", "Invalid continuation frame", "5.4: MUST NOT, 1002", maskedFrame(Continuation, utf8("x"), part)),
  cut("65-MiB", "Frame too large", "10.4: 1009", maskedFrame(Binary, nothing, { length: 65 * 1024 ** 2 })),
  cut("4-PiB", "Frame too large", "10.4: 1009", maskedFrame(Binary, nothing, { length: 2 ** 52 })),
  cut(
    "length-with-its-highest-bit-set",
    "Frame too large",
    "5.2: MUST be 0, 1002",
    bytes(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0),
  ),
  {
    name: "length-in-a-longer-form",
    sends: [bytes(0x81, 0xfe, 0, 2, 0, 0, 0, 0, 0x68, 0x69)],
    sees: "served",
    told: 1000,
    messages: ["hi"],
    rfc: "5.2: MUST be the shortest, 1002",
  },
  cut("http", "Reserved bits are not zero", "5.2: MUST fail, 1002", utf8("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")),
];

for (const mode of ["direct", "proxied"]) {
  Deno.test(`invalid frames close their own connection, and are logged and reported once (${mode})`, async (t) => {
    await using service = await RecordedService.start(["--mode", mode]);
    await using bystander = await RawPeer.open(service, { name: "bystander" });
    for (const { name, sends, sees, told, error, messages = [], rfc } of CASES) {
      await t.step(`${name}: ${sees} (RFC 6455 ${rfc})`, async () => {
        await using peer = await RawPeer.open(service, { name });
        await peer.send(...sends);
        if (sees === "served") {
          await peer.until(() => peer.frames.length >= messages.length && peer.texts.length + binaries(peer) > 0);
          await peer.send(closeFrame(1000));
        }
        const end = await peer.ended;
        const code = end.broken === undefined ? end.code ?? "none" : "broken";
        assertEquals(code, sees === "served" ? 1000 : sees);
        assertEquals(peer.frames.filter(({ opcode }) => opcode <= Binary).map(textOf), messages);

        const ending = await service.call(name, "close");
        assertEquals([ending.code, ending.messages], [told, messages.length]);
        if (told === 1006) assertEquals(ending.reason, "the connection ended without a close frame");
        const { id } = await service.call(name, "open");
        const lines = () => service.log.filter((line) => line.peer === id);
        await eventually(() => lines().length > 1, "a line in the log");
        assertEquals(lines().map((line) => [line.level, line.message, line.error]), [
          ["debug", "opened", undefined],
          ["debug", "closed", error],
        ]);
        assertEquals(await bystander.ask(name), name);
      });
    }
    for (const { name } of CASES) assertEquals(service.calls("close", name).length, 1, name);
    assertEquals(service.calls("close", "bystander"), []);
  });
}

Deno.test("an incomplete frame and silence: the client is pinged, closed and reported as vanished", async () => {
  await using service = await RecordedService.start(["--idle-timeout", "6s"]);
  const halves = [
    bytes(0x81),
    textFrame("hello").slice(0, 8),
    maskedFrame(Binary, nothing, { length: 60 * 1024 ** 2 }),
  ];
  await Promise.all(halves.map(async (half, index) => {
    const name = `half-${index}`;
    const began = performance.now();
    await using peer = await RawPeer.open(service, { name });
    await peer.send(half);
    assertEquals((await peer.ended).code, 1001);
    const took = performance.now() - began;
    assert(took > 5_000 && took < 60_000, `${took} ms`);
    const { code, reason, messages } = await service.call(name, "close");
    assertEquals([code, reason, messages], [1006, "no pong: the client did not answer a ping", 0]);
    assertEquals(service.calls("close", name).length, 1);
  }));
  await service.until(0);
});

function binaries(peer: RawPeer): number {
  return peer.frames.filter(({ opcode }) => opcode === Binary).length;
}

function textOf({ payload }: { payload: Uint8Array }): string {
  return new TextDecoder().decode(payload);
}
