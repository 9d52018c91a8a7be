import { assert, assertEquals } from "@std/assert";
import { median } from "../support/figures.ts";
import { textFrame } from "../support/frames.ts";
import { descriptors, residentBytes } from "../support/proc.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { eventually, RecordedService } from "./recorded_service.ts";

const MIB = 1024 ** 2;
const LIMIT = 128 * 1024;
/** The number of waiting bytes above which the service closes a peer at once. */
const HARD_LIMIT = 8 * LIMIT;
const READERS = 50;
const CHUNK = 65_536;

/** Connects peers and subscribes them to the published messages. */
async function subscribers(
  service: RecordedService,
  count: number,
  name: string,
  reading: boolean,
): Promise<RawPeer[]> {
  const peers: RawPeer[] = [];
  for (let index = 0; index < count; index++) {
    const peer = await RawPeer.open(service, { name: `${name}-${index}`, reading });
    await peer.send(textFrame("!subscribe"));
    peers.push(peer);
  }
  return peers;
}

/** Publishes repeatedly. Returns for each message the time in milliseconds until all healthy peers have received it. */
async function fanOut(publisher: RawPeer, healthy: readonly RawPeer[], rounds: number): Promise<number[]> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const wanted = healthy.map((peer) => peer.frames.length + 1);
    const began = performance.now();
    await publisher.send(textFrame(`!publish ${CHUNK}`));
    await Promise.all(healthy.map((peer, index) => peer.until(() => peer.frames.length >= wanted[index]!)));
    times.push(performance.now() - began);
    if (round % 50 === 49) { for (const peer of healthy) peer.frames.length = 0; }
  }
  return times;
}

function drop(peers: readonly RawPeer[]): void {
  for (const peer of peers) peer.drop();
}

for (const mode of ["direct", "proxied"]) {
  Deno.test(`50 readers that stop are closed with 1013 and let go of; memory and the others' latency stay (${mode})`, async () => {
    // The raw clients answer no pings. On a busy machine this test takes longer than the default idle timeout.
    const args = ["--mode", mode, "--max-backpressure", `${LIMIT}B`, "--idle-timeout", "10m"];
    await using service = await RecordedService.start(args);
    const { pid } = service.program;
    await using publisher = await RawPeer.open(service, { name: "publisher" });
    const healthy = await subscribers(service, 10, "healthy", true);

    // A program may inherit descriptors of the test runner, so only their growth counts.
    const own = descriptors(pid).length;
    // The same number of reading peers gives the time that 60 subscribers take.
    const others = await subscribers(service, READERS, "others", true);
    const beside = await fanOut(publisher, [...healthy, ...others], 100);
    drop(others);
    await Promise.all(others.map((_, index) => service.call(`others-${index}`, "close")));
    const memory = residentBytes(pid);
    await eventually(() => descriptors(pid).length < own + 10, "the descriptors of the others are back");
    const open = descriptors(pid).length;

    const times: number[] = [];
    const grown: number[] = [];
    for (const wave of ["first", "second", "third"]) {
      const slow = await subscribers(service, READERS, wave, false);
      // Each peer is sent 64 KiB 400 times. Without a limit that would be 1.2 GiB in total.
      times.push(...await fanOut(publisher, healthy, 400));
      grown.push(residentBytes(pid) - memory);
      const endings = await Promise.all(slow.map((_, index) => service.call(`${wave}-${index}`, "close")));
      const reason = `reads too slowly: more than ${LIMIT} bytes are waiting`;
      for (const ending of endings) assertEquals([ending.code, ending.reason], [1013, reason]);
      // The slow peers never read again and do not disconnect by themselves.
      await eventually(() => descriptors(pid).length <= open, "the descriptors are back");
      assertEquals(await service.peers(), healthy.length + 1);
      grown.push(residentBytes(pid) - memory);
      drop(slow);
    }
    const most = READERS * HARD_LIMIT + 64 * MIB;
    for (const bytes of grown) assert(bytes < most, `${grown.map((value) => Math.round(value / MIB))} MiB`);
    // A wave reuses the memory that an earlier one released. The allocator may return some of it late, but a leak would
    // grow with every wave.
    const growth = Math.min(grown[2]! - grown[0]!, grown[4]! - grown[2]!);
    assert(growth < 32 * MIB, `${grown.map((value) => Math.round(value / MIB))} MiB`);
    const [before, after] = [median(beside), median(times)];
    // Peers that do not read delay no other peer. The printed figures show their cost.
    assert(after < before * 4 + 50, `${before} ms became ${after} ms`);
    report(
      `${mode}: ${before.toFixed(2)} ms with readers, ${after.toFixed(2)} ms with slow ones; grew by ${
        grown.map((value) => Math.round(value / MIB))
      } MiB`,
    );
    drop(healthy);
    await service.until(1);
  });
}

Deno.test("a peer that is closed for not reading is cut after a second; one that still reads has its time", async () => {
  await using service = await RecordedService.start(["--max-backpressure", "64KiB"]);
  // A busy machine may be slow once, but not three times.
  let took = Infinity;
  for (let attempt = 0; attempt < 3 && took > 4_500; attempt++) {
    const name = `stuck${attempt}`;
    await using stuck = await RawPeer.open(service, { name, reading: false });
    await feedUntilClosed(service, stuck, name);
    const began = performance.now();
    const { code } = await service.call(name, "close");
    assertEquals(code, 1013);
    took = performance.now() - began;
  }
  assert(took < 4_500, "it had the time of one that reads");
});

Deno.test("send returns false from half the limit on, and drain comes once all is out", async () => {
  const limit = 512 * 1024;
  await using service = await RecordedService.start(["--max-backpressure", `${limit}B`]);
  await using peer = await RawPeer.open(service, { name: "pausing", reading: false });
  let told = 0;
  while (service.calls("sent").at(-1)?.fine !== false) {
    for (let more = 0; more < 8; more++, told++) await peer.send(textFrame("!feed 16384"));
    await eventually(() => service.calls("sent").length === told, "the answer");
    assert(told < 5_000, "it never filled");
  }
  const sent = service.calls("sent");
  // Each message counts as its bytes plus 1 KiB.
  for (const { fine, buffered } of sent) {
    assertEquals(fine, buffered! * (1 + 1 / 16) * 2 <= limit, `${buffered} bytes`);
  }
  assertEquals(service.calls("drain"), []);
  peer.read();
  assertEquals((await service.call("pausing", "drain")).buffered, 0);
  await peer.until(() => peer.frames.length === told);
  assertEquals(await peer.ask("go on"), "go on");
  assertEquals(service.calls("drain").length, 1);
  assertEquals(service.calls("close"), []);
});

/**
 * Makes the service send to a peer that does not read, until the service closes the peer. One message over the limit is
 * not always enough, because the kernel's buffers can grow and take the waiting data.
 */
async function feedUntilClosed(service: RecordedService, peer: RawPeer, name: string): Promise<void> {
  const over = () => service.calls("sent", name).some(({ buffered, fine }) => !fine && buffered === 0);
  const closed = () => over() || service.calls("close", name).length > 0;
  while (!closed()) {
    const told = service.calls("sent", name).length;
    await peer.send(textFrame("!feed 65536"));
    await eventually(() => closed() || service.calls("sent", name).length > told, "the answer");
  }
}

function report(text: string): void {
  // deno-lint-ignore no-console -- prints the figures
  console.log(text);
}
