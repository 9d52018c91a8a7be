/**
 * Engines for brokers: real servers, a bus in the process, an engine whose faults a test controls, and servers that do not
 * answer.
 * @module
 */
import { join } from "node:path";
import type { Broker, BrokerStart, Deliver } from "../../lib/hub/broker.ts";
import { openBroker } from "../../lib/hub/brokers/open_broker.ts";
import { type Connect, ReconnectingBroker, type Session } from "../../lib/hub/brokers/reconnect.ts";
import { parseBroker } from "../../lib/hub/brokers/broker_url.ts";
import { freePort } from "../support/ports.ts";
import { pipeLines, portAccepts } from "../support/processes.ts";

/** A server or bus that brokers connect to. */
export interface Engine extends AsyncDisposable {
  open(start: BrokerStart): Promise<Broker>;
}

/** An engine that runs as a program. */
export interface Server extends Engine {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Ends the program with SIGKILL. */
  kill(): Promise<void>;
  /** Starts the program again on the same port. */
  restart(): Promise<void>;
  signal(signal: Deno.Signal): void;
  /** Sends SIGSTOP, and waits until each thread has stopped: the signal takes effect later than the call. */
  pause(): Promise<void>;
}

/** The bus of one process. */
export function localEngine(): Promise<Engine> {
  const target = parseBroker(`local:${crypto.randomUUID()}`);
  return Promise.resolve({
    open: (start) => openBroker(target, start),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
}

/** Where and how a server runs. */
export interface ServerOptions {
  /** Lines to add to its configuration. */
  readonly config?: string;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default: a free port. */
  readonly port?: number;
  /** Prefix of the command line: `ip netns exec …`. */
  readonly wrapper?: readonly string[];
  /** The scheme of its URL. Default: the scheme without TLS. */
  readonly scheme?: string;
  /** Redis only: opens a second port, for the other members of the cluster. */
  readonly clusterBus?: boolean;
}

/** A NATS server on a free port. */
export function natsServer(
  { config = "", host = "127.0.0.1", port = freePort(), wrapper = [], scheme = "nats" }: ServerOptions = {},
) {
  return startServer(scheme, host, port, async (folder) => {
    const file = join(folder, "nats.conf");
    await Deno.writeTextFile(file, `listen: ${host}:${port}\n${config}\n`);
    return [...wrapper, "nats-server", "-c", file];
  });
}

/** A Redis server on a free port, without persistence. */
export function redisServer(
  { config = "", host = "127.0.0.1", port = freePort(), wrapper = [], scheme = "redis", clusterBus = false }:
    ServerOptions = {},
) {
  return startServer(scheme, host, port, async (folder) => {
    const file = join(folder, "redis.conf");
    const listen = scheme === "rediss" ? `port 0\ntls-port ${port}` : `port ${port}`;
    const bus = clusterBus ? `cluster-port ${freePort()}\n` : "";
    const open = host === "127.0.0.1" ? "" : "protected-mode no\n";
    await Deno.writeTextFile(file, `bind ${host}\n${open}${listen}\n${bus}save ""\ndir ${folder}\n${config}\n`);
    return [...wrapper, "redis-server", file];
  });
}

async function startServer(
  scheme: string,
  host: string,
  port: number,
  commandLine: (folder: string) => readonly string[] | Promise<readonly string[]>,
): Promise<Server> {
  const folder = await Deno.makeTempDir({ prefix: "wss-broker-" });
  const [program, ...args] = await commandLine(folder);
  const url = `${scheme}://${host}:${port}`;
  let child: Deno.ChildProcess;
  let output: Promise<unknown>;
  const lines: string[] = [];

  async function start(): Promise<void> {
    child = new Deno.Command(program!, { args, stdin: "null", stdout: "piped", stderr: "piped" }).spawn();
    output = Promise.all([pipeLines(child.stdout, lines), pipeLines(child.stderr, lines)]);
    // The port of a server in another network namespace cannot be reached from here.
    const ready = host === "127.0.0.1"
      ? portAccepts(port, child.status)
      : said(lines, /Ready to accept|Server is ready/);
    await ready.catch((error) => {
      throw new Error(`${program}: ${error.message}\n${lines.join("\n")}`);
    });
  }

  async function kill(): Promise<void> {
    signal("SIGKILL");
    await child.status;
    await output;
  }

  function signal(name: Deno.Signal): void {
    try {
      child.kill(name);
    } catch (error) {
      // The program has ended.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  await start();
  return {
    url,
    port,
    get pid() {
      return child.pid;
    },
    open: (brokerStart) => openBroker(parseBroker(url), brokerStart),
    kill,
    restart: start,
    signal,
    async pause() {
      signal("SIGSTOP");
      const tasks = `/proc/${child.pid}/task`;
      const isRunning = (task: string) => !/\) [Tt] /.test(Deno.readTextFileSync(`${tasks}/${task}/stat`));
      const deadline = performance.now() + 30_000;
      while ([...Deno.readDirSync(tasks)].some(({ name }) => isRunning(name)) && performance.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    async [Symbol.asyncDispose]() {
      await kill();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** Waits until a line of the program's output matches. */
async function said(lines: readonly string[], pattern: RegExp): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!lines.some((line) => pattern.test(line))) {
    if (performance.now() > deadline) throw new Error(`no line matched ${pattern} within 60 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Maps a frame for one subscriber to the frames that are delivered instead. */
export type Fault = (frame: Uint8Array<ArrayBuffer>) => Iterable<Uint8Array<ArrayBuffer>>;

/** An engine whose faults a test controls: it ends connections, hangs, and loses, repeats and reorders frames. */
export interface FaultyEngine extends Engine {
  /** Applied to each frame. Default: the frame arrives once. */
  fault: Fault;
  /** Whether connecting works. */
  reachable: boolean;
  /** Whether the engine has stopped answering. "connectable": it still accepts connections. */
  hung: boolean | "connectable";
  /** Ends all connections. */
  cut(reason: string): void;
  readonly connect: Connect;
  /** Channels with at least one subscriber. */
  readonly channels: ReadonlySet<string>;
}

/** Opens a broker whose servers are these engines. The intervals are a tenth of a real broker's. */
export function openFaulty(engines: readonly Pick<FaultyEngine, "connect">[], start: BrokerStart): Promise<Broker> {
  const servers = engines.map(({ connect }, i) => ({ name: `engine ${i}`, connect }));
  return ReconnectingBroker.open(servers, start, {
    minDelay: 10,
    connectTimeout: 500,
    probeInterval: 100,
    probeTimeout: 300,
  });
}

/** See {@link FaultyEngine}. */
export function faultyEngine(): Promise<FaultyEngine> {
  const sessions = new Set<FaultySession>();
  const engine: FaultyEngine = {
    fault: (frame) => [frame],
    reachable: true,
    hung: false,
    cut: (reason) => sessions.forEach((session) => session.abort(reason)),
    get channels() {
      return new Set([...sessions].flatMap(({ subscriptions }) => [...subscriptions.keys()]));
    },
    connect,
    open: (start) => openFaulty([engine], start),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };

  class FaultySession implements Session {
    readonly maxFrame = 1024 * 1024;
    readonly progress = 0;
    readonly subscriptions = new Map<string, Deliver>();
    readonly ended: Promise<string>;
    readonly abort: (reason: string) => void;

    constructor() {
      const { promise, resolve } = Promise.withResolvers<string>();
      this.ended = promise;
      this.abort = (reason) => {
        sessions.delete(this);
        resolve(reason);
      };
      sessions.add(this);
    }

    publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean {
      if (!sessions.has(this)) return false;
      queueMicrotask(() => {
        for (const other of sessions) {
          const deliver = other === this ? undefined : other.subscriptions.get(channel);
          if (deliver && !engine.hung) { for (const each of engine.fault(frame)) deliver(each); }
        }
      });
      return true;
    }

    subscribe(channel: string, deliver: Deliver): void {
      this.subscriptions.set(channel, deliver);
    }

    unsubscribe(channel: string): void {
      this.subscriptions.delete(channel);
    }

    flush(): Promise<void> {
      const ended = this.ended.then((reason) => Promise.reject(new Error(reason)));
      return engine.hung ? ended : Promise.race([ended, Promise.resolve()]);
    }
  }

  function connect(): Promise<Session> {
    if (engine.reachable && engine.hung !== true) return Promise.resolve(new FaultySession());
    return Promise.reject(new Error("it cannot be reached"));
  }

  return Promise.resolve(engine);
}

/** A Redis Cluster of three masters on free ports, without replicas. */
export async function redisCluster(): Promise<Engine & { readonly url: string; readonly servers: readonly Server[] }> {
  await using stack = new AsyncDisposableStack();
  const config = "cluster-enabled yes\ncluster-config-file nodes.conf";
  const servers: Server[] = [];
  for (let i = 0; i < 3; i++) servers.push(stack.use(await redisServer({ config, clusterBus: true })));
  const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
  const redisCli = async (...args: string[]) => {
    const { success, stdout } = await new Deno.Command("redis-cli", { args, stdin: "null" }).output();
    const text = new TextDecoder().decode(stdout);
    if (!success) throw new Error(`redis-cli ${args.join(" ")}: ${text}`);
    return text;
  };
  await redisCli("--cluster", "create", ...addresses, "--cluster-yes");
  for (const { port } of servers) {
    while (!/cluster_state:ok/.test(await redisCli("-p", `${port}`, "cluster", "info"))) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  const url = servers.map(({ url }) => url).join(",");
  const kept = stack.move();
  return {
    url,
    servers,
    open: (start) => openBroker(parseBroker(url), start),
    [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose](),
  };
}

/** A member of a Redis Cluster that answers until it receives a certain command. */
export function fakeRedis(hangAt: string) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const hung = Promise.withResolvers<void>();
  let connections = 0;
  const answers: Record<string, string> = { HELLO: "%0", CONFIG: "%0", INFO: "$17\r\ncluster_enabled:1" };

  async function serve(connection: Deno.Conn): Promise<void> {
    for await (const bytes of connection.readable) {
      // A command is an array of strings, for example "*2\r\n$4\r\nINFO\r\n$7\r\ncluster\r\n".
      const command = new TextDecoder().decode(bytes).split("\r\n")[2]!;
      if (command === hangAt) hung.resolve();
      else if (command in answers) await connection.write(new TextEncoder().encode(`${answers[command]}\r\n`));
    }
  }

  const serving = (async () => {
    for await (const connection of listener) {
      connections++;
      serve(connection).catch(() => {}).finally(() => connections--);
    }
  })();
  return {
    url: `redis://127.0.0.1:${listener.addr.port}`,
    /** Resolves when the command has arrived. */
    hung: hung.promise,
    /** How many connections are open. */
    get connections() {
      return connections;
    },
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

/** Listens on a port that does not answer new connections, because its queue of them is full. */
export async function fullPort(): Promise<AsyncDisposable & { readonly port: number }> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { port } = listener.addr;
  const filling = new AbortController();
  const queued: Promise<unknown>[] = [];
  for (let answered = true; answered;) {
    const connecting = Deno.connect({ hostname: "127.0.0.1", port, signal: filling.signal });
    queued.push(connecting.then((connection) => filling.signal.addEventListener("abort", () => connection.close())));
    const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 500));
    answered = await Promise.race([connecting.then(() => true), late]);
  }
  return {
    port,
    async [Symbol.asyncDispose]() {
      filling.abort();
      await Promise.allSettled(queued);
      listener.close();
    },
  };
}
