/**
 * Floods a service and measures the echo times of another client meanwhile.
 * @module
 */
import { RawPeer } from "../support/raw_peer.ts";
import type { Flooded, FloodKind, FloodOrder } from "./flood_worker.ts";
import type { RecordedService } from "./recorded_service.ts";

/** The result of a flood. */
export interface FloodResult extends Flooded {
  /** The time of each echo of the other client during the flood, in milliseconds. */
  readonly echoes: readonly number[];
  /** The longest of these times. */
  readonly worst: number;
}

/** Floods a service from another thread for at most the given number of seconds. */
export async function flood(
  { port, ca }: RecordedService,
  name: string,
  kind: FloodKind,
  seconds: number,
): Promise<FloodResult> {
  const service = { port, ca };
  const worker = new Worker(import.meta.resolve("./flood_worker.ts"), { type: "module" });
  try {
    await using bystander = await RawPeer.open(service, { name: `beside-${name}` });
    await bystander.ask("before");
    const { promise, resolve, reject } = Promise.withResolvers<Flooded>();
    const begun = Promise.withResolvers<void>();
    worker.onmessage = ({ data }: MessageEvent<Flooded | "begun">) => {
      if (data === "begun") begun.resolve();
      else resolve(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      begun.resolve();
      reject(new Error(event.message));
    };
    worker.postMessage({ service, name, kind, seconds } satisfies FloodOrder);
    await begun.promise;
    let flooding = true;
    const done = promise.finally(() => flooding = false);
    const echoes: number[] = [];
    while (flooding) {
      const asked = performance.now();
      await bystander.ask("meanwhile");
      echoes.push(performance.now() - asked);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return { ...await done, echoes, worst: Math.max(...echoes) };
  } finally {
    worker.terminate();
  }
}
