/**
 * Nodes as processes, each the real program with tests/hub/node_app.ts, and clients that tell it what to do.
 * @module
 */
import { join } from "node:path";
import type { NodeList } from "../../lib/hub/service_calls.ts";
import type { RelayCounts } from "../../lib/hub/frame_relay.ts";
import { Client } from "../support/client.ts";
import { type Program, startProgram } from "../support/program.ts";
import type { Command } from "./node_app.ts";

const APP = new URL("./node_app.ts", import.meta.url).pathname;

/** A client of a node. What it is sent by others, and what it is answered, are told apart by their form. */
export interface NodeClient extends AsyncDisposable {
  readonly id: string;
  /** Numbers that came in streams, and other texts. */
  readonly numbers: number[];
  readonly texts: string[];
  readonly closed: Client["closed"];
  tell(command: Command): void;
  ask<T>(command: Command): Promise<T>;
  /** Resolves once this number has come. */
  until(number: number): Promise<void>;
}

/** A node. Disposing of it kills it. */
export interface Node extends AsyncDisposable {
  readonly program: Program;
  client(query?: string): Promise<NodeClient>;
}

/** Starts a node; it listens on a unix socket, so that it may be in a network namespace. */
export async function startNode(
  broker: string,
  options: readonly string[] = [],
  wrapper: readonly string[] = [],
): Promise<Node> {
  const folder = await Deno.makeTempDir({ prefix: "wss-node-" });
  const unix = join(folder, "socket");
  const program = await startProgram(
    ["--mode", "proxied", "--unix", unix, "--app", APP, "--log-format", "json", "--broker", broker, ...options],
    { folder, wrapper },
  ).catch(async (error) => {
    await Deno.remove(folder, { recursive: true });
    throw error;
  });
  return {
    program,
    client: async (query = "") => await clientOf(await Client.open(`ws://localhost/${query}`, { unix })),
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

async function clientOf(client: Client): Promise<NodeClient> {
  const { id } = JSON.parse(await client.next() as string);
  const numbers: number[] = [];
  const texts: string[] = [];
  const answers: ((value: unknown) => void)[] = [];
  let wanted: { number: number; resolve: () => void; reject: (error: Error) => void } | undefined;
  let ended = false;
  const reading = (async () => {
    try {
      for (;;) {
        const text = await client.next() as string;
        if (/^\d+ *$/.test(text)) {
          const number = Number(text);
          numbers.push(number);
          if (number === wanted?.number) wanted.resolve();
        } else if (/^[{["]/.test(text)) {
          answers.shift()?.(JSON.parse(text));
        } else {
          texts.push(text);
        }
      }
    } catch (error) {
      // It was closed.
      ended = true;
      wanted?.reject(error as Error);
    }
  })();
  return {
    id,
    numbers,
    texts,
    closed: client.closed,
    tell: (command) => client.send(JSON.stringify(command)),
    ask<T>(command: Command) {
      const { promise, resolve } = Promise.withResolvers<T>();
      answers.push(resolve as (value: unknown) => void);
      client.send(JSON.stringify(command));
      return promise;
    },
    async until(number) {
      if (numbers.includes(number)) return;
      if (ended) throw new Error("it was closed");
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      wanted = { number, resolve, reject };
      await promise;
    },
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await reading;
    },
  };
}

/** Asks until the answer is as it should be; what other nodes get to know is told to nobody here. */
export async function eventually<T>(ask: () => Promise<T>, right: (value: T) => boolean, within = 30_000): Promise<T> {
  const deadline = performance.now() + within;
  for (;;) {
    const value = await ask();
    if (right(value)) return value;
    if (performance.now() > deadline) throw new Error(`not within ${within} ms: ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The counts of a client's own node. */
export async function countsOf(client: NodeClient): Promise<RelayCounts> {
  return (await client.ask<NodeList>({ do: "nodes" })).nodes[0]!.counts!;
}

/** Waits until each client's node knows so many. */
export async function acquainted(count: number, ...clients: readonly NodeClient[]): Promise<void> {
  for (const client of clients) {
    await eventually(() => client.ask<NodeList>({ do: "nodes" }), ({ nodes }) => nodes.length === count);
  }
}
