import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { closeFrame, maskedFrame, Opcode, textFrame } from "../support/frames.ts";
import { descriptors } from "../support/proc.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { seeded } from "../support/seeded.ts";
import { Transcript } from "../support/transcript.ts";
import { eventually, RecordedService } from "./recorded_service.ts";
import { NEAR, VethLink } from "../support/veth_link.ts";

Deno.test("pings keep an idle connection open, and an unanswered ping is reported as 1006", async () => {
  await using service = await RecordedService.start(["--idle-timeout", "6s"]);
  await using quiet = await service.client("patient");
  const began = performance.now();
  await using mute = await RawPeer.open(service, { name: "mute" });
  assertEquals((await mute.ended).code, 1001);
  const took = performance.now() - began;
  assert(took > 5_000 && took < 60_000, `${took} ms`);
  assertEquals(mute.frames[0]!.opcode, Opcode.Ping);
  const { code, reason } = await service.call("mute", "close");
  assertEquals([code, reason], [1006, "no pong: the client did not answer a ping"]);
  // This is twice the time after which the service closed the other connection.
  await new Promise((resolve) => setTimeout(resolve, 12_000));
  assertEquals(await quiet.ask("still here"), "still here");
  assertEquals(service.calls("close", "patient"), []);
});

const REMOTE_CLIENT = fileURLToPath(new URL("./remote_client.ts", import.meta.url));
const IDLE = 10_000;

/** Starts a client at the far end and waits until it is connected. */
async function remoteClient(link: VethLink, ...args: string[]): Promise<AsyncDisposable> {
  const [command = "", ...before] = link.far;
  const child = new Deno.Command(command, {
    args: [...before, Deno.execPath(), "run", "-A", REMOTE_CLIENT, ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const said = new Transcript("the remote client", child.stdout);
  await said.until(/^open$/m);
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await Promise.all([child.status, said.done]);
    },
  };
}

Deno.test("a peer whose packets are lost is closed within --idle-timeout, with and without unsent data", async (t) => {
  const link = await VethLink.open();
  if (link === undefined) return;
  await using _link = link;
  await using service = await RecordedService.start(
    ["--mode", "proxied", "--host", NEAR, "--idle-timeout", `${IDLE}ms`, "--max-backpressure", "64MiB"],
    { wrapper: link.near },
  );
  const { pid } = service.program;
  const before = descriptors(pid).length;
  const url = (name: string) => `ws://${NEAR}:${service.port}/?name=${name}`;
  await using _idle = await remoteClient(link, url("idle"));
  await using _fed = await remoteClient(link, url("fed"), "stuck", "60");
  // The data exceeds the kernels' buffers. Some of it waits in the service, far below the service's limit.
  await eventually(() => service.calls("sent", "fed").length === 60, "all was sent");
  assert(service.calls("sent", "fed").at(-1)!.buffered! > 0, "nothing waits");
  assertEquals(service.calls("close"), []);

  await link.setDown();
  const down = performance.now();
  for (const name of ["idle", "fed"]) {
    await t.step(name, async () => {
      const { code, reason } = await service.call(name, "close");
      const took = performance.now() - down;
      // deno-lint-ignore no-console -- prints the figures
      console.log(`${name}: noticed after ${Math.round(took)} ms: ${code} ${reason}`);
      assertEquals(code, 1006);
      assert(/did not (?:answer a ping|acknowledge)/.test(reason!), reason);
      assert(took < IDLE + 20_000, `${took} ms`);
    });
  }
  await eventually(() => descriptors(pid).length <= before, "the descriptors are back");
  for (const name of ["idle", "fed"]) assertEquals(service.calls("close", name).length, 1);
});

/** The ways in which a connection ends. Each returns the codes that the app may receive. */
const ENDINGS: Readonly<Record<string, (peer: RawPeer) => Promise<readonly number[]>>> = {
  async closes(peer) {
    await peer.send(closeFrame(4000));
    return [4000];
  },
  // deno-lint-ignore require-await -- one shape for all
  async drops(peer) {
    peer.drop();
    return [1006];
  },
  async resets(peer) {
    // The kernel sends a reset when a socket closes with unread data.
    await peer.send(textFrame("!feed 100000"));
    await new Promise((resolve) => setTimeout(resolve, 50));
    peer.drop();
    return [1006];
  },
  async closesAndDrops(peer) {
    await peer.send(textFrame("!close 4001"), closeFrame(4002));
    peer.drop();
    return [4001, 4002, 1006];
  },
  async isClosed(peer) {
    await peer.send(textFrame("!close 4003"));
    return [4003];
  },
  async isTerminated(peer) {
    await peer.send(textFrame("!terminate"));
    return [1006];
  },
  async isClosedAndGoesOn(peer) {
    // A message that arrives after the service's close frame does not reach the app.
    await peer.send(textFrame("!close 4004"), textFrame("!terminate"));
    return [4004];
  },
  async breaksAHook(peer) {
    await peer.send(textFrame("!throw"), textFrame("!reject"));
    return [1011];
  },
  async sendsTooMuch(peer) {
    await peer.send(maskedFrame(Opcode.Binary, new Uint8Array(70_000)), textFrame("more"));
    return [1009];
  },
  async breaksTheProtocol(peer) {
    await peer.send(maskedFrame(3, new Uint8Array()), closeFrame(4005));
    return [1006];
  },
  // deno-lint-ignore require-await -- one shape for all
  async stays() {
    return [1001];
  },
};

for (const mode of ["direct", "proxied"]) {
  Deno.test(`the close hook runs exactly once, however the connection ends (${mode})`, async () => {
    const seed = 3_104;
    const random = seeded(seed);
    await using service = await RecordedService.start([
      "--mode",
      mode,
      "--max-payload",
      "64KiB",
      "--drain-timeout",
      "500ms",
      // Raw peers answer no pings.
      "--idle-timeout",
      "10m",
    ]);
    const ways = Object.keys(ENDINGS);
    const peers: RawPeer[] = [];
    const expected = new Map<string, { way: string; codes: readonly number[] }>();
    const pending: Promise<void>[] = [];
    for (let index = 0; index < 120; index++) {
      const way = ways[index < ways.length ? index : random(ways.length)]!;
      const name = `${way}-${index}`;
      const peer = await RawPeer.open(service, { name, reading: way !== "resets", answering: random(3) > 0 });
      peers.push(peer);
      // Some connections end at once, others after further connections have opened and ended.
      pending.push((async () => {
        await new Promise((resolve) => setTimeout(resolve, random(200)));
        expected.set(name, { way, codes: await ENDINGS[way]!(peer) });
      })());
    }
    await Promise.all(pending);
    for (const [name, { way }] of expected) if (way !== "stays") await service.call(name, "close");
    const staying = [...expected].filter(([, { way }]) => way === "stays").map(([name]) => name);
    assertEquals(await service.peers(), staying.length);
    const { code } = await service.stop();
    assertEquals(code, 0);
    const closes = service.calls("close");
    assertEquals(service.calls("open").length, 120);
    assertEquals(closes.length, 120, `seed ${seed}`);
    for (const [name, { codes }] of expected) {
      const told = closes.filter((close) => close.name === name);
      assertEquals(told.length, 1, `seed ${seed}: ${name}`);
      assert(codes.includes(told[0]!.code!), `seed ${seed}: ${name} was told ${told[0]!.code} ${told[0]!.reason}`);
    }
    for (const peer of peers) {
      peer.drop();
      await peer.ended;
    }
  });
}
