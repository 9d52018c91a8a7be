/** SIGUSR2 with --admin: the successor's admin listener takes the address over, and no call is refused. Linux. */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { KEY } from "../admin/admin.ts";
import { Client } from "../support/client.ts";
import type { Program } from "../support/program.ts";
import { handOver, withProgram } from "./hand_over.ts";

/** The address of the admin listener that a process names as it listens. @param from where in the log to look */
async function adminOf(program: Program, from = 0): Promise<string> {
  return (await program.stderr.until(/"admin":"([^"]+)"/, from))[1]!;
}

/** Hands over; the successor's process number, and its admin listener's address. */
async function successor(program: Program, pid: number): Promise<{ pid: number; admin: string }> {
  const from = program.stderr.text.length;
  const next = await handOver(program, pid);
  return { pid: next, admin: await adminOf(program, from) };
}

/** How callers reach a listener. */
interface Way {
  readonly origin: string;
  readonly options: Deno.CreateHttpClientOptions;
}

function wayTo(admin: string, ca?: string): Way {
  if (!admin.startsWith("unix:")) return { origin: admin, options: ca === undefined ? {} : { caCerts: [ca] } };
  return { origin: "http://localhost", options: { proxy: { transport: "unix", path: admin.slice("unix:".length) } } };
}

/** Which process answers: the id of its node. @throws {Error} it is not answered as it should be */
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

/** Calls without a pause: over new connections, or over one that is kept alive. Disposing of it ends them. */
class Calls implements AsyncDisposable {
  /** Rounds that were answered, by node. */
  readonly answered = new Map<string, number>();
  #stopping = false;
  readonly #loop: Promise<void>;

  constructor(way: Way, kept: boolean) {
    this.#loop = this.#run(way, kept);
    // Looked at in the end.
    this.#loop.catch(() => {});
  }

  get rounds(): number {
    return [...this.answered.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Waits until a node has answered so often, or any. @throws {Error} a call was refused */
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

  /** Ends them. @throws {Error} a call was refused */
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

/** Twice in a row, under calls, while a client holds the old process. */
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
    // Once the kernel has stopped to give connections to the old one.
    for (const calls of [fresh, kept]) await calls.until(10);
    const after = await nodeThat(way, client);
    assertNotEquals(after, before);
    for (const calls of [fresh, kept]) await calls.until(5, after);
    const told = fresh.answered.get(before);
    await fresh.until(10);
    assertEquals(fresh.answered.get(before), told, "the old process has answered again");
    before = after;
  }
  await fresh.settle();
  await kept.settle();
  Deno.kill(pid, "SIGTERM");
}

Deno.test("SIGUSR2 with --admin, twice: no call is refused, and connections that are kept alive move on", async () => {
  const files = { keys: KEY };
  await withProgram(
    ["--admin", "127.0.0.1:0", "--admin-key-file", "keys", "--drain-timeout", "1h"],
    (program) => twice(program),
    files,
  );
});

Deno.test("SIGUSR2 with --admin-tls, twice: no call over HTTP/2 is refused, and its connections move on", async () => {
  const files = { keys: KEY };
  await withProgram(
    ["--admin", "127.0.0.1:0", "--admin-tls", "--admin-key-file", "keys", "--drain-timeout", "1h"],
    (program) => twice(program, true),
    files,
  );
});

Deno.test("SIGUSR2 with --admin on a unix socket, twice: no call is refused, and its file stays", async () => {
  const folder = await Deno.makeTempDir({ prefix: "wss-socket-" });
  const path = join(folder, "admin");
  try {
    await withProgram(["--admin", `unix:${path}`, "--admin-mode", "600", "--drain-timeout", "1h"], async (program) => {
      await twice(program);
      assertEquals(await program.exited, 0);
      await program.stderr.until(/(?:"message":"stopped"[^]*?){3}/);
    });
    // The last one has taken it along.
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("SIGUSR2: the admin listener of a changed configuration, and one that cannot be opened", async (t) => {
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
    await t.step("from none to one", async () => {
      await configure(folder, "127.0.0.1:0");
      ({ pid, admin: first } = await successor(program, pid));
      await answers(wayTo(first));
    });
    await t.step("to an address that another program has: the old process and its listener stay", async () => {
      const before = await answers(wayTo(first));
      await configure(folder, `127.0.0.1:${taken.addr.port}`);
      const from = program.stderr.text.length;
      Deno.kill(pid, "SIGUSR2");
      await program.stderr.until(/"level":"error","message":"Cannot hand over: the successor exited/, from);
      assertMatch(program.stderr.text.slice(from), /Cannot open the admin listener on [^ ]+: the port is in use/);
      assertEquals(await answers(wayTo(first)), before);
    });
    await t.step("from a port to a unix socket", async () => {
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
