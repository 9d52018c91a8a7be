/**
 * Starts the program with several workers, for the tests.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { Client, type ClientOptions } from "../support/client.ts";
import { type Program, type ProgramOptions, startProgram } from "../support/program.ts";

/** Answers `pid`, blocks its event loop for `freeze MS`, subscribes for `join ROOM`, publishes for `say ROOM TEXT`. */
export const WORKER_APP = {
  "worker.ts": `import { defineApp } from "@wss/wss";
    export default defineApp({
      message(peer, message) {
        const [command, room = "", ...rest] = message.text().split(" ");
        if (command === "pid") peer.send(String(Deno.pid));
        else if (command === "freeze") { for (const until = Date.now() + Number(room); Date.now() < until;); peer.send("awake"); }
        else if (command === "heap") { const kept = []; while (true) kept.push(new Array(1_000_000).fill(Math.random())); }
        else if (command === "exit") Deno.exit(3);
        else if (command === "join") { peer.subscribe(room); peer.send("joined"); }
        else if (command === "say") { peer.publish(room, rest.join(" ")); peer.send("said"); }
        else peer.send(message.rawData);
      },
    });`,
};

/** Starts the program with `count` workers. */
export async function startWorkers(
  count: number,
  args: readonly string[] = [],
  { files, ...options }: ProgramOptions = {},
): Promise<Program> {
  return await startProgram(["--workers", `${count}`, "--app", "./worker.ts", "--host", "127.0.0.1", ...args], {
    ...options,
    files: { ...WORKER_APP, ...files },
  });
}

/** Connects until every worker has a client. Returns the clients by the process id of their worker. */
export async function clientOfEach(
  count: number,
  url: string,
  options: ClientOptions,
): Promise<Map<number, Client> & AsyncDisposable> {
  const clients = new Map<number, Client>();
  // A new worker may still be starting.
  const deadline = performance.now() + 60_000;
  while (clients.size < count) {
    assert(performance.now() < deadline, `${clients.size} of ${count} workers answered within 60 s`);
    const client = await Client.open(url, options);
    const pid = Number(await client.ask("pid"));
    if (clients.has(pid)) await client.close();
    else clients.set(pid, client);
  }
  return Object.assign(clients, {
    async [Symbol.asyncDispose]() {
      for (const client of clients.values()) await client[Symbol.asyncDispose]();
    },
  });
}

/**
 * Subscribes two clients to a room, and waits until the messages of each one reach the other. A subscription takes effect
 * at the other workers only after the answer to `join`, and no event reports that.
 */
export async function joinRoom(room: string, one: Client, other: Client): Promise<void> {
  for (const client of [one, other]) assertEquals(await client.ask(`join ${room}`), "joined");
  for (const [from, to] of [[one, other], [other, one]] as const) {
    let probes = 0;
    let arrived = false;
    const first = to.next().finally(() => arrived = true);
    while (!arrived) {
      assertEquals(await from.ask(`say ${room} probe-${++probes}`), "said");
      const pause = Promise.withResolvers<void>();
      const timer = setTimeout(pause.resolve, 50);
      await Promise.race([first, pause.promise]);
      clearTimeout(timer);
    }
    // The messages of one publisher arrive in order, so the probes after the first one arrive too.
    for (let last = await first; last !== `probe-${probes}`;) last = await to.next();
  }
}

/** Returns the child processes of a process. */
export function childrenOf(pid: number): number[] {
  return Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim().split(" ").filter(Boolean).map(Number);
}

/** Waits until a process has this number of child processes, and returns them. */
export async function untilChildren(pid: number, count: number): Promise<number[]> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const children = childrenOf(pid);
    if (children.length === count) return children;
    assert(performance.now() < deadline, `${children.length} child processes, not ${count}`);
    await delay(20);
  }
}
