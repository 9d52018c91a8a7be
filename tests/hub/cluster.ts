/**
 * Starts nodes as processes: each runs the real program with tests/hub/node_app.ts. Clients send commands to that app.
 * @module
 */
import { join } from "node:path";
import type { NodeList } from "../../lib/hub/service_calls.ts";
import type { RelayCounts } from "../../lib/hub/frame_relay.ts";
import { Client } from "../support/client.ts";
import { type Program, startProgram } from "../support/program.ts";
import type { Command } from "./node_app.ts";

const APP = new URL("./node_app.ts", import.meta.url).pathname;

/** A client of a node. The form of a text tells whether it is a message or the answer to a command. */
export interface NodeClient extends AsyncDisposable {
  readonly id: string;
  /** Numbers received from streams. */
  readonly numbers: number[];
  /** Other messages received. */
  readonly texts: string[];
  readonly closed: Client["closed"];
  tell(command: Command): void;
  ask<T>(command: Command): Promise<T>;
  /** Resolves once this number has arrived. */
  until(number: number): Promise<void>;
}

/** A node. Its disposal kills the process. */
export interface Node extends AsyncDisposable {
  readonly program: Program;
  client(query?: string): Promise<NodeClient>;
}

/** Starts a node. It listens on a Unix socket, so clients reach it even in a network namespace. */
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
      // The connection was closed.
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
      if (ended) throw new Error("the connection was closed");
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

/** Asks until the answer is right. Polls, because no event tells a test what other nodes have learned. */
export async function eventually<T>(ask: () => Promise<T>, right: (value: T) => boolean, within = 30_000): Promise<T> {
  const deadline = performance.now() + within;
  for (;;) {
    const value = await ask();
    if (right(value)) return value;
    if (performance.now() > deadline) throw new Error(`still wrong after ${within} ms: ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The counts of the client's node. */
export async function countsOf(client: NodeClient): Promise<RelayCounts> {
  return (await client.ask<NodeList>({ do: "nodes" })).nodes[0]!.counts!;
}

/**
 * Waits until the node of each client knows `count` nodes, and all of them answer. The subscriptions of the clients are in
 * effect then, because the broker received them before the request.
 */
export async function acquainted(count: number, ...clients: readonly NodeClient[]): Promise<void> {
  for (const client of clients) {
    await eventually(
      () => client.ask<NodeList>({ do: "nodes" }),
      ({ nodes, complete }) => complete && nodes.length === count,
    );
  }
}
