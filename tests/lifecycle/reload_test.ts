/** Certificates and tokens change while the program serves: no connection is lost, and invalid files change nothing. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { peerTest } from "../peers/require.ts";
import { Client } from "../support/client.ts";
import { type Issued, openPki, type Pki } from "../support/openssl.ts";
import { type Program, startProgram } from "../support/program.ts";
import { ask, dial, exchange, handshake, readUntil, serialOf, tryWrite } from "../support/raw.ts";
import { figures, most } from "../support/figures.ts";
import { openSilentBroker } from "../support/silent_broker.ts";
import { residentBytes } from "../support/proc.ts";
import { HeldClients, NewClients } from "../support/client_load.ts";
import { serve } from "../../lib/service/serve.ts";
import echo from "../../lib/apps/echo.ts";

const SERVES = /"message":"the new certificate is in use","serial":"([0-9A-F]+)"/;

async function serial({ cert }: Issued): Promise<string> {
  return new X509Certificate(await Deno.readTextFile(cert)).serialNumber.toLowerCase();
}

/** A folder in which the service finds `cert.pem` and `key.pem`, and the ways in which operators replace them. */
class Place {
  readonly cert: string;
  readonly key: string;
  readonly #folder: string;
  #turn = 0;

  private constructor(folder: string) {
    this.#folder = folder;
    this.cert = join(folder, "cert.pem");
    this.key = join(folder, "key.pem");
  }

  static async with(pki: Pki, first: Issued): Promise<Place> {
    const folder = pki.path("live");
    await Deno.mkdir(folder);
    const place = new Place(folder);
    await place.inPlace(first);
    return place;
  }

  /** Writes the certificate first, then the key. Between the two writes they do not match. */
  readonly inPlace = async (next: Issued): Promise<void> => {
    await Deno.writeFile(this.cert, await Deno.readFile(next.cert));
    await Deno.writeFile(this.key, await Deno.readFile(next.key));
  };

  readonly renamedOver = async (next: Issued): Promise<void> => {
    for (const [from, to] of [[next.cert, this.cert], [next.key, this.key]] as const) {
      await Deno.copyFile(from, `${to}.new`);
      await Deno.rename(`${to}.new`, to);
    }
  };

  /** As certbot does: the files are links into an archive, and each link is replaced. */
  readonly certbot = async (next: Issued): Promise<void> => {
    for (const [from, to] of [[next.cert, this.cert], [next.key, this.key]] as const) {
      await Deno.symlink(from, `${to}.link`);
      await Deno.rename(`${to}.link`, to);
    }
  };

  /** As Kubernetes does: the files are links through `..data`, a link to a folder. Only `..data` is replaced. */
  readonly kubernetes = async (next: Issued): Promise<void> => {
    const folder = `..${++this.#turn}`;
    await Deno.mkdir(join(this.#folder, folder));
    await Deno.copyFile(next.cert, join(this.#folder, folder, "cert.pem"));
    await Deno.copyFile(next.key, join(this.#folder, folder, "key.pem"));
    await Deno.symlink(folder, join(this.#folder, "..data.link"));
    await Deno.rename(join(this.#folder, "..data.link"), join(this.#folder, "..data"));
    for (const path of [this.cert, this.key]) {
      const target = `..data/${path === this.cert ? "cert" : "key"}.pem`;
      if (await Deno.readLink(path).catch(() => "") === target) continue;
      await Deno.symlink(target, `${path}.link`);
      await Deno.rename(`${path}.link`, path);
    }
  };
}

/** Changes the files, and waits until the log says that the new certificate is in use. */
async function renew(program: Program, next: Issued, change: () => Promise<void>): Promise<void> {
  const from = program.stderr.text.length;
  await change();
  const [, named] = await program.stderr.until(SERVES, from);
  assertEquals(named!.toLowerCase(), await serial(next));
}

peerTest(
  "openssl",
  "ten certificate reloads under load: no client is lost or refused, and new clients get the new certificate",
  async (t) => {
    await using pki = await openPki();
    const root = await pki.authority("root");
    const ca = await Deno.readTextFile(root.cert);
    const place = await Place.with(pki, await pki.leaf("first", { issuer: root }));
    const options = { ca: root.cert };
    await using program = await startProgram(
      ["--cert", place.cert, "--key", place.key, "--host", "127.0.0.1", "--app", "echo"],
    );
    const hangup = async (next: Issued) => {
      await place.inPlace(next);
      program.signal("SIGHUP");
    };
    const ways: [string, (next: Issued) => Promise<void>][] = [
      ["rewritten in place", place.inPlace],
      ["SIGHUP", hangup],
      ["renamed over", place.renamedOver],
      ["SIGHUP again", hangup],
      ["files replaced with links, as certbot does", place.certbot],
      ["certbot's links replaced", place.certbot],
      ["links through ..data, as Kubernetes does", place.kubernetes],
      ["..data swapped", place.kubernetes],
      ["..data swapped again", place.kubernetes],
      ["SIGHUP through ..data", hangup],
    ];
    const leaves: Issued[] = [];
    for (const index of ways.keys()) leaves.push(await pki.leaf(`leaf${index}`, { issuer: root }));

    const before = residentBytes(program.pid) / 1024;
    await using held = await HeldClients.open(50, program.url, options);
    await using arrivals = new NewClients(program.url, options);
    await arrivals.more(20);
    const quiet = most(arrivals.served);
    for (const [index, [name, change]] of ways.entries()) {
      await t.step(name, async () => {
        const next = leaves[index]!;
        await renew(program, next, () => change(next));
        assertEquals(await serialOf(program.port, ca), await serial(next));
        await arrivals.more(5);
      });
    }
    await arrivals.settle();
    await held.settle();
    assertEquals(held.clients.filter(({ socket }) => socket.readyState !== WebSocket.OPEN), []);
    figures("reloads under load", {
      "new connections": arrivals.served.length,
      "slowest before (ms)": quiet,
      "slowest of all (ms)": most(arrivals.served),
      "held echoes": held.echoes,
      "slowest echo (ms)": held.slowest,
      "memory before (KiB)": before,
      "memory after (KiB)": residentBytes(program.pid) / 1024,
    });
    const { stderr } = await (held[Symbol.asyncDispose](), program.stop());
    assertEquals(stderr.split("\n").filter((line) => /"level":"error"/.test(line)), []);
  },
);

peerTest("openssl", "with a bad certificate the service keeps the old certificate and logs the reason", async (t) => {
  await using pki = await openPki();
  const root = await pki.authority("root");
  const ca = await Deno.readTextFile(root.cert);
  const first = await pki.leaf("first", { issuer: root });
  const other = await pki.leaf("other", { issuer: root });
  const place = await Place.with(pki, first);
  await using program = await startProgram(
    ["--cert", place.cert, "--key", place.key, "--host", "127.0.0.1", "--app", "echo"],
  );
  await using client = await Client.open(program.url, { ca: root.cert });
  const bad: [string, Issued, RegExp][] = [
    ["the key of another certificate", { cert: other.cert, key: first.key }, /cert\.pem.*key\.pem|key\.pem.*cert\.pem/],
    ["expired", await pki.leaf("expired", { issuer: root, from: -20, to: -10 }), /cert\.pem.*expired/],
    ["not yet valid", await pki.leaf("early", { issuer: root, from: 10, to: 20 }), /cert\.pem.*not.*valid/],
    ["no PEM at all", { cert: await pki.write("garbage", "hello"), key: first.key }, /cert\.pem/],
  ];
  for (const [index, [name, pair, why]] of bad.entries()) {
    await t.step(name, async () => {
      const from = program.stderr.text.length;
      await place.inPlace(pair);
      if (index > 0) program.signal("SIGHUP");
      // The watch may also report the files of the step before.
      await program.stderr.until(new RegExp(`"level":"error","message":"the reload failed.*(?:${why.source})`), from);
      assert(!/^\s+at /m.test(program.stderr.text), program.stderr.text);
      assertEquals(await serialOf(program.port, ca), await serial(first));
      assertEquals(await client.ask(name), name);
    });
  }
  await t.step("a missing file", async () => {
    const from = program.stderr.text.length;
    await Deno.remove(place.key);
    program.signal("SIGHUP");
    await program.stderr.until(/"level":"error","message":"the reload failed.*key\.pem/, from);
    assertEquals(await serialOf(program.port, ca), await serial(first));
  });
  await t.step("a valid certificate is then served", async () => {
    await renew(program, other, () => place.renamedOver(other));
    assertEquals(await serialOf(program.port, ca), await serial(other));
    assertEquals(await client.ask("still"), "still");
  });
});

peerTest("openssl", "a client in the middle of its handshake when the certificate changes is served", async () => {
  await using pki = await openPki();
  const root = await pki.authority("root");
  const ca = await Deno.readTextFile(root.cert);
  const place = await Place.with(pki, await pki.leaf("first", { issuer: root }));
  await using program = await startProgram(
    ["--cert", place.cert, "--key", place.key, "--host", "127.0.0.1", "--app", "echo", "--handshake-timeout", "5m"],
  );
  const tcp = await Deno.connect({ hostname: "127.0.0.1", port: program.port });
  const tls = await dial({ port: program.port, ca });
  const half = await dial({ port: program.port, ca });
  const text = new TextEncoder().encode(handshake());
  await tryWrite(half, text.subarray(0, 30));
  for (const name of ["second", "third"]) {
    const next = await pki.leaf(name, { issuer: root });
    await place.inPlace(next);
    // The third certificate waits until the accept loop of the first has ended.
    program.signal("SIGHUP");
    await program.stderr.until(new RegExp(`is in use","serial":"${await serial(next)}"`, "i"));
  }
  const late = await Deno.startTls(tcp, { hostname: "localhost", caCerts: [ca] });
  for (const connection of [late, tls]) assertMatch(await exchange(connection, handshake()), /^HTTP\/1\.1 101/);
  await tryWrite(half, text.subarray(30));
  assertMatch(await readUntil(half, "\r\n\r\n"), /^HTTP\/1\.1 101/);
  for (const connection of [late, tls, half]) connection.close();
});

peerTest("openssl", "service.reload() in a program that embeds the service", async () => {
  await using pki = await openPki();
  const root = await pki.authority("root");
  const ca = await Deno.readTextFile(root.cert);
  const place = await Place.with(pki, await pki.leaf("first", { issuer: root }));
  await using service = await serve(echo, { cert: place.cert, key: place.key, host: "127.0.0.1", port: 0 });
  const { port } = service.addr as Deno.NetAddr;
  await using held = await HeldClients.open(5, service.url, { ca: root.cert });
  await using arrivals = new NewClients(service.url, { ca: root.cert }, 1);
  for (const name of ["second", "third"]) {
    const next = await pki.leaf(name, { issuer: root });
    await place.inPlace(next);
    await service.reload();
    assertEquals(await serialOf(port, ca), await serial(next));
    assertEquals(service.material?.leaf.serialNumber.toLowerCase(), await serial(next));
    await arrivals.more(3);
  }
  await arrivals.settle();
  await held.settle();
  await held[Symbol.asyncDispose]();
});

Deno.test("a changed token file: the new secret is accepted, the old one is refused; --revoked-tokens keep", async (t) => {
  const [old, fresh] = ["old-secret-of-more-than-22-characters", "new-secret-of-more-than-22-characters"];
  await using program = await startProgram(
    ["--app", "echo", "--auth-token-file", "tokens", "--revoked-tokens", "keep"],
    {
      files: { tokens: `${old}\n` },
    },
  );
  const file = join(program.folder, "tokens");
  const open = (token: string) =>
    Client.open(program.url, { ca: program.ca, headers: { authorization: `Bearer ${token}` } });
  const ca = await Deno.readTextFile(program.ca);
  const answer = (token: string) =>
    ask({ port: program.port, ca }, handshake({ headers: { Authorization: `Bearer ${token}` } }));
  await using held = await open(old);
  assertMatch(await answer(fresh), /^HTTP\/1\.1 401/);

  for (const how of ["renamed over", "SIGHUP"]) {
    await t.step(how, async () => {
      const from = program.stderr.text.length;
      const [gone, come] = how === "SIGHUP" ? [fresh, old] : [old, fresh];
      if (how === "SIGHUP") {
        await Deno.writeTextFile(file, come);
        program.signal("SIGHUP");
      } else {
        await Deno.writeTextFile(`${file}.new`, come);
        await Deno.rename(`${file}.new`, file);
      }
      await program.stderr.until(/"message":"[^"]*tokens was read again"/, from);
      assertMatch(await answer(gone), /^HTTP\/1\.1 401/);
      await using client = await open(come);
      assertEquals(await client.ask("new"), "new");
      assertEquals(await held.ask("held"), "held");
    });
  }
  await t.step("a token file without secrets accepts no client", async () => {
    const from = program.stderr.text.length;
    await Deno.writeTextFile(file, "# none\n");
    program.signal("SIGHUP");
    await program.stderr.until(/"message":"[^"]*tokens was read again"/, from);
    for (const token of [old, fresh]) assertMatch(await answer(token), /^HTTP\/1\.1 401/);
    assertEquals(await held.ask("held"), "held");
  });
  assertEquals(program.stderr.text.includes(old) || program.stderr.text.includes(fresh), false);
});

peerTest("openssl", "a changed certificate is used although the token file is unusable", async () => {
  await using pki = await openPki();
  const root = await pki.authority("root");
  const place = await Place.with(pki, await pki.leaf("first", { issuer: root }));
  const token = "a-secret-of-more-than-22-characters";
  await using program = await startProgram(
    ["--cert", place.cert, "--key", place.key, "--host", "127.0.0.1", "--app", "echo", "--auth-token-file", "tokens"],
    { files: { tokens: `${token}\n` } },
  );
  await Deno.writeTextFile(join(program.folder, "tokens"), "not a token");
  await program.stderr.until(/"level":"error","message":"the reload failed.*tokens line 1/);
  const next = await pki.leaf("next", { issuer: root });
  await renew(program, next, () => place.inPlace(next));
  assertEquals(await serialOf(program.port, await Deno.readTextFile(root.cert)), await serial(next));
  await using client = await Client.open(program.url, { ca: root.cert, headers: { authorization: `Bearer ${token}` } });
  assertEquals(await client.ask("in"), "in");
});

peerTest("openssl", "a certificate that changes while the service starts is in use afterwards", async () => {
  await using pki = await openPki();
  const root = await pki.authority("root");
  const place = await Place.with(pki, await pki.leaf("first", { issuer: root }));
  await using broker = openSilentBroker();
  const next = await pki.leaf("next", { issuer: root });
  broker.hold();
  // The start waits five seconds for the broker. The watch reports a change two seconds after it.
  const starting = startProgram([
    ...["--cert", place.cert, "--key", place.key, "--broker", broker.url, "--broker-optional"],
  ]);
  await broker.waiting;
  await place.inPlace(next);
  await using program = await starting;
  const [, used] = await program.stderr.until(SERVES);
  assertEquals(used!.toLowerCase(), await serial(next));
  assertEquals(await serialOf(program.port, await Deno.readTextFile(root.cert)), await serial(next));
});

peerTest("openssl", "a failed start exits even if the certificate changed meanwhile", async () => {
  await using pki = await openPki();
  const root = await pki.authority("root");
  const place = await Place.with(pki, await pki.leaf("first", { issuer: root }));
  await using broker = openSilentBroker();
  const next = await pki.leaf("next", { issuer: root });
  broker.hold();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const starting = startProgram([
    ...["--cert", place.cert, "--key", place.key, "--broker", broker.url, "--broker-optional"],
    ...["--host", "127.0.0.1", "--port", `${taken.addr.port}`],
  ]);
  const failed = assertRejects(() => starting, Error, "the port is in use by another program");
  await broker.waiting;
  await place.inPlace(next);
  await failed;
});
