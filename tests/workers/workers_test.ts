/** Several workers on one port are one service. Linux only. */
import { assert, assertEquals, assertMatch, assertNotEquals, assertNotMatch } from "@std/assert";
import { delay } from "@std/async/delay";
import { isAlive } from "../support/processes.ts";
import { Client } from "../support/client.ts";
import { makeFolder, type Program, runProgram } from "../support/program.ts";
import { childrenOf, clientOfEach, joinRoom, startWorkers, untilChildren, WORKER_APP } from "./workers.ts";

const ignore = Deno.build.os !== "linux";

Deno.test(
  "two workers serve one port, and a message from one reaches the subscribers of the other",
  { ignore },
  async () => {
    await using program = await startWorkers(2, ["--drain-timeout", "0s"]);
    assertEquals(childrenOf(program.pid).length, 2);
    assertMatch(program.stderr.text, /"workers":2/);
    const options = { ca: program.ca };
    await using clients = await clientOfEach(2, program.url, options);
    const [one, other] = [...clients.values()] as [Client, Client];
    await joinRoom("news", one, other);
    assertEquals(await one.ask("say news hello"), "said");
    assertEquals(await other.next(), "hello");
    assertEquals(await other.ask("say news back"), "said");
    assertEquals(await one.next(), "back");
    // A burst of messages arrives in order.
    for (let i = 0; i < 500; i++) one.send(`say news ${i}`);
    for (let i = 0; i < 500; i++) assertEquals(await other.next(), `${i}`);
    const { code, stderr } = await program.stop();
    assertEquals(code, 0);
    assertMatch(stderr, /"message":"stopped"/);
  },
);

Deno.test("one worker serves under a supervisor in proxied mode", { ignore }, async () => {
  await using program = await startWorkers(1, ["--mode", "proxied"]);
  const [worker, ...more] = childrenOf(program.pid);
  assertEquals(more, []);
  await using client = await Client.open(program.url);
  assertEquals(await client.ask("pid"), `${worker}`);
});

Deno.test("SIGTERM drains every worker, and a second SIGTERM exits at once", { ignore }, async (t) => {
  await t.step("the first SIGTERM drains and exits with 0", async () => {
    await using program = await startWorkers(2, ["--drain-timeout", "20s"]);
    await using clients = await clientOfEach(2, program.url, { ca: program.ca });
    program.signal("SIGTERM");
    await program.stderr.until(/SIGTERM: stopping/);
    for (const client of clients.values()) assertEquals(await client.ask("still here"), "still here");
    for (const client of clients.values()) await client.close();
    assertEquals(await program.exited, 0);
  });
  await t.step("the second SIGTERM exits at once", async () => {
    await using program = await startWorkers(2, ["--drain-timeout", "60s"]);
    const workers = childrenOf(program.pid);
    await using _clients = await clientOfEach(2, program.url, { ca: program.ca });
    program.signal("SIGTERM");
    await program.stderr.until(/SIGTERM: stopping/);
    program.signal("SIGTERM");
    assertEquals(await program.exited, 143);
    await program.ended;
    assertEquals(workers.filter(isAlive), []);
  });
});

Deno.test("a killed worker loses only its own clients, and is replaced", { ignore }, async () => {
  await using program = await startWorkers(2);
  const options = { ca: program.ca };
  for (let round = 0; round < 3; round++) {
    await using clients = await clientOfEach(2, program.url, options);
    const [[victim, lost], [survivor, kept]] = [...clients] as [[number, Client], [number, Client]];
    const from = program.stderr.text.length;
    Deno.kill(victim, "SIGKILL");
    // The code that Deno's client reports for a reset connection.
    assertEquals((await lost.closed).code, 0);
    // Until all its threads have exited, its listening socket may still get connections.
    const [line] = await program.stderr.until(/worker \d exited \(signal SIGKILL\)[^\n]*/, from);
    assertMatch(line, new RegExp(`"pid":${victim}`));
    // From then on, the other worker gets every connection.
    for (let i = 0; i < 10; i++) {
      await using client = await Client.open(program.url, options);
      assertEquals(await client.ask("new"), "new");
    }
    assertEquals(await kept.ask("pid"), `${survivor}`);
    await program.stderr.until(/worker \d is serving again/, from);
    await using fresh = await clientOfEach(2, program.url, options);
    assertEquals(fresh.has(victim), false);
  }
});

Deno.test(
  "a worker that exits or runs out of memory is replaced, and the log names the cause",
  { ignore },
  async () => {
    // A small heap fills up quickly.
    await using program = await startWorkers(2, [], { permissions: ["-A", "--v8-flags=--max-old-space-size=128"] });
    for (
      const [command, how] of [["exit", "exit code 3"], [
        "heap",
        "signal SIG(?:TRAP|ABRT|ILL)|exit code 13\\d",
      ]] as const
    ) {
      await using clients = await clientOfEach(2, program.url, { ca: program.ca });
      const [lost, kept] = [...clients.values()] as [Client, Client];
      const from = program.stderr.text.length;
      lost.send(command);
      await program.stderr.until(new RegExp(`worker \\d exited \\((?:${how})\\)`), from);
      assertEquals(await kept.ask("still here"), "still here");
      await program.stderr.until(/worker \d is serving again/, from);
    }
  },
);

Deno.test("new connections avoid a hanging worker until it answers again", { ignore }, async () => {
  await using program = await startWorkers(2, ["--worker-timeout", "40s", "--drain-timeout", "0s"]);
  const options = { ca: program.ca };
  await using clients = await clientOfEach(2, program.url, options);
  const [[, frozen], [other]] = [...clients] as [[number, Client], [number, Client]];
  frozen.send("freeze 20000");
  await program.stderr.until(/worker \d does not answer/);
  for (let i = 0; i < 8; i++) {
    await using client = await Client.open(program.url, options);
    assertEquals(await client.ask("pid"), `${other}`);
  }
  assertEquals(await frozen.next(), "awake");
  await program.stderr.until(/worker \d answers again/);
  await using _both = await clientOfEach(2, program.url, options);
});

Deno.test("a hanging worker is replaced after --worker-timeout", { ignore }, async () => {
  await using program = await startWorkers(2, ["--worker-timeout", "5s", "--drain-timeout", "0s"]);
  const options = { ca: program.ca };
  await using clients = await clientOfEach(2, program.url, options);
  const [[hung, frozen]] = [...clients] as [[number, Client]];
  frozen.send("freeze 600000");
  await program.stderr.until(/worker \d has not answered for \d+ s: killing it/);
  await program.stderr.until(/worker \d is serving again/);
  await using fresh = await clientOfEach(2, program.url, options);
  assertEquals(fresh.has(hung), false);
});

Deno.test("the workers stop if the supervisor is killed", { ignore }, async () => {
  await using program = await startWorkers(2, ["--drain-timeout", "0s"]);
  const workers = childrenOf(program.pid);
  await using clients = await clientOfEach(2, program.url, { ca: program.ca });
  program.signal("SIGKILL");
  for (const client of clients.values()) assertEquals((await client.closed).code, 1001);
  const { stderr } = await program.ended;
  assertEquals(stderr.match(/the supervisor has exited: stopping/g)?.length, 2);
  assertEquals(workers.filter(isAlive), []);
});

Deno.test(
  "SIGUSR2 replaces the workers under load without losing or refusing a client, and keeps the PID",
  { ignore },
  async () => {
    await using program = await startWorkers(2, ["--drain-timeout", "30s"]);
    const options = { ca: program.ca };
    await using held = await clientOfEach(2, program.url, options);
    let going = true;
    const load = Promise.all([0, 1].map(async () => {
      let served = 0;
      for (; going; served++) {
        await using client = await Client.open(program.url, options);
        assertEquals(await client.ask("new"), "new");
      }
      return served;
    }));
    try {
      const before = childrenOf(program.pid);
      program.signal("SIGUSR2");
      await program.stderr.until(/SIGUSR2/);
      // The old workers still serve their connections.
      await untilChildren(program.pid, 4);
      await program.stderr.until(/the workers have been replaced/);
      await using fresh = await clientOfEach(2, program.url, options);
      for (const pid of fresh.keys()) assertEquals(before.includes(pid), false);
      for (const [pid, client] of held) assertEquals(await client.ask("pid"), `${pid}`);
      const [one] = [...held.values()] as [Client];
      // Old and new workers are one service.
      const [other] = [...fresh.values()] as [Client];
      await joinRoom("room", one, other);
      assertEquals(await other.ask("say room hello"), "said");
      assertEquals(await one.next(), "hello");
      for (const client of held.values()) await client.close();
    } finally {
      going = false;
      const served = await load;
      assert(served.every((count) => count > 0));
    }
    assertEquals((await program.stop()).code, 0);
  },
);

Deno.test("SIGUSR2 keeps the old workers if the new code does not start", { ignore }, async () => {
  await using program = await startWorkers(2);
  const options = { ca: program.ca };
  const before = childrenOf(program.pid);
  await Deno.writeTextFile(
    `${program.folder}/worker.ts`,
    "export default { message: 'no function' };\nthrow new Error('new code');",
  );
  program.signal("SIGUSR2");
  await program.stderr.until(/Cannot replace the workers; the old ones keep serving/);
  assertEquals(childrenOf(program.pid), before);
  await Deno.writeTextFile(`${program.folder}/worker.ts`, WORKER_APP["worker.ts"]);
  program.signal("SIGUSR2");
  await program.stderr.until(/the workers have been replaced/);
  await using fresh = await clientOfEach(2, program.url, options);
  for (const pid of fresh.keys()) assertNotEquals(before.includes(pid), true);
});

Deno.test("a new worker keeps its clients if a later new worker does not start", { ignore }, async () => {
  await using program = await startWorkers(2, ["--drain-timeout", "60s"]);
  const options = { ca: program.ca };
  const before = childrenOf(program.pid);
  // The first new worker starts. The second one fails once the test allows it.
  const failing = `
    if (await Deno.stat("started").then(() => true, () => false)) {
      while (!await Deno.stat("fail").then(() => true, () => false)) await new Promise((resolve) => setTimeout(resolve, 20));
      throw new Error("the second one fails");
    }
    await Deno.writeTextFile("started", "");`;
  await Deno.writeTextFile(`${program.folder}/worker.ts`, failing + WORKER_APP["worker.ts"]);
  program.signal("SIGUSR2");
  // The second new worker begins when the first one listens.
  await untilChildren(program.pid, 4);
  await using clients = await clientOfEach(3, program.url, options);
  const [[fresh, client]] = [...clients].filter(([pid]) => !before.includes(pid)) as [[number, Client]];
  await Deno.writeTextFile(`${program.folder}/fail`, "");
  await program.stderr.until(/Cannot replace the workers; the old ones keep serving/);
  assertEquals(await client.ask("pid"), `${fresh}`);
  for (let i = 0; i < 20; i++) {
    await using later = await Client.open(program.url, options);
    assert(before.includes(Number(await later.ask("pid"))));
  }
  await client.close();
  assertEquals(await untilChildren(program.pid, 2), before);
});

/** Starts a replacement, and returns the new workers in the order of their start once they have clients. */
async function beginReplacement(program: Program): Promise<number[]> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const from = program.stderr.text.length;
    const before = childrenOf(program.pid);
    program.signal("SIGUSR2");
    const all = await untilChildren(program.pid, 4);
    const fresh = new Set<number>();
    while (fresh.size < 2) {
      await using client = await Client.open(program.url, { ca: program.ca });
      const pid = Number(await client.ask("pid"));
      if (!before.includes(pid)) fresh.add(pid);
    }
    // The old sockets stay for a second, until their accept queues are certainly empty.
    if (!/have been replaced/.test(program.stderr.text.slice(from))) return all.filter((pid) => fresh.has(pid));
    await untilChildren(program.pid, 2);
  }
  throw new Error("each replacement ended before both new workers had a client");
}

for (const [position, victim] of ["first", "second"].entries()) {
  Deno.test(`if the ${victim} new worker dies during a replacement, two new workers serve`, { ignore }, async () => {
    await using program = await startWorkers(2, ["--drain-timeout", "0s"]);
    const fresh = await beginReplacement(program);
    const from = program.stderr.text.length;
    const before = childrenOf(program.pid).filter((pid) => !fresh.includes(pid));
    Deno.kill(fresh[position]!, "SIGKILL");
    await program.stderr.until(/the workers have been replaced/, from);
    await using clients = await clientOfEach(2, program.url, { ca: program.ca });
    assertEquals([...clients.keys()].filter((pid) => before.includes(pid) || pid === fresh[position]), []);
    assertEquals((await untilChildren(program.pid, 2)).toSorted(), [...clients.keys()].toSorted());
  });
}

Deno.test("a new worker that hangs during a replacement is killed and replaced", { ignore }, async () => {
  await using program = await startWorkers(2, ["--drain-timeout", "0s", "--worker-timeout", "4s"]);
  const options = { ca: program.ca };
  const before = childrenOf(program.pid);
  program.signal("SIGUSR2");
  // The first new worker leads the replacement. It hangs as soon as it listens.
  let victim: number | undefined;
  while (victim === undefined) {
    const client = await Client.open(program.url, options);
    const pid = Number(await client.ask("pid"));
    if (before.includes(pid)) await client.close();
    else {
      victim = pid;
      client.send("freeze 600000");
    }
  }
  await program.stderr.until(/has not answered for \d+ s: killing it/);
  await program.stderr.until(/the workers have been replaced/);
  await using clients = await clientOfEach(2, program.url, options);
  assertEquals([...clients.keys()].filter((pid) => before.includes(pid) || pid === victim), []);
});

Deno.test("SIGUSR2 replaces a worker that does not start, and no other worker starts later", { ignore }, async () => {
  await using program = await startWorkers(2, ["--drain-timeout", "0s"]);
  await Deno.writeTextFile(`${program.folder}/worker.ts`, "throw new Error('a bug');");
  Deno.kill(childrenOf(program.pid)[0]!, "SIGKILL");
  await program.stderr.until(/(?:did not start[^]*?){4}/);
  await Deno.writeTextFile(`${program.folder}/worker.ts`, WORKER_APP["worker.ts"]);
  program.signal("SIGUSR2");
  await program.stderr.until(/the workers have been replaced/);
  // The next restart would have been 1.6 s after the fourth failure.
  await delay(3_000);
  await untilChildren(program.pid, 2);
  assertNotMatch(program.stderr.text, /is serving again/);
});

Deno.test("SIGTERM during a replacement leaves no process behind", { ignore }, async () => {
  await using program = await startWorkers(2, ["--drain-timeout", "0s"]);
  const workers = new Set(childrenOf(program.pid));
  program.signal("SIGUSR2");
  // Waits for a new worker, which does not listen yet.
  const deadline = performance.now() + 20_000;
  while (workers.size < 3) {
    assert(performance.now() < deadline);
    for (const pid of childrenOf(program.pid)) workers.add(pid);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  program.signal("SIGTERM");
  assertEquals((await program.ended).code, 0);
  assertEquals([...workers].filter(isAlive), []);
});

Deno.test("a failed start of workers is reported once", { ignore }, async (t) => {
  const files = WORKER_APP;
  const folder = await makeFolder({ ...files, "broken.ts": "throw new Error('no app today');" });
  try {
    await t.step("a port in use", async () => {
      using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const { port } = taken.addr;
      const { code, stderr } = await runProgram(["--workers", "2", "--host", "127.0.0.1", "--port", `${port}`], {
        folder,
      });
      assertEquals(code, 1);
      assertEquals(stderr.match(/the port is in use by another program/g)?.length, 1, stderr);
    });
    await t.step("an app that does not load", async () => {
      const { code, stderr } = await runProgram(["--workers", "2", "--port", "0", "--app", "./broken.ts"], { folder });
      assertEquals(code, 1);
      assertEquals(stderr.match(/no app today/g)?.length, 1, stderr);
    });
    await t.step("an invalid number of workers", async () => {
      const { code, stderr } = await runProgram(["--workers", "many"], { folder });
      assertEquals(code, 2);
      assertMatch(stderr, /--workers: must be auto or a number from 1 to 1024, not "many"/);
    });
    await t.step("a Unix socket", async () => {
      const { code, stderr } = await runProgram(["--workers", "2", "--mode", "proxied", "--unix", "wss.sock"], {
        folder,
      });
      assertEquals(code, 2);
      assertMatch(stderr, /several processes cannot share a unix socket/);
    });
    await t.step("no access to the C library", async () => {
      const permissions = ["--allow-net", "--allow-read", "--allow-write", "--allow-env", "--allow-sys", "--allow-run"];
      const { code, stderr } = await runProgram(["--workers", "2", "--port", "0"], { folder, permissions });
      assertEquals(code, 1);
      assertMatch(stderr, /Cannot run workers: access to the C library is required/);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
