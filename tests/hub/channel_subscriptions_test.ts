import { assert, assertEquals } from "@std/assert";
import { faultyEngine } from "./engines.ts";
import { until } from "../support/until.ts";
import { hubOn } from "./test_hub.ts";

const MIB = 1024 ** 2;

Deno.test("hub: of the topics that wait to be unsubscribed, at most eight million characters are kept", async () => {
  await using engine = await faultyEngine();
  await using a = await hubOn(engine);
  const peer = a.join({ topics: ["stays"] });
  const channels = engine.channels.size;
  for (let i = 0; i < 20; i++) {
    const topic = `${i}`.padEnd(MIB, "x");
    peer.subscribe(topic);
    peer.unsubscribe(topic);
  }
  const waiting = engine.channels.size - channels;
  assert(waiting > 0 && waiting <= 8, `${waiting} of 20 topics wait`);
  await until(() => engine.channels.size === channels);
  // The characters of topics that are left and joined again are not counted twice.
  for (let i = 0; i < 20; i++) {
    peer.subscribe("again".padEnd(MIB, "x"));
    peer.unsubscribe("again".padEnd(MIB, "x"));
  }
  assertEquals(engine.channels.size, channels + 1);
});
