/** SIGUSR2 with --admin: the successor's admin listener takes over the address, and no call is refused. Linux only. */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { adminOf, KEY } from "../admin/admin.ts";
import { Client } from "../support/client.ts";
import type { Program } from "../support/program.ts";
import { handOver, withProgram } from "./hand_over.ts";

/** Starts a hand-over, and returns the successor's process ID and the address of its admin listener. */
async function successor(program: Program, pid: number): Promise<{ pid: number; admin: string }> {
  const from = program.stderr.text.length;
  const next = await handOver(program, pid);
  return { pid: next, admin: await adminOf(program, from) };
}

/** How to reach a listener: the origin, and options for the HTTP client. */
interface Way {
  readonly origin: string;
  readonly options: Deno.CreateHttpClientOptions;
}

function wayTo(admin: string, ca?: string): Way {
  if (!admin.startsWith("unix:")) return { origin: admin, options: ca === undefined ? {} : { caCerts: [ca] } };
  return { origin: "http://localhost", options: { proxy: { transport: "unix", path: admin.slice("unix:".length) } } };
}

/** Returns the node ID of the process that answers. @throws {Error} if an answer is wrong */
async function nodeThat({ origin }: Way, client: Deno.HttpClient): Promise<string> {
  const headers = { authorization: `Bearer ${KEY}` };
  const answer = await fetch(`${origin}/api/nodes`, { method: "POST", headers, client });
  const { result, error } = await answer.json();
  assertEquals([answer.status, error], [200, undefined]);
  const health = await fetch(`${origin}/healthz`, { client });
  assertEquals([health.status, await health.json()], [200, { status: "ok" }]);
  const metrics = await fetch(`${origin}/metrics`, { client });
  assertMatch(await metrics.text(), /^wss_connections \d/m);
  return result.nodes[0].id;
}

/** Calls the admin listener without pause, over new connections or one kept alive. Disposal stops the calls. */
class Calls implements AsyncDisposable {
  /** Number of answered rounds, by node ID. */
  readonly answered = new Map<string, number>();
  #stopping = false;
  readonly #loop: Promise<void>;

  constructor(way: Way, kept: boolean) {
    this.#loop = this.#run(way, kept);
    // `settle` reports a failure.
    this.#loop.catch(() => {});
  }

  get rounds(): number {
    return [...this.answered.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Waits for `times` more answered rounds, of one node if given. @throws {Error} if a call was refused */
  async until(times: number, node?: string): Promise<void> {
    const count = () => node === undefined ? this.rounds : this.answered.get(node) ?? 0;
    const deadline = performance.now() + 30_000;
    for (const aim = count() + times; count() < aim;) {
      assert(
        performance.now() < deadline,
        `${node} has answered ${count()} times: ${JSON.stringify([...this.answered])}`,
      );
      await Promise.race([this.#loop, new Promise((resolve) => setTimeout(resolve, 10))]);
    }
  }

  /** Stops the calls. @throws {Error} if a call was refused */
  async settle(): Promise<void> {
    this.#stopping = true;
    await this.#loop;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await this.#loop.catch(() => {});
  }

  async #run(way: Way, kept: boolean): Promise<void> {
    using client = Deno.createHttpClient({ ...way.options, ...(kept ? {} : { poolMaxIdlePerHost: 0 }) });
    while (!this.#stopping) {
      const node = await nodeThat(way, client);
      this.answered.set(node, (this.answered.get(node) ?? 0) + 1);
    }
  }
}

/** Hands over twice while calls go on. A connected client keeps the old process running. */
async function twice(program: Program, tls = false): Promise<void> {
  const admin = await adminOf(program);
  const way = wayTo(admin, tls ? await Deno.readTextFile(program.ca) : undefined);
  await using fresh = new Calls(way, false);
  await using kept = new Calls(way, true);
  await Promise.all([fresh.until(10), kept.until(10)]);
  await using _held = await Client.open(program.url, { ca: program.ca });
  using client = Deno.createHttpClient({ ...way.options, poolMaxIdlePerHost: 0 });
  let pid = program.pid;
  let before = await nodeThat(way, client);
  for (let round = 0; round < 2; round++) {
    const next = await successor(program, pid);
    assertEquals(next.admin, admin);
    pid = next.pid;
    // After these rounds the kernel gives no more connections to the old process.
    for (const calls of [fresh, kept]) await calls.until(10);
    const after = await nodeThat(way, client);
    assertNotEquals(after, before);
    for (const calls of [fresh, kept]) await calls.until(5, after);
    const told = fresh.answered.get(before);
    await fresh.until(10);
    assertEquals(fresh.answered.get(before), told, "the old process answered again");
    before = after;
  }
  await fresh.settle();
  await kept.settle();
  Deno.kill(pid, "SIGTERM");
}

Deno.test("SIGUSR2 with --admin, twice: no call is refused, and kept-alive clients move to the new process", async () => {
  const files = { keys: KEY };
  await withProgram(
    ["--admin", "127.0.0.1:0", "--admin-key-file", "keys", "--drain-timeout", "1h"],
    (program) => twice(program),
    files,
  );
});

Deno.test("SIGUSR2 with --admin-tls, twice: no call over HTTP/2 is refused, and clients move to the new process", async () => {
  const files = { keys: KEY };
  await withProgram(
    ["--admin", "127.0.0.1:0", "--admin-tls", "--admin-key-file", "keys", "--drain-timeout", "1h"],
    (program) => twice(program, true),
    files,
  );
});

Deno.test("SIGUSR2 with --admin on a Unix socket, twice: no call is refused, and the socket file stays", async () => {
  const folder = await Deno.makeTempDir({ prefix: "wss-socket-" });
  const path = join(folder, "admin");
  try {
    await withProgram(["--admin", `unix:${path}`, "--admin-mode", "600", "--drain-timeout", "1h"], async (program) => {
      await twice(program);
      assertEquals(await program.exited, 0);
      await program.stderr.until(/(?:"message":"stopped"[^]*?){3}/);
    });
    // The last process removed the socket file.
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("SIGUSR2 with a changed --admin: added, moved, or impossible to open", async (t) => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const configure = (folder: string, admin?: string) =>
    Deno.writeTextFile(join(folder, "wss.json"), JSON.stringify({ admin, adminKeyFile: admin && "keys" }));
  const answers = async (way: Way) => {
    using client = Deno.createHttpClient({ ...way.options, poolMaxIdlePerHost: 0 });
    return await nodeThat(way, client);
  };
  await withProgram(["--drain-timeout", "1h"], async (program, folder) => {
    let { pid } = program;
    let first = "";
    await t.step("an admin listener is added", async () => {
      await configure(folder, "127.0.0.1:0");
      ({ pid, admin: first } = await successor(program, pid));
      await answers(wayTo(first));
    });
    await t.step("to an address in use: the old process and its listener keep running", async () => {
      const before = await answers(wayTo(first));
      await configure(folder, `127.0.0.1:${taken.addr.port}`);
      const from = program.stderr.text.length;
      Deno.kill(pid, "SIGUSR2");
      await program.stderr.until(/"level":"error","message":"Cannot hand over: the successor exited/, from);
      assertMatch(program.stderr.text.slice(from), /Cannot open the admin listener on [^ ]+: the port is in use/);
      assertEquals(await answers(wayTo(first)), before);
    });
    await t.step("from a port to a Unix socket", async () => {
      const path = join(folder, "admin");
      await configure(folder, `unix:${path}`);
      const before = await answers(wayTo(first));
      const next = await successor(program, pid);
      assertEquals(next.admin, `unix:${path}`);
      assertNotEquals(await answers(wayTo(next.admin)), before);
      const address = { hostname: "127.0.0.1", port: Number(new URL(first).port) };
      const deadline = performance.now() + 20_000;
      for (let open = true; open;) {
        assert(performance.now() < deadline, "the old address still accepts");
        open = await Deno.connect(address).then((connection) => (connection.close(), true), () => false);
      }
    });
  }, { "wss.json": "{}", keys: KEY });
});
