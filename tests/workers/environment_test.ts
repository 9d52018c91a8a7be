/** Workers in different environments: as PID 1 of a container, on a terminal, with few descriptors. Linux only. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { isAlive } from "../support/processes.ts";
import { Client } from "../support/client.ts";
import { childrenOf, clientOfEach, startWorkers } from "./workers.ts";

const ignore = Deno.build.os !== "linux" || Deno.uid() !== 0;

Deno.test(
  "SIGUSR2 as PID 1 of a PID namespace replaces the workers, and the service continues",
  { ignore },
  async () => {
    await using program = await startWorkers(2, ["--drain-timeout", "0s"], {
      wrapper: ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"],
    });
    // The child of unshare is PID 1 in the namespace.
    const [init] = childrenOf(program.pid);
    const before = childrenOf(init!);
    assertEquals(before.length, 2);
    await using held = await Client.open(program.url, { ca: program.ca });
    Deno.kill(init!, "SIGUSR2");
    await program.stderr.until(/the workers have been replaced/);
    assertEquals(isAlive(init!), true);
    assertEquals((await held.closed).code, 1001);
    await using client = await Client.open(program.url, { ca: program.ca });
    assertEquals(await client.ask("new"), "new");
    const deadline = performance.now() + 20_000;
    while (childrenOf(init!).some((pid) => before.includes(pid))) {
      assert(performance.now() < deadline, "the old workers are still running");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    Deno.kill(init!, "SIGTERM");
    assertEquals((await program.ended).code, 0);
  },
);

Deno.test(
  "connections can finish after a Ctrl-C that the supervisor and the workers receive at once",
  { ignore },
  async () => {
    await using program = await startWorkers(2, ["--drain-timeout", "30s"], { wrapper: ["setsid", "--wait"] });
    const [supervisor] = childrenOf(program.pid);
    const workers = childrenOf(supervisor!);
    await using clients = await clientOfEach(2, program.url, { ca: program.ca });
    for (const pid of [program.pid, ...workers]) Deno.kill(pid, "SIGINT");
    await program.stderr.until(/SIGINT: stopping/);
    for (const client of clients.values()) assertEquals(await client.ask("still here"), "still here");
    for (const client of clients.values()) await client.close();
    assertEquals((await program.ended).code, 0);
  },
);

Deno.test(
  "with few descriptors, each worker has its own connection limit, and the port stays open",
  { ignore },
  async () => {
    await using program = await startWorkers(2, ["--drain-timeout", "0s"], {
      wrapper: ["prlimit", "--nofile=160:160"],
    });
    const options = { ca: program.ca };
    const clients: Client[] = [];
    let refused = 0;
    for (let i = 0; i < 260; i++) {
      try {
        clients.push(await Client.open(program.url, options));
      } catch {
        refused++;
      }
    }
    // Each worker allows nine tenths of 160, minus 64.
    assert(clients.length >= 100 && refused > 0, `${clients.length} connected, ${refused} refused`);
    for (const client of clients) await client.close();
    await using client = await Client.open(program.url, options);
    assertEquals(await client.ask("new"), "new");
    assertMatch(program.url, /^wss:/);
  },
);
