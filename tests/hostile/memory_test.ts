/**
 * The memory that hostile clients make a service use, and the delay for other clients. `deno task bench -- attack`
 * prints figures.
 * @alone
 */
import { assert, assertEquals } from "@std/assert";
import { maskedFrame, Opcode, repeated, textFrame } from "../support/frames.ts";
import { residentBytes } from "../support/proc.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { eventually, RecordedService } from "./recorded_service.ts";

const MIB = 1024 ** 2;
const KIB = 1024;

/** Records the greatest memory use of a process. */
function watchMemory(pid: number): Disposable & { most(): number } {
  let most = 0;
  const measure = () => most = Math.max(most, residentBytes(pid));
  const timer = setInterval(measure, 20);
  return { most: measure, [Symbol.dispose]: () => clearInterval(timer) };
}

/** Sends echoes until `stop()`, which returns the time of the slowest in milliseconds. */
function echoing(peer: RawPeer): { stop(): Promise<number> } {
  let going = true;
  const done = (async () => {
    let slowest = 0;
    while (going) {
      const began = performance.now();
      await peer.ask("still here");
      slowest = Math.max(slowest, performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return slowest;
  })();
  done.catch(() => {});
  return {
    stop() {
      going = false;
      return done;
    },
  };
}

Deno.test("a burst that the app publishes to many readers reaches all of them, and neither freezes nor fills the service", async () => {
  // These clients answer no pings.
  await using service = await RecordedService.start(["--idle-timeout", "10m"]);
  const { pid } = service.program;
  const readers: RawPeer[] = [];
  for (let index = 0; index < 100; index++) {
    const reader = await RawPeer.open(service, { name: `reader-${index}` });
    await reader.send(textFrame("!subscribe"));
    await reader.ask("subscribed");
    reader.frames.length = 0;
    readers.push(reader);
  }
  await using bystander = await RawPeer.open(service, { name: "bystander" });
  await using publisher = await RawPeer.open(service, { name: "publisher" });
  const before = residentBytes(pid);
  using memory = watchMemory(pid);
  const echoes = echoing(bystander);
  const began = performance.now();
  const lines = 1_000;
  await publisher.send(repeated(textFrame("!publish 24"), lines));
  const linesOf = ({ frames }: RawPeer) => frames.filter(({ opcode }) => opcode === Opcode.Binary).length;
  await Promise.all(
    readers.map((reader) => reader.until(() => reader.frames.length >= lines && linesOf(reader) >= lines)),
  );
  const took = performance.now() - began;
  const slowest = await echoes.stop();
  const grown = memory.most() - before;
  report(`${Math.round(took)} ms, slowest echo ${Math.round(slowest)} ms, grew by ${Math.round(grown / MIB)} MiB`);
  // Without the limit, an echo takes the whole time, and memory grows by 100 MiB.
  assert(slowest < took / 2, `an echo took ${slowest} of ${took} ms`);
  assert(grown < 60 * MIB, `${grown} bytes`);
  for (const reader of readers) assertEquals(linesOf(reader), lines);
  for (const reader of readers) reader.drop();
  await service.until(2);
});

Deno.test("40 clients that send short messages and read no answer hold no more than their limits", async () => {
  await using service = await RecordedService.start(["--max-backpressure", "128KiB"]);
  const { pid } = service.program;
  await using bystander = await RawPeer.open(service, { name: "bystander" });
  await bystander.ask("hi");
  const before = residentBytes(pid);
  using memory = watchMemory(pid);
  const block = repeated(textFrame("x"), 5_000);
  await Promise.all(Array.from({ length: 40 }, async (_, index) => {
    await using peer = await RawPeer.open(service, { name: `deaf-${index}`, reading: false });
    // Each client causes 200,000 answers that count 1 KiB each. Without a limit, that is 200 MiB per client.
    for (let sent = 0; sent < 40 && await peer.send(block); sent++);
    const { code } = await service.call(`deaf-${index}`, "close");
    assert([1013, 1008, 1006].includes(code!), `${code}`);
  }));
  const grown = memory.most() - before;
  report(`grew by ${Math.round(grown / MIB)} MiB`);
  assert(grown < 40 * 8 * 128 * KIB + 150 * MIB, `${grown} bytes`);
  assertEquals(await bystander.ask("still here"), "still here");
});

Deno.test("over --memory-budget the fullest goes first, with 1013", async () => {
  await using service = await RecordedService.start(["--memory-budget", "4MiB", "--max-backpressure", "2MiB"]);
  const feed = async (peer: RawPeer, name: string, times: number) => {
    for (let fed = 1; fed <= times; fed++) {
      await peer.send(textFrame("!feed 65536"));
      await eventually(() => service.calls("sent", name).length >= fed || closed(name), "the answer");
    }
  };
  const closed = (name: string) => service.calls("close", name).length > 0;
  await using small = await RawPeer.open(service, { name: "small", reading: false });
  await using big = await RawPeer.open(service, { name: "big", reading: false });
  await feed(small, "small", 2);
  // The total is ten times the budget, minus the data in the kernel's buffers.
  for (let round = 0; round < 640 && !closed("big"); round++) await feed(big, "big", round + 1);
  const { code, reason } = await service.call("big", "close");
  assertEquals([code, reason], [
    1013,
    "memory budget exceeded: this client uses the most memory",
  ]);
  assertEquals(service.calls("close", "small"), []);
});

Deno.test("an unfinished message has --message-timeout; a slow one that comes whole in time is served", async () => {
  await using service = await RecordedService.start(["--message-timeout", "8s", "--max-payload", "20MiB"]);
  await using forever = await RawPeer.open(service, { name: "forever" });
  await using slow = await RawPeer.open(service, { name: "slow" });
  const began = performance.now();
  await forever.send(maskedFrame(Opcode.Binary, new Uint8Array(200_000), { fin: false }));
  const whole = maskedFrame(Opcode.Binary, new Uint8Array(300_000));
  for (let round = 0; round < 3; round++) {
    for (let at = 0; at < whole.length; at += 30_000) {
      assert(await slow.send(whole.slice(at, at + 30_000)));
      await new Promise((resolve) => setTimeout(resolve, 350));
    }
  }
  await slow.until(() => slow.frames.length === 3);
  const { code, reason } = await service.call("forever", "close");
  assertEquals([code, reason], [1008, "a message was not completed in time"]);
  assert(performance.now() - began > 8_000);
  assertEquals(service.calls("close", "slow"), []);
});

Deno.test("the unfinished messages of all share half of the budget, and the longest goes first", async () => {
  await using service = await RecordedService.start(["--memory-budget", "8MiB"]);
  const peers: RawPeer[] = [];
  for (const [name, size] of [["short", 600_000], ["middle", 2_000_000], ["long", 2_100_000]] as const) {
    const peer = await RawPeer.open(service, { name });
    peers.push(peer);
    await peer.send(maskedFrame(Opcode.Binary, new Uint8Array(size / 2), { fin: false }));
    await peer.send(maskedFrame(Opcode.Continuation, new Uint8Array(size / 2), { fin: false }));
  }
  const { code, reason } = await service.call("long", "close");
  assertEquals(code, 1013);
  assert(reason?.startsWith("memory budget exceeded"), reason);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assertEquals([service.calls("close", "short"), service.calls("close", "middle")], [[], []]);
  for (const peer of peers) peer.drop();
});

Deno.test("the reason of a close frame is cut before the app or the log sees it", async () => {
  await using service = await RecordedService.start();
  await using peer = await RawPeer.open(service, { name: "wordy" });
  const reason = new Uint8Array(1_000_000).fill(0x61);
  await peer.send(maskedFrame(Opcode.Close, new Uint8Array([3, 232, ...reason])));
  const closed = await service.call("wordy", "close");
  assertEquals([closed.code, closed.reason], [1000, "a".repeat(123)]);
});

Deno.test("honest traffic meets no bound: a burst of 10,000, a long message over a slow link", async () => {
  await using service = await RecordedService.start(["--max-payload", "20MiB"]);
  await using burst = await RawPeer.open(service, { name: "burst" });
  const count = 10_000;
  await burst.send(repeated(textFrame("a line of some length, as an upload may have"), count));
  await burst.until(() => burst.frames.length === count);
  await using upload = await RawPeer.open(service, { name: "upload" });
  const whole = maskedFrame(Opcode.Binary, new Uint8Array(20_000_000));
  // The upload is 100 pieces at 5 MB per second.
  for (let at = 0; at < whole.length; at += 200_000) {
    assert(await upload.send(whole.slice(at, at + 200_000)));
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
  const echo = () => upload.frames.find(({ opcode }) => opcode === Opcode.Binary);
  await upload.until(() => echo() !== undefined);
  assertEquals(echo()!.payload.length, 20_000_000);
  assertEquals(service.calls("close"), []);
});

function report(text: string): void {
  // deno-lint-ignore no-console -- prints the figures
  console.log(text);
}
