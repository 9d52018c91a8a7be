/**
 * A node of the hub for tests: its peers, what they received, and what the hub logged.
 * @module
 */
import { silent } from "../../lib/log.ts";
import { HubCalls, type ServiceCalls } from "../../lib/hub/service_calls.ts";
import { Hub, type Member } from "../../lib/hub/hub.ts";
import { topicKey } from "../../lib/hub/topic_names.ts";
import type { Payload } from "../../lib/hub/topics.ts";
import { until } from "../support/until.ts";
import type { Engine } from "./engines.ts";

/** A hub, the gaps that it reported, and what it logged. */
export interface TestHub extends AsyncDisposable {
  readonly hub: Hub;
  readonly calls: ServiceCalls;
  readonly gaps: { readonly namespace: string; readonly topics: readonly string[] }[];
  readonly logged: string[];
  join(
    options?: { readonly user?: string; readonly namespace?: string; readonly topics?: readonly string[] },
  ): TestPeer;
}

/** A peer that records what it receives. */
export interface TestPeer extends Member {
  readonly got: (string | number[])[];
  readonly closed: unknown[];
  publish(topic: string, payload: Payload): void;
}

export async function hubOn(engine: Engine | undefined, prefix = "wss"): Promise<TestHub> {
  const gaps: TestHub["gaps"] = [];
  const logged: string[] = [];
  const note = (message: string) => void logged.push(message);
  const log = { ...silent, error: note, warn: note };
  const hub = new Hub(log);
  hub.gap = (topics, namespace) => gaps.push({ namespace, topics: [...topics].sort() });
  if (engine) await hub.connect({ shown: "test", prefix, open: engine.open });
  return {
    hub,
    gaps,
    logged,
    calls: new HubCalls(hub, (data) => data as Payload),
    join({ user, namespace = "", topics = [] } = {}) {
      const got: TestPeer["got"] = [];
      const closed: unknown[] = [];
      const peer: TestPeer = {
        id: hub.peerId(),
        user,
        namespace,
        got,
        closed,
        deliver: (payload) =>
          void got.push(
            typeof payload === "string"
              ? payload
              : [...new Uint8Array(payload instanceof ArrayBuffer ? payload : payload)],
          ),
        subscribe: (topic) => hub.topics.subscribe(topicKey(namespace, topic), peer),
        unsubscribe: (topic) => hub.topics.unsubscribe(topicKey(namespace, topic), peer),
        publish: (topic, payload) => hub.publish(topicKey(namespace, topic), payload, peer),
        close: (code, reason) => closed.push([code, reason]),
      };
      hub.add(peer);
      for (const topic of topics) peer.subscribe(topic);
      return peer;
    },
    [Symbol.asyncDispose]: () => hub.stop(),
  };
}

/** Waits until all nodes know each other and the broker has processed their earlier requests. */
export async function settle(...hubs: readonly TestHub[]): Promise<void> {
  for (const { calls } of hubs) {
    await until(async () => (await calls.nodes()).nodes.length >= hubs.length);
  }
  // A query is sent after the subscriptions, so its answers arrive after the subscriptions take effect.
  for (const { calls } of hubs) {
    await until(async () => (await calls.online("nobody", { timeout: 20_000 })).complete);
  }
}
