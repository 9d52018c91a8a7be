/** `cert --domain`: a certificate from an ACME server without the service. */
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "node:path";
import { peerTest } from "../peers/require.ts";
import { runProgram, startProgram } from "../support/program.ts";
import { startPebble } from "../tls/acme/pebble.ts";
import { asks, certOptions, folderFor, makeDue, optionsFor, renewNow } from "../lifecycle/acme_setup.ts";

peerTest(
  "pebble",
  "cert --domain obtains a certificate, renews it when due or forced, and writes it to --out",
  async () => {
    await using pebble = await startPebble({ front: renewNow() });
    await using folder = await folderFor(pebble);
    const cert = (...more: string[]) => runProgram(["cert", ...certOptions(pebble), ...more], { folder: folder.path });
    const first = await cert("--out", "tls");
    assertEquals(first.code, 0, first.stderr);
    assertMatch(first.stdout, /^certificate {2}certs\/acme\/.*\/fullchain\.pem \(new\), until 20.*\n {13}for 127\./);
    assertMatch(first.stdout, /^written to {3}tls\/fullchain\.pem and tls\/privkey\.pem$/m);
    const written = (name: string) => Deno.readTextFile(join(folder.path, "tls", name));
    assertEquals((await Deno.stat(join(folder.path, "tls/privkey.pem"))).mode! & 0o777, 0o600);
    const old = await written("fullchain.pem");

    assertMatch((await cert()).stdout, /\(kept\)/);
    await makeDue(pebble, folder.path);
    assertMatch((await cert("--out", "tls")).stdout, /\(new\)/);
    assertNotEquals(await written("fullchain.pem"), old);
    assertMatch((await cert("--force")).stdout, /\(new\)/);

    await using program = await startProgram(optionsFor(pebble), { folder: folder.path });
    assertMatch((await cert()).stdout, /\(kept\)/);
    const refused = await cert("--force");
    assertEquals(refused.code, 1);
    assertMatch(refused.stderr, /^wss: Cannot renew the certificate in .*: a running service uses it/m);
    await asks(program, folder.ca);
  },
);

Deno.test("cert rejects options of ACME without --domain, and --name with --domain", async () => {
  const { code, stderr } = await runProgram(["cert", "--out", "x", "--acme-email", "a@example.com"]);
  assertEquals(code, 2);
  assertMatch(stderr, /^wss: --acme-email requires --domain\nwss: --out requires --domain\n/);
  const both = await runProgram(["cert", "--domain", "a.example", "--name", "b.example"]);
  assertEquals(both.code, 2);
  assertMatch(both.stderr, /^wss: --name cannot be combined with --domain: it is for the development certificate$/m);
});
