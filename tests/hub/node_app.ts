// An app that runs the commands of its clients: each message is one JSON command.
import { defineApp } from "../../lib/ws/app_types.ts";

/** A client's command. */
export type Command =
  | { do: "subscribe" | "unsubscribe"; topic: string }
  | { do: "publish"; topic: string; data: string }
  /** Publishes `count` numbers as text, one every `every` ms. */
  | { do: "stream"; topic: string; from: number; count: number; every: number; pad?: number }
  | { do: "send"; user: string; data: string }
  | { do: "disconnect"; user: string; code: number }
  | { do: "presence" | "topics"; name: string }
  | { do: "online"; user: string }
  | { do: "nodes" | "gaps" | "memory" };

export default defineApp((service) => {
  const gaps: unknown[] = [];
  return {
    upgrade(request) {
      const { searchParams } = new URL(request.url);
      const user = searchParams.get("user") ?? undefined;
      return { user, namespace: searchParams.get("namespace") ?? "" };
    },
    open(peer) {
      peer.send(JSON.stringify({ id: peer.id, user: peer.user }));
    },
    async message(peer, message) {
      const command = message.json<Command>();
      const answer = (value: unknown) => void peer.send(JSON.stringify(value));
      switch (command.do) {
        case "subscribe":
        case "unsubscribe":
          peer[command.do](command.topic);
          return answer("done");
        case "publish":
          return peer.publish(command.topic, command.data);
        case "stream": {
          const { topic, from, count, every, pad = 0 } = command;
          for (let i = from; i < from + count; i++) {
            service.publish(topic, `${i}`.padEnd(pad));
            if (every > 0) await new Promise((resolve) => setTimeout(resolve, every));
          }
          return answer("done");
        }
        case "send":
          return service.send({ user: command.user }, command.data);
        case "disconnect":
          return service.disconnect({ user: command.user }, { code: command.code, reason: "told to" });
        case "presence":
          return answer(await service.presence(command.name));
        case "topics":
          return answer(await service.topics(command.name));
        case "online":
          return answer(await service.online(command.user));
        case "nodes":
          return answer(await service.nodes());
        case "gaps":
          return answer(gaps);
        case "memory":
          return answer({ rss: Deno.memoryUsage().rss });
      }
    },
    gap(topics, { namespace }) {
      gaps.push({ topics, namespace });
    },
  };
});
