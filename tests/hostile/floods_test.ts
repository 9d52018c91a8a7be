import { assert, assertEquals } from "@std/assert";
import { median } from "../support/figures.ts";
import { closeFrame, textFrame } from "../support/frames.ts";
import { descriptors } from "../support/proc.ts";
import { dial, handshake, readHead, writeAll } from "../support/raw.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { seeded } from "../support/seeded.ts";
import { flood } from "./flood.ts";
import type { FloodKind } from "./flood_worker.ts";
import { eventually, RecordedService } from "./recorded_service.ts";

/**
 * The longest echo time allowed during a flood, in milliseconds. The service aims at half a second, and a busy machine
 * takes longer. Without the protection, an echo takes as long as the whole flood.
 */
const WORST = 8_000;
const FLOOD_SECONDS = 20;

const FLOODS: readonly (readonly [FloodKind, codes: readonly number[], reason: RegExp])[] = [
  // The limit on queued messages ends these floods. On a busy machine the watchdog may end them first.
  ["text", [1008], /^message queue full|^frame flood/],
  ["binary", [1008], /^message queue full|^frame flood/],
  // These floods cause no events. The watchdog detects them by their bytes or by a blocked event loop.
  ["pong", [1009, 1008], /^unfinished message exceeds maxPayload|^frame flood/],
  ["continuation", [1009, 1008], /^unfinished message exceeds maxPayload|^frame flood/],
];

Deno.test("a flood over TLS is closed, and other clients are served without delay", async (t) => {
  await using service = await RecordedService.start();
  for (const [kind, codes, expected] of FLOODS) {
    await t.step(kind, async () => {
      const name = `quiet-${kind}`;
      const { cut, after, sent, echoes, worst } = await flood(service, name, kind, FLOOD_SECONDS);
      // A sender of long messages that is slower than the service does not delay other clients, so it may continue.
      if (kind === "binary" && !cut && worst < WORST) return report(`${kind}: not cut, worst echo ${worst} ms`);
      assert(cut, `it went on for ${FLOOD_SECONDS} s and ${sent} bytes`);
      const { code, reason } = await service.call(name, "close");
      assert(codes.includes(code!) && expected.test(reason!), `${code} ${reason}`);
      assert(worst < WORST, `another client's echo took ${worst} ms`);
      assertEquals(service.calls("close", name).length, 1);
      const notice = () => service.log.find((line) => line.level === "info" && line.reason === reason);
      await eventually(() => notice() !== undefined, "a line in the log");
      assertEquals([notice()!.message, notice()!.code, notice()!.address], [
        "connection closed by a limit",
        code,
        "127.0.0.1",
      ]);
      report(
        `${kind}: cut after ${Math.round(after)} ms and ${sent} bytes; echoes beside it: worst ${
          Math.round(worst)
        } ms, median ${median(echoes).toFixed(1)} ms`,
      );
    });
  }
  await service.until(0);
});

Deno.test("--message-rate: accepts a burst of twice the rate, closes with 1008 for one more, and keeps a steady client", async () => {
  await using service = await RecordedService.start(["--message-rate", "20", "--mode", "proxied"]);
  await using steady = await RawPeer.open(service, { name: "steady" });
  await using hasty = await RawPeer.open(service, { name: "hasty" });
  const messages = Array.from({ length: 200 }, (_, index) => textFrame(`${index}`));
  let sending = true;
  const going = (async () => {
    for (let count = 0; sending; count++) {
      assertEquals(await steady.ask(`${count}`), `${count}`);
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  })();
  await hasty.send(...messages.slice(0, 40));
  await hasty.until(() => hasty.texts.length === 40);
  await hasty.send(...messages);
  await hasty.ended;
  const { code, reason, messages: taken } = await service.call("hasty", "close");
  assertEquals([code, reason], [1008, "message rate exceeds 20 per second"]);
  // The service refuses the second batch at some message. On a slow machine the rate lets more messages pass.
  assert(taken! >= 40 && taken! < 240, `${taken} messages passed`);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  sending = false;
  await going;
  assertEquals(service.calls("close", "steady"), []);
});

/** Sends an upgrade request and returns the status line and the headers of the response. */
async function answer(service: RecordedService, hostname?: string, headers = ""): Promise<string> {
  const conn = await dial({ port: service.port, ca: service.ca, hostname });
  try {
    const request = handshake({ target: "/?name=asking" });
    await writeAll(conn, new TextEncoder().encode(request.replace("\r\n\r\n", `\r\n${headers}\r\n`)));
    return await readHead(conn);
  } finally {
    conn.close();
  }
}

function assertRefused(head: string): void {
  assert(head.startsWith("HTTP/1.1 503 "), head);
  assert(/^retry-after: 10$/mi.test(head), head);
}

Deno.test("--max-connections and --max-connections-per-address answer 503 with Retry-After until connections close", async (t) => {
  for (const option of ["--max-connections", "--max-connections-per-address"]) {
    await t.step(option, async () => {
      await using service = await RecordedService.start([option, "3"]);
      const held = [];
      for (const name of ["one", "two", "three"]) held.push(await RawPeer.open(service, { name }));
      assertRefused(await answer(service));
      // Plain HTTP requests on another connection do not count as WebSocket connections.
      assertEquals(await service.peers(), 3);
      // A connection frees its place when it ends by close frame, by FIN without a close frame, or by the service.
      await held[0]!.send(closeFrame(1000));
      await service.call("one", "close");
      await using four = await RawPeer.open(service, { name: "four" });
      assertRefused(await answer(service));
      held[1]!.drop();
      await service.call("two", "close");
      await using five = await RawPeer.open(service, { name: "five" });
      await five.send(textFrame("!terminate"));
      await service.call("five", "close");
      await using six = await RawPeer.open(service, { name: "six" });
      assertRefused(await answer(service));
      assertEquals(await six.ask("hi") + await four.ask(" there"), "hi there");
      for (const peer of held) peer.drop();
    });
  }
});

Deno.test("clients reported by a proxy are counted by IPv4 address or IPv6 /64", async () => {
  await using service = await RecordedService.start(["--mode", "proxied", "--max-connections-per-address", "2"]);
  const from = (address: string) => answer(service, undefined, `X-Forwarded-For: ${address}\r\n`);
  const hold = async (address: string) => {
    const conn = await dial(service);
    const request = handshake({ target: `/?name=${address.replaceAll(/[:.]/g, "-")}` });
    const text = request.replace("\r\n\r\n", `\r\nX-Forwarded-For: ${address}\r\n\r\n`);
    await writeAll(conn, new TextEncoder().encode(text));
    assert((await readHead(conn)).startsWith("HTTP/1.1 101 "));
    return conn;
  };
  const held = [await hold("2001:db8:0:1::1"), await hold("2001:db8:0:1:ffff::2")];
  assertRefused(await from("2001:db8:0:1:1234::9"));
  held.push(await hold("2001:db8:0:2::1"), await hold("192.0.2.1"), await hold("::ffff:192.0.2.1"));
  assertRefused(await from("192.0.2.1"));
  assert((await from("192.0.2.2")).startsWith("HTTP/1.1 101 "));
  for (const conn of held) conn.close();
  await service.until(0);
});

Deno.test("::1 and 127.0.0.1 are counted separately on a dual-stack service", async () => {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
  } catch {
    return report("SKIPPED: this machine has no ::1");
  }
  await using service = await RecordedService.start(["--host", "::", "--max-connections-per-address", "1"]);
  await using _six = await RawPeer.open(service, { hostname: "::1", name: "six" });
  await using _four = await RawPeer.open(service, { name: "four" });
  assertRefused(await answer(service, "::1"));
  assertRefused(await answer(service));
});

for (const mode of ["direct", "proxied"]) {
  Deno.test(`connection counts return to zero after any opening, closing and breaking of connections (${mode})`, async () => {
    const quota = 12;
    const seed = 20_261_123;
    const random = seeded(seed);
    await using service = await RecordedService.start(["--mode", mode, "--max-connections", `${quota}`]);
    await eventually(() => service.peers().then((peers) => peers === 0), "nobody");
    const open = descriptors(service.program.pid).length;
    let live: RawPeer[] = [];
    const used: RawPeer[] = [];
    let refused = 0;
    for (let step = 0; step < 400; step++) {
      const peer = live[random(live.length || 1)];
      const what = random(8);
      if (what < 4 || peer === undefined) {
        try {
          // The echo ensures that the connection is open at both ends, so that the count is exact.
          const next = await RawPeer.open(service, { name: `r${step}`, answering: random(4) > 0 });
          used.push(next);
          live.push(next);
        } catch (error) {
          assert(/no upgrade: HTTP\/1.1 503/.test(String(error)), String(error));
          refused++;
        }
        continue;
      }
      live = live.filter((one) => one !== peer);
      if (what === 4) await peer.send(closeFrame(1000));
      else if (what === 5) peer.drop();
      else if (what === 6) await peer.send(textFrame(`!${["terminate", "throw", "reject"][random(3)]}`));
      else {
        // This client disconnects in the middle of its handshake.
        const conn = await dial(service);
        await writeAll(conn, handshake({ target: "/?name=left" }).slice(0, 20 + random(200)));
        conn.close();
        live.push(peer);
      }
    }
    for (const peer of used) peer.drop();
    await service.until(0);
    assertEquals(service.calls("open").length, service.calls("close").length, `seed ${seed}`);
    assert(refused > 0 && used.length > quota * 3, `seed ${seed}: ${refused} refused, ${used.length} used`);
    await eventually(() => descriptors(service.program.pid).length <= open + 1, `seed ${seed}: ${open} descriptors`);
    const whole = [];
    for (let count = 0; count < quota; count++) whole.push(await RawPeer.open(service, { name: `w${count}` }));
    assertRefused(await answer(service));
    for (const peer of whole) peer.drop();
    await service.until(0);
    for (const peer of [...used, ...whole]) await peer.ended;
  });
}

function report(text: string): void {
  // deno-lint-ignore no-console -- prints the figures
  console.log(text);
}
