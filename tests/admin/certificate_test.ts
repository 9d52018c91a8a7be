/** `--admin-tls`: the admin listener uses the service's renewed certificate, and every call is answered. */
import { assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { AdminListener } from "../../lib/admin/admin_listener.ts";
import { StartError } from "../../lib/errors.ts";
import { createLogger } from "../../lib/log.ts";
import { testAuthority } from "../net/certificates.ts";
import { peerTest } from "../peers/require.ts";
import { type Issued, openPki, type Pki } from "../support/openssl.ts";
import { type Program, startProgram } from "../support/program.ts";
import { serialOf } from "../support/raw.ts";
import { until } from "../support/until.ts";
import { startWorkers } from "../workers/workers.ts";

/** An authority, its three certificates, and the files that the service reads. They first contain the first one. */
interface Setup {
  readonly ca: string;
  readonly leaves: readonly Issued[];
  readonly args: readonly string[];
  install(next: Issued): Promise<void>;
}

async function setUp(pki: Pki): Promise<Setup> {
  const issuer = await pki.authority("root");
  const leaves = [];
  for (const name of ["first", "second", "third"]) leaves.push(await pki.leaf(name, { issuer }));
  const live = pki.path("live");
  await Deno.mkdir(live);
  const files = { cert: join(live, "cert.pem"), key: join(live, "key.pem") };
  const install = async (next: Issued) => {
    for (const name of ["cert", "key"] as const) await Deno.copyFile(next[name], files[name]);
  };
  await install(leaves[0]!);
  const args = ["--cert", files.cert, "--key", files.key, "--host", "127.0.0.1", "--admin", "127.0.0.1:0"];
  return { ca: await Deno.readTextFile(issuer.cert), leaves, args: [...args, "--admin-tls"], install };
}

async function serialIn({ cert }: Issued): Promise<string> {
  return new X509Certificate(await Deno.readTextFile(cert)).serialNumber.toLowerCase();
}

async function adminPort(program: Program): Promise<number> {
  return Number((await program.stderr.until(/"admin":"https:\/\/127\.0\.0\.1:(\d+)"/))[1]);
}

/** Sends requests over a persistent and over new connections until `stop`. @throws {Error} if one is not answered */
function asking(port: number, ca: string): { readonly times: number; stop(): Promise<void> } & AsyncDisposable {
  let stopping = false;
  let times = 0;
  const ask = async (options: Deno.CreateHttpClientOptions) => {
    using client = Deno.createHttpClient({ caCerts: [ca], ...options });
    while (!stopping) {
      const answer = await fetch(`https://127.0.0.1:${port}/healthz`, { client });
      assertEquals([answer.status, (await answer.json()).status], [200, "ok"]);
      times++;
    }
  };
  const loops = [ask({}), ask({ poolMaxIdlePerHost: 0 }), ask({ poolMaxIdlePerHost: 0, http2: false })];
  for (const loop of loops) loop.catch(() => {});
  const stop = async () => {
    stopping = true;
    await Promise.all(loops);
  };
  return {
    get times() {
      return times;
    },
    stop,
    [Symbol.asyncDispose]: () => stop().catch(() => {}),
  };
}

/** Waits until a new connection gets a certificate, and asserts that later connections get it too. */
async function untilServed(port: number, ca: string, serial: string): Promise<void> {
  await until(async () => await serialOf(port, ca) === serial);
  for (let i = 0; i < 10; i++) assertEquals(await serialOf(port, ca), serial);
}

peerTest("openssl", "--admin-tls: a renewed certificate is used, and an invalid one changes nothing", async () => {
  await using pki = await openPki();
  const { ca, leaves, args, install } = await setUp(pki);
  await using program = await startProgram(args);
  const port = await adminPort(program);
  await using calls = asking(port, ca);
  assertEquals(await serialOf(port, ca), await serialIn(leaves[0]!));
  for (const [round, next] of leaves.slice(1).entries()) {
    const from = program.stderr.text.length;
    await install(next);
    // The first time, the service detects the changed files. The second time, it gets a signal.
    if (round === 1) program.signal("SIGHUP");
    await program.stderr.until(/"message":"the new certificate is in use"/, from);
    // Both listeners use the new certificate before the log line is written.
    for (const each of [port, program.port]) assertEquals(await serialOf(each, ca), await serialIn(next));
  }
  const from = program.stderr.text.length;
  await install({ cert: leaves[0]!.cert, key: leaves[1]!.key });
  program.signal("SIGHUP");
  await program.stderr.until(/"level":"error","message":"the reload failed/, from);
  for (const each of [port, program.port]) assertEquals(await serialOf(each, ca), await serialIn(leaves[2]!));
  const { times } = calls;
  await until(() => calls.times >= times + 10);
  await calls.stop();
  assertEquals((await program.stop()).code, 0);
});

Deno.test("the admin listener tries again if its certificate cannot be replaced", async () => {
  const { ca, issue } = await testAuthority();
  const [first, second] = [await issue("3a01"), await issue("3a02")];
  const logged: string[] = [];
  const unused = () => Promise.reject(new Error("it is not called"));
  await using admin = await AdminListener.open({
    address: { transport: "tcp", hostname: "127.0.0.1", port: 0 },
    tls: first,
    keys: undefined,
    backend: { execute: unused, metrics: unused, health: unused },
    maxPayload: 1,
    handshakeTimeout: 60_000,
    takeover: false,
    log: createLogger({ format: "json", write: (line) => void logged.push(line) }),
    retryAfter: 10,
  });
  const { port } = admin.addr as Deno.NetAddr;
  // A lack of descriptors, which no test can make without an effect on others.
  let attempts = 0;
  await admin.replace({
    get cert() {
      if (attempts++ < 2) throw new StartError("Too many open files");
      return second.cert;
    },
    key: second.key,
  });
  await untilServed(port, ca, second.serial);
  assertEquals(logged.filter((line) => line.includes("Too many open files")).length, 1);
});

peerTest("openssl", "--admin-tls with --workers: the supervisor uses the renewed certificate", async () => {
  await using pki = await openPki();
  const { ca, leaves, args, install } = await setUp(pki);
  await using program = await startWorkers(2, args);
  const port = await adminPort(program);
  await using calls = asking(port, ca);
  assertEquals(await serialOf(port, ca), await serialIn(leaves[0]!));
  for (const [round, next] of leaves.slice(1).entries()) {
    const from = program.stderr.text.length;
    await install(next);
    if (round === 1) program.signal("SIGHUP");
    await program.stderr.until(/(?:"message":"the new certificate is in use"[^]*?){2}/, from);
    await untilServed(port, ca, await serialIn(next));
  }
  // New workers do not restore an old certificate.
  program.signal("SIGUSR2");
  await program.stderr.until(/the workers have been replaced/);
  await untilServed(port, ca, await serialIn(leaves[2]!));
  await calls.stop();
  assertEquals((await program.stop()).code, 0);
});
