import { assertEquals } from "@std/assert";
import { type Payload, Topics } from "../../lib/hub/topics.ts";

function subscriber(name: string, record: string[]) {
  return { deliver: (payload: Payload) => void record.push(`${name}:${payload}`) };
}

Deno.test("topics: delivers in order to every subscriber except the excluded one", () => {
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

Deno.test("topics: a repeated subscription delivers once, and an empty topic is removed", () => {
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

Deno.test("topics: a subscriber may unsubscribe during delivery", () => {
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
