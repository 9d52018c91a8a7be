/** Certificates and tokens are reloaded in all workers together, without losing a connection. Linux only. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { adminOf, value } from "../admin/admin.ts";
import { HeldClients, NewClients } from "../support/client_load.ts";
import { peerTest } from "../peers/require.ts";
import { Client } from "../support/client.ts";
import { type Issued, openPki } from "../support/openssl.ts";
import type { Program } from "../support/program.ts";
import { serialOf } from "../support/raw.ts";
import { openSilentBroker } from "../support/silent_broker.ts";
import { until } from "../support/until.ts";
import { childrenOf, clientOfEach, startWorkers } from "./workers.ts";

async function serial({ cert }: Issued): Promise<string> {
  return new X509Certificate(await Deno.readTextFile(cert)).serialNumber.toLowerCase();
}

/** A program with replaceable certificate files. */
interface Renewable extends AsyncDisposable {
  readonly program: Program;
  /** The options of its clients. */
  readonly options: { readonly ca: string };
  /** The authority's certificate, PEM. */
  readonly ca: string;
  /** The certificate that the program started with. */
  readonly first: Issued;
  /** The path of the certificate file. */
  readonly cert: string;
  /** Issues a certificate and writes it to the program's files. */
  renew(name: string): Promise<Issued>;
}

/** Starts workers with a certificate of a new authority. */
async function startRenewable(
  workers: number,
  { args = [], drainTimeout = "0s" }: { readonly args?: readonly string[]; readonly drainTimeout?: string } = {},
): Promise<Renewable> {
  await using resources = new AsyncDisposableStack();
  const pki = resources.use(await openPki());
  const root = await pki.authority("root");
  const cert = pki.path("live.pem");
  const key = pki.path("live.key");
  const renew = async (name: string) => {
    const issued = await pki.leaf(name, { issuer: root });
    await Deno.copyFile(issued.cert, cert);
    await Deno.copyFile(issued.key, key);
    return issued;
  };
  const first = await renew("first");
  const program = resources.use(
    await startWorkers(workers, ["--cert", cert, "--key", key, "--drain-timeout", drainTimeout, ...args]),
  );
  const owned = resources.move();
  return {
    ...{ program, first, cert, renew, options: { ca: root.cert }, ca: await Deno.readTextFile(root.cert) },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Waits until `workers` workers have logged that they use the certificate. */
async function served(program: Program, workers: number, { cert }: Issued, from: number): Promise<void> {
  const { serialNumber } = new X509Certificate(await Deno.readTextFile(cert));
  const lines = `(?:"message":"the new certificate is in use","serial":"${serialNumber}"[^]*?){${workers}}`;
  await program.stderr.until(new RegExp(lines, "i"), from);
}

/** Returns the serial numbers of the certificates of `count` new connections. */
async function serials(port: number, ca: string, count = 12): Promise<Set<string>> {
  const seen = new Set<string>();
  for (let i = 0; i < count; i++) seen.add(await serialOf(port, ca));
  return seen;
}

/** Returns the number of sockets that listen on a port of 127.0.0.1. */
function listeningSockets(port: number): number {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const sockets = Deno.readTextFileSync("/proc/net/tcp").split("\n").map((line) => line.trim().split(/\s+/));
  return sockets.filter(([, address, , state]) => address === local && state === "0A").length;
}

for (const workers of [2, 4]) {
  peerTest(
    "openssl",
    `${workers} workers reload a certificate ten times under load without losing or refusing a connection`,
    async () => {
      await using service = await startRenewable(workers);
      const { program, options, ca } = service;
      await using held = await HeldClients.open(25, program.url, options);
      await using arrivals = new NewClients(program.url, options, 2);
      for (let round = 0; round < 10; round++) {
        const from = program.stderr.text.length;
        const next = await service.renew(`leaf${round}`);
        program.signal("SIGHUP");
        await served(program, workers, next, from);
        assertEquals(await serials(program.port, ca, 4), new Set([await serial(next)]));
        await arrivals.more(2);
      }
      await arrivals.settle();
      await held.settle();
      assertEquals(held.clients.filter(({ socket }) => socket.readyState !== WebSocket.OPEN), []);
    },
  );
}

peerTest(
  "openssl",
  "the other workers serve the new certificate if a worker is killed during a reload",
  async () => {
    await using service = await startRenewable(3);
    const { program, options, ca } = service;
    for (let round = 0; round < 3; round++) {
      const [victim] = childrenOf(program.pid).slice(round);
      await using others = await clientOfEach(3, program.url, options);
      const from = program.stderr.text.length;
      const next = await service.renew(`leaf${round}`);
      program.signal("SIGHUP");
      // The workers wait one second for the accept queues of the old sockets: this kill happens during the wait.
      await new Promise((resolve) => setTimeout(resolve, 300 * (round + 1)));
      Deno.kill(victim!, "SIGKILL");
      await served(program, 2, next, from);
      await program.stderr.until(/worker \d is serving again/, from);
      assertEquals(program.stderr.text.includes("the reload failed"), false, program.stderr.text.slice(from));
      assertEquals(await serials(program.port, ca), new Set([await serial(next)]));
      for (const [pid, client] of others) {
        if (pid !== victim) assertEquals(await client.ask("pid"), `${pid}`);
      }
      assertEquals(childrenOf(program.pid).length, 3);
    }
  },
);

peerTest("openssl", "all workers keep the old certificate if the new one is unusable", async () => {
  await using service = await startRenewable(2);
  const { program, ca, first } = service;
  await Deno.writeTextFile(service.cert, "no certificate");
  program.signal("SIGHUP");
  await program.stderr.until(/the reload failed/);
  assertEquals(await serials(program.port, ca), new Set([await serial(first)]));
});

peerTest("openssl", "a reload that fails in one worker counts as failed in every worker", async () => {
  await using service = await startRenewable(2, { args: ["--admin", "127.0.0.1:0"] });
  const { program } = service;
  const admin = await adminOf(program);
  const counts = async () => [
    await value(admin, 'wss_reloads_total{result="success"}'),
    await value(admin, 'wss_reloads_total{result="failure"}'),
  ];
  const [worker] = childrenOf(program.pid);
  /** Limits the worker's descriptors. It cannot open a file with fewer than it has. */
  const limit = async (descriptors: string) => {
    const args = ["--pid", `${worker}`, `--nofile=${descriptors}`];
    assert((await new Deno.Command("prlimit", { args }).output()).success);
  };
  await limit("1:");
  program.signal("SIGHUP");
  await program.stderr.until(/the reload failed.*Too many open files/);
  assertEquals(await counts(), [0, 2]);
  await limit("1024:");
  program.signal("SIGHUP");
  await until(async () => (await counts())[0] === 2);
  assertEquals(await counts(), [2, 2]);
});

peerTest("openssl", "every worker accepts added tokens and rejects removed tokens", async () => {
  const tokens = ["first-secret-that-is-long-enough", "second-secret-that-is-long-enough"];
  await using program = await startWorkers(2, ["--auth-token-file", "tokens.txt", "--drain-timeout", "0s"], {
    files: { "tokens.txt": `${tokens[0]}\n` },
  });
  const options = (token: string) => ({ ca: program.ca, headers: { authorization: `Bearer ${token}` } });
  await using first = await clientOfEach(2, program.url, options(tokens[0]!));
  const from = program.stderr.text.length;
  await Deno.writeTextFile(join(program.folder, "tokens.txt"), tokens.join("\n") + "\n");
  await program.stderr.until(/(?:tokens\.txt was read again[^]*?){2}/, from);
  await using second = await clientOfEach(2, program.url, options(tokens[1]!));
  assert(second.size === 2);
  const refused = await Client.open(program.url, options("a-secret-that-nobody-knows-at-all")).catch(String);
  assertMatch(String(refused), /Error/);
  // The removed token's connections end in every worker. The others stay open.
  await Deno.writeTextFile(join(program.folder, "tokens.txt"), `${tokens[1]}\n`);
  program.signal("SIGHUP");
  for (const client of first.values()) assertEquals((await client.closed).code, 3000);
  for (const [pid, client] of second) assertEquals(await client.ask("pid"), `${pid}`);
});

peerTest("openssl", "a worker that drains its connections revokes tokens at SIGHUP, too", async () => {
  const tokens = ["first-secret-that-is-long-enough", "second-secret-that-is-long-enough"];
  await using program = await startWorkers(2, ["--auth-token-file", "tokens.txt", "--drain-timeout", "60s"], {
    files: { "tokens.txt": tokens.join("\n") },
  });
  const options = (token: string) => ({ ca: program.ca, headers: { authorization: `Bearer ${token}` } });
  await using removed = await clientOfEach(2, program.url, options(tokens[0]!));
  await using kept = await clientOfEach(2, program.url, options(tokens[1]!));
  const [leaving] = kept.keys();
  Deno.kill(leaving!, "SIGTERM");
  await until(() => listeningSockets(program.port) === 1);
  // The watch waits until the file no longer changes. Only the signal has an effect.
  const file = join(program.folder, "tokens.txt");
  let change = 0;
  const write = () => {
    Deno.writeTextFileSync(`${file}.new`, `${tokens[1]}\n# ${++change}\n`);
    Deno.renameSync(`${file}.new`, file);
  };
  write();
  const changing = setInterval(write, 100);
  try {
    program.signal("SIGHUP");
    for (const client of removed.values()) assertEquals((await client.closed).code, 3000);
  } finally {
    clearInterval(changing);
  }
  for (const [pid, client] of kept) assertEquals(await client.ask("pid"), `${pid}`);
  for (const client of kept.values()) await client.close();
});

peerTest("openssl", "every worker uses a changed certificate although the token file is unusable", async () => {
  await using folder = await openPki();
  const tokens = await folder.write("tokens", "a-secret-that-is-long-enough-0123456789\n");
  await using service = await startRenewable(2, { args: ["--auth-token-file", tokens] });
  const { program, ca } = service;
  await Deno.writeTextFile(tokens, "not a token");
  await program.stderr.until(/(?:the reload failed.*tokens line 1[^]*?){2}/);
  const from = program.stderr.text.length;
  const next = await service.renew("next");
  await served(program, 2, next, from);
  assertEquals(await serials(program.port, ca), new Set([await serial(next)]));
});

peerTest("openssl", "an unusable admin key file does not prevent the reload of the tokens in the workers", async () => {
  const tokens = ["first-secret-that-is-long-enough", "second-secret-that-is-long-enough"];
  const args = ["--auth-token-file", "tokens.txt", "--admin", "127.0.0.1:0", "--admin-key-file", "keys"];
  await using program = await startWorkers(2, [...args, "--drain-timeout", "0s"], {
    files: { "tokens.txt": tokens.join("\n"), "keys": "0".repeat(64) },
  });
  const options = (token: string) => ({ ca: program.ca, headers: { authorization: `Bearer ${token}` } });
  await using removed = await clientOfEach(2, program.url, options(tokens[0]!));
  const from = program.stderr.text.length;
  await Deno.writeTextFile(join(program.folder, "tokens.txt"), tokens[1]!);
  await Deno.writeTextFile(join(program.folder, "keys"), "not a key");
  program.signal("SIGHUP");
  await program.stderr.until(/the reload failed.*keys line 1/, from);
  // Without the reload the workers would revoke the token some seconds later.
  const refused = await Client.open(program.url, options(tokens[0]!)).catch(String);
  assertMatch(String(refused), /Error/);
  for (const client of removed.values()) assertEquals((await client.closed).code, 3000);
});

peerTest("openssl", "a worker that starts during a reload listens with the new certificate", async () => {
  await using broker = openSilentBroker();
  await using service = await startRenewable(2, { args: ["--broker", broker.url, "--broker-optional"] });
  const { program, ca } = service;
  broker.hold();
  const from = program.stderr.text.length;
  Deno.kill(childrenOf(program.pid)[0]!, "SIGKILL");
  const [, worker] = await program.stderr.until(/worker (\d) exited/, from);
  // The warning shows that it has loaded the certificate. Now it waits for the broker.
  await program.stderr.until(new RegExp(`The chain ends at[^\n]*"worker":${worker}`), from);
  const next = await service.renew("next");
  program.signal("SIGHUP");
  await served(program, 1, next, from);
  broker.release();
  await program.stderr.until(new RegExp(`worker ${worker} is serving again`), from);
  assertEquals(await serials(program.port, ca), new Set([await serial(next)]));
});

peerTest(
  "openssl",
  "a worker that got SIGTERM gets no new client and answers for no other, also during a reload",
  async () => {
    const admin = ["--admin", "127.0.0.1:0", "--admin-tls"];
    await using service = await startRenewable(2, { drainTimeout: "60s", args: admin });
    const { program, options, ca } = service;
    await using held = await clientOfEach(2, program.url, options);
    const [[leaving, client], [staying]] = [...held] as [[number, Client], [number, Client]];
    Deno.kill(leaving, "SIGTERM");
    await until(() => listeningSockets(program.port) === 1);
    const from = program.stderr.text.length;
    const next = await service.renew("next");
    program.signal("SIGHUP");
    let reloaded = false;
    const reloading = served(program, 1, next, from).finally(() => reloaded = true);
    await program.stderr.until(/The chain ends at/, from);
    const workers = new Set<number>();
    do {
      await using fresh = await Client.open(program.url, options);
      workers.add(Number(await fresh.ask("pid")));
    } while (!reloaded);
    await reloading;
    assertEquals([...workers], [staying]);
    // The admin listener asks a worker for the certificate: not the one that is stopping.
    const { port } = new URL(await adminOf(program));
    await until(async () => await serialOf(Number(port), ca) === await serial(next));
    assertEquals(await client.ask("pid"), `${leaving}`);
    await client.close();
    await program.stderr.until(/worker \d is serving again/, from);
  },
);
