import { assertEquals } from "@std/assert";
import { type Payload, Topics } from "../../lib/hub/topics.ts";

function subscriber(name: string, record: string[]) {
  return { deliver: (payload: Payload) => void record.push(`${name}:${payload}`) };
}

Deno.test("topics: delivery to every subscriber of the topic, in order, but not to the one left out", () => {
  const record: string[] = [];
  const topics = new Topics();
  const [a, b, c] = ["a", "b", "c"].map((name) => subscriber(name, record)) as [
    ReturnType<typeof subscriber>,
    ReturnType<typeof subscriber>,
    ReturnType<typeof subscriber>,
  ];
  topics.subscribe("news", a);
  topics.subscribe("news", b);
  topics.subscribe("other", c);
  topics.publish("news", "1");
  topics.publish("news", "2", a);
  topics.publish("nobody", "3");
  topics.publish("other", "4", a);
  assertEquals(record, ["a:1", "b:1", "b:2", "c:4"]);
});

Deno.test("topics: subscribing twice delivers once, unsubscribing ends it, and nothing is left of an empty topic", () => {
  const record: string[] = [];
  const topics = new Topics();
  const a = subscriber("a", record);
  topics.subscribe("news", a);
  topics.subscribe("news", a);
  assertEquals(topics.size("news"), 1);
  topics.publish("news", "1");
  topics.unsubscribe("news", a);
  topics.unsubscribe("news", a);
  topics.unsubscribe("never", a);
  topics.publish("news", "2");
  assertEquals([record, topics.size("news"), topics.size("never")], [["a:1"], 0, 0]);
});

Deno.test("topics: a subscriber that leaves while it is delivered to harms nobody", () => {
  const record: string[] = [];
  const topics = new Topics();
  const leaver = {
    deliver: (payload: Payload) => {
      record.push(`leaver:${payload}`);
      topics.unsubscribe("news", leaver);
    },
  };
  topics.subscribe("news", leaver);
  topics.subscribe("news", subscriber("b", record));
  topics.publish("news", "1");
  topics.publish("news", "2");
  assertEquals(record, ["leaver:1", "b:1", "b:2"]);
});
