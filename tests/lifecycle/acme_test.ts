/** The program with --domain, against a real Pebble: first start, restart, renewal, failures, and kills. */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { childrenOf, clientOfEach, WORKER_APP } from "../workers/workers.ts";
import { peerTest } from "../peers/require.ts";
import { LEAST_PERMISSIONS, ROOT, runProgram, startProgram } from "../support/program.ts";
import { serialOf } from "../support/raw.ts";
import { type Front, startPebble } from "../tls/acme/pebble.ts";
import { HeldClients, NewClients } from "../support/client_load.ts";
import {
  asks,
  certOptions,
  folderFor,
  makeDue,
  optionsFor,
  redirected,
  renewNow,
  startChild,
  stateOf,
} from "./acme_setup.ts";

peerTest("pebble", "acme: --domain alone suffices; a restart sends no request; http redirects to https", async () => {
  await using pebble = await startPebble({ front: () => undefined });
  await using folder = await folderFor(pebble);
  let before: number;
  {
    await using program = await startProgram(optionsFor(pebble), { folder: folder.path });
    assertEquals(program.url, `wss://${pebble.address}:${program.port}/`);
    await asks(program, folder.ca);
    assertMatch(program.stderr.text, /"there is no certificate yet: obtaining [^"]*; this takes at most 3m"/);
    assertMatch(program.stderr.text, /"certificate: [^"]* the authority requests the challenge on port 80"/);

    const there = `http://${pebble.address}:${pebble.httpPort}`;
    const redirect = await fetch(`${there}/wss?a=b`, { redirect: "manual" });
    await redirect.body?.cancel();
    assertEquals(redirect.status, 308);
    assertEquals(redirect.headers.get("location"), `https://${pebble.address}:${program.port}/wss?a=b`);
    await program.stderr.until(/"the certificate will be renewed at /);
    before = pebble.requests.length;
    assertEquals((await program.stop()).code, 0);
  }
  await using program = await startProgram(optionsFor(pebble), { folder: folder.path });
  await asks(program, folder.ca);
  assertEquals(pebble.requests.length, before);
});

peerTest("pebble", "acme: a renewal under load loses none of 50 connections and refuses no new client", async () => {
  const held = Promise.withResolvers<void>();
  let renewing = false;
  const front = renewNow(async ({ kind }) => {
    if (kind === "newOrder" && renewing) await held.promise;
    return undefined;
  });
  await using pebble = await startPebble({ front });
  await using folder = await folderFor(pebble);
  const { code, stderr } = await runProgram(["cert", ...certOptions(pebble)], { folder: folder.path });
  assertEquals(code, 0, stderr);
  await makeDue(pebble, folder.path);
  renewing = true;
  await using program = await startProgram([...optionsFor(pebble), "--app", "echo"], { folder: folder.path });
  const ca = await Deno.readTextFile(folder.ca);
  const old = await serialOf(program.port, ca, pebble.address);
  await using clients = await HeldClients.open(50, program.url, { ca: folder.ca });
  await using arrivals = new NewClients(program.url, { ca: folder.ca });
  await arrivals.more(10);
  held.resolve();
  const [, named] = await program.stderr.until(/"the new certificate is in use","serial":"([0-9A-F]+)"/);
  assertNotEquals(named!.toLowerCase(), old);
  assertEquals(await serialOf(program.port, ca, pebble.address), named!.toLowerCase());
  await arrivals.more(10);
  await arrivals.settle();
  await clients.settle();
});

peerTest("pebble", "acme: one worker renews, all workers serve the certificate, and another takes over", async () => {
  const held = Promise.withResolvers<void>();
  let renewing = false;
  const front = renewNow(async ({ kind }) => {
    if (kind === "newOrder" && renewing) await held.promise;
    return undefined;
  });
  await using pebble = await startPebble({ front, nonceReject: 0 });
  await using folder = await folderFor(pebble);
  const files = Object.entries(WORKER_APP);
  for (const [name, text] of files) await Deno.writeTextFile(join(folder.path, name), text);
  const start = () =>
    startProgram(["--workers", "2", "--app", "./worker.ts", "--drain-timeout", "1s", ...optionsFor(pebble)], {
      folder: folder.path,
    });
  const options = { ca: folder.ca };
  {
    await using program = await start();
    await using _each = await clientOfEach(2, program.url, options);
    assertEquals(pebble.requests.filter((kind) => kind === "newOrder").length, 1);
    assertEquals((await program.stop()).code, 0);
  }
  await makeDue(pebble, folder.path);
  renewing = true;
  await using program = await start();
  await using clients = await clientOfEach(2, program.url, options);
  const ca = await Deno.readTextFile(folder.ca);
  const old = await serialOf(program.port, ca, pebble.address);
  held.resolve();
  const serves =
    /"the new certificate is in use","serial":"([0-9A-F]+)"[^]*"the new certificate is in use","serial":"\1"/;
  const [, fresh] = await program.stderr.until(serves);
  assertNotEquals(fresh!.toLowerCase(), old);
  for (let count = 0; count < 10; count++) {
    assertEquals(await serialOf(program.port, ca, pebble.address), fresh!.toLowerCase());
  }
  for (const [pid, client] of clients) assertEquals(await client.ask("pid"), `${pid}`);
  assertEquals(pebble.requests.filter((kind) => kind === "newOrder").length, 2);

  // Whichever worker held the challenge port, a running worker soon opens it.
  const [first] = childrenOf(program.pid);
  Deno.kill(first!, "SIGKILL");
  await redirected(pebble);
});

peerTest("pebble", "acme: after a kill in any step, the next start obtains the certificate", async (t) => {
  const steps = ["newAccount", "newOrder", "authorization", "challenge", "finalize", "certificate"] as const;
  for (const step of steps) {
    for (const when of ["before", "after"] as const) {
      await t.step(`${when} the authority has processed ${step}`, async () => {
        const reached = Promise.withResolvers<void>();
        const killed = Promise.withResolvers<void>();
        const front: Front = async (request) => {
          if (request.kind !== step || request.earlier > 0) return undefined;
          const answer = when === "after" ? await request.pass() : undefined;
          reached.resolve();
          await killed.promise;
          return answer ?? new Response(null, { status: 503 });
        };
        await using pebble = await startPebble({ front, nonceReject: 0 });
        await using folder = await folderFor(pebble);
        await using child = startChild(optionsFor(pebble), folder.path);
        await Promise.race([reached.promise, child.ended.then((text) => Promise.reject(new Error(text)))]);
        await child.kill();
        killed.resolve();
        await using program = await startProgram(optionsFor(pebble), { folder: folder.path });
        await asks(program, folder.ca);
        // Pebble returns the existing account for a known key, and a finalised order is fetched instead of repeated.
        const orders = pebble.requests.filter((kind) => kind === "newOrder").length;
        if (step === "finalize" || step === "certificate") assertEquals(orders, 1);
        const account = JSON.parse(await Deno.readTextFile(join(stateOf(pebble, folder.path), "../account.json")));
        assertMatch(account.url, /\/my-account\//);
      });
    }
  }
});

peerTest("pebble", "acme: after a hand-over the new process answers challenges and renews", async () => {
  await using pebble = await startPebble();
  await using folder = await folderFor(pebble);
  await using program = await startProgram(
    [...optionsFor(pebble), "--drain-timeout", "1s"],
    { folder: folder.path },
  );
  await asks(program, folder.ca);
  program.signal("SIGUSR2");
  assertEquals(await program.exited, 0);
  // The successor writes to the same output. It opens the challenge port once the first process has ended.
  assertEquals(await redirected(pebble), `https://${pebble.address}:${program.port}/`);
  await asks(program, folder.ca);
  const [, pid] = /process (\d+) has taken over/.exec(program.stderr.text)!;
  Deno.kill(Number(pid), "SIGTERM");
  await program.ended;
});

peerTest(
  "pebble",
  "acme: a challenge port that is in use or forbidden fails the start with a remedy",
  async () => {
    await using pebble = await startPebble();
    await using folder = await folderFor(pebble);
    const options = optionsFor(pebble);
    using _taken = Deno.listen({ hostname: pebble.address, port: pebble.httpPort });
    const where = `Cannot answer the authority's challenges on ${pebble.address}`;
    const { code, stderr } = await runProgram(["--port", "0", ...options], { folder: folder.path });
    assertEquals(code, 1);
    assert(
      stderr.includes(`wss: ${where}:5002: the port is in use by another program; stop that program, or `),
      stderr,
    );

    const check = await runProgram(["--check", ...options], { folder: folder.path });
    assertEquals(check.code, 1);
    assert(check.stdout.includes(`error   ${where}:5002: the port is in use`), check.stdout);
    assertMatch(check.stdout, /^not sound: correct the errors first$/m);

    if (Deno.uid() !== 0) return;
    const wrapper = ["setpriv", "--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service"];
    const forbidden = await runProgram(
      ["--port", "0", ...options, "--acme-http-port", "79"],
      { folder: folder.path, wrapper },
    );
    assertEquals(forbidden.code, 1);
    assertMatch(forbidden.stderr, /:79: binding a port below 1024 requires a privilege .* forward port 80/);
  },
);

peerTest(
  "pebble",
  "acme: with an existing certificate, a challenge port in use is only logged as an error",
  async () => {
    await using pebble = await startPebble();
    await using folder = await folderFor(pebble);
    const { code } = await runProgram(["cert", ...certOptions(pebble)], { folder: folder.path });
    assertEquals(code, 0);
    using _taken = Deno.listen({ hostname: pebble.address, port: pebble.httpPort });
    await using program = await startProgram(optionsFor(pebble), { folder: folder.path });
    await program.stderr.until(/"error","message":"the certificate cannot be kept up to date: Cannot answer .* in use/);
    await asks(program, folder.ca);
    const check = await runProgram(["--check", ...optionsFor(pebble)], { folder: folder.path });
    assertEquals(check.code, 0);
    assertMatch(check.stdout, /^warning Cannot answer the authority's challenges on .*:5002: the port is in use/m);
  },
);

peerTest("pebble", "acme: --check examines the prerequisites and sends no request to the authority", async () => {
  await using pebble = await startPebble({ front: () => undefined });
  await using folder = await folderFor(pebble);
  const before = pebble.requests.length;
  // The address reaches this service on port 5002, not on port 80, where nothing, or another program, listens.
  const fresh = await runProgram(["--check", ...optionsFor(pebble)], { folder: folder.path });
  assertEquals(fresh.code, 0, fresh.stdout + fresh.stderr);
  assertMatch(fresh.stdout, /^note {4}There is no certificate for 127\.\S+ yet\.$/m);
  assertMatch(
    fresh.stdout,
    /^warning 127\.\S+ \(127\.\S+\), port 80: (connection refused\. Nothing listens|another server answers)/m,
  );
  assertMatch(fresh.stdout, /^sound: mode direct, certificate for 127\.\S+ from 127\.\S+, app ok$/m);
  assertEquals(pebble.requests.length, before);
  const unknown = await runProgram(["--check", ...optionsFor(pebble, ["a.invalid"])], { folder: folder.path });
  assertMatch(unknown.stdout, /^(error|warning) {1,3}(No address is found for the name|The name) a\.invalid/m);

  await using _program = await startProgram(optionsFor(pebble), { folder: folder.path });
  const running = await runProgram(["--check", ...optionsFor(pebble)], { folder: folder.path });
  assertEquals(running.code, 0, running.stdout);
  assertMatch(running.stdout, /^ok {6}The certificate is valid until 20/m);
  assertMatch(running.stdout, /^note {4}Port 5002 is used by a running service of this program/m);
});

peerTest(
  "pebble",
  "acme: the permissions of deno.json suffice, and silent clients of port 80 are disconnected",
  async () => {
    await using pebble = await startPebble();
    await using folder = await folderFor(pebble);
    await using program = await startProgram(optionsFor(pebble), {
      folder: folder.path,
      permissions: LEAST_PERMISSIONS,
    });
    await asks(program, folder.ca);
    const silent = await Deno.connect({ hostname: pebble.address, port: pebble.httpPort });
    // The watchdog aborts the connection after ten seconds: the client sees a reset or the end.
    const end = await silent.read(new Uint8Array(1)).catch(() => null);
    silent.close();
    assertEquals(end, null);
  },
);

peerTest(
  "pebble",
  "acme: without the C library the program obtains a certificate, and one warning names the missing features",
  async () => {
    await using pebble = await startPebble();
    await using folder = await folderFor(pebble);
    const permissions = LEAST_PERMISSIONS.filter((word) => !word.startsWith("--allow-ffi"));
    await using program = await startProgram(optionsFor(pebble), { folder: folder.path, permissions });
    await asks(program, folder.ca);
    await redirected(pebble);
    const { stderr } = await program.stop();
    assertEquals(stderr.match(/Without the C library/g)?.length, 1, stderr);
  },
);

Deno.test("acme: a start that does not use ACME loads none of its modules", async () => {
  // The module that `serve` always imports, and the module that it loads for other certificates.
  for (const entry of ["lib/cli/serve.ts", "lib/tls/certificate_source.ts"]) {
    const info = await new Deno.Command(Deno.execPath(), { args: ["info", "--json", entry], cwd: ROOT }).output();
    const { modules, roots } = JSON.parse(new TextDecoder().decode(info.stdout)) as {
      roots: string[];
      modules: { specifier: string; dependencies?: { code?: { specifier: string }; isDynamic?: boolean }[] }[];
    };
    const loaded = new Set<string>();
    const visit = (specifier: string): void => {
      if (loaded.has(specifier)) return;
      loaded.add(specifier);
      const module = modules.find((one) => one.specifier === specifier);
      for (const { code, isDynamic } of module?.dependencies ?? []) if (code && !isDynamic) visit(code.specifier);
    };
    roots.forEach(visit);
    assert(loaded.size > 10, `${entry}: ${loaded.size} modules`);
    assertEquals([...loaded].filter((specifier) => specifier.includes("/tls/acme/")), []);
  }
});
