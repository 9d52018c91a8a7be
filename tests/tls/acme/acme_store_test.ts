import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { createPublicKey, X509Certificate } from "node:crypto";
import { join } from "node:path";
import { StartError } from "../../../lib/errors.ts";
import { createAuthority, issueCertificate } from "../../../lib/tls/issue_certificate.ts";
import { AcmeError } from "../../../lib/tls/acme/acme_error.ts";
import { AcmeStore, type CertificateStore, folderName } from "../../../lib/tls/acme/acme_store.ts";
import { issueLeaf } from "./leaf.ts";
import { temporaryFolder } from "./source.ts";

const NAMES = ["a.example"];
const NOW = new Date();
const DAY = 86_400_000;

/** Issues a chain for the next key of the store. */
async function chainFor(store: CertificateStore, names = NAMES, from = -60_000, to = 3_600_000): Promise<string> {
  await store.nextKey();
  const key = createPublicKey(await Deno.readTextFile(join(store.folder, "next.key")));
  return await issueLeaf({
    publicKey: new Uint8Array(key.export({ type: "spki", format: "der" })),
    names,
    from: new Date(NOW.getTime() + from),
    to: new Date(NOW.getTime() + to),
  });
}

Deno.test("acme store: saves a chain with its key, and removes the unfinished order", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble").certificate("a.example");
  assertEquals(store.load(NAMES), undefined);
  const chain = await chainFor(store);
  store.saveOrder({ url: "https://a.example/1", names: NAMES });
  store.saveFailure({ failures: 1, notBefore: NOW.toISOString(), demanded: false, problem: "x" });
  store.save(chain, NAMES);
  assertEquals([store.order(), store.failure()], [undefined, undefined]);
  const material = store.load(NAMES)!;
  assertEquals(material.names, NAMES);
  assertEquals(material.file, store.chainFile);
  // One hour is left, but there is no warning, because the renewal is automatic.
  assertEquals(material.findings.filter(({ code }) => code === "certificate-expires-soon"), []);
  assertEquals(store.load(["a.example", "b.example"]), undefined);
});

Deno.test("acme store: a crash at any point of a renewal leaves a certificate with its key", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble").certificate("a.example");
  store.save(await chainFor(store), NAMES);
  const serial = () => new X509Certificate(store.load(NAMES)!.cert).serialNumber;
  const first = serial();
  // A crash after the next key was created.
  const chain = await chainFor(store);
  assertEquals(serial(), first);
  // The key is the same, because an order may already contain it.
  const key = await Deno.readTextFile(join(store.folder, "next.key"));
  await store.nextKey();
  assertEquals(await Deno.readTextFile(join(store.folder, "next.key")), key);
  // A crash after the chain was replaced, before its key was.
  await Deno.writeTextFile(store.chainFile, chain);
  const second = serial();
  assertEquals(second, new X509Certificate(chain).serialNumber);
  assert(second !== first);
  // The next attempt moves the key to its file, and creates a new next key.
  await store.nextKey();
  assertEquals(await Deno.readTextFile(store.keyFile), key);
  assertEquals(serial(), second);
  assert(await Deno.readTextFile(join(store.folder, "next.key")) !== key);
});

Deno.test("acme store: a chain that cannot be used replaces nothing", async (t) => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble").certificate("a.example");
  store.save(await chainFor(store), NAMES);
  const before = await Deno.readTextFile(store.chainFile);
  const key = await Deno.readTextFile(store.keyFile);
  const foreign = (await issueCertificate(await createAuthority(NOW), NAMES, NOW)).cert;
  const broken = foreign.slice(0, 200);
  // After a correction of the clock the same order provides a usable certificate.
  const cases: readonly [what: string, chain: string, reason: RegExp, keepsOrder: boolean][] = [
    ["for another key", foreign, /it is for another key$/, false],
    ["for other names", await chainFor(store, ["b.example"]), /it does not name a\.example$/, false],
    ["damaged", broken, /Cannot read the authority's response: /, false],
    [
      "not valid yet",
      await chainFor(store, NAMES, DAY, 2 * DAY),
      /is not valid before 20.*The time of this machine is 20.*Correct the clock, or wait$/,
      true,
    ],
    [
      "expired",
      await chainFor(store, NAMES, -2 * DAY, -DAY),
      / expired on 20.*The time of this machine is 20.*Correct the clock$/,
      false,
    ],
  ];
  for (const [what, chain, reason, keepsOrder] of cases) {
    await t.step(what, async () => {
      await store.nextKey();
      store.saveOrder({ url: "https://a.example/1", names: NAMES });
      const error = assertThrows(() => store.save(chain, NAMES), AcmeError);
      assertEquals(error.type, "unusable");
      assertMatch(error.message, reason);
      assertEquals(await Deno.readTextFile(store.chainFile), before);
      assertEquals(await Deno.readTextFile(store.keyFile), key);
      assertEquals(store.load(NAMES)!.leaf.serialNumber, new X509Certificate(before).serialNumber);
      assertEquals(store.order() !== undefined, keepsOrder);
    });
  }
});

Deno.test("acme store: a crash while a chain is saved leaves no order that would provide it again", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble").certificate("a.example");
  const chain = await chainFor(store);
  store.saveOrder({ url: "https://a.example/1", names: NAMES });
  await Deno.writeTextFile(store.chainFile, chain);
  assertEquals(store.order(), undefined);
  assertEquals(store.load(NAMES)!.leaf.serialNumber, new X509Certificate(chain).serialNumber);
});

Deno.test("acme store: a certificate that is not valid yet is an error, because a new one would not be either", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble").certificate("a.example");
  const chain = await chainFor(store, NAMES, DAY, 2 * DAY);
  await Deno.writeTextFile(store.chainFile, chain);
  const { message } = assertThrows(() => store.load(NAMES), StartError);
  assertMatch(message, /fullchain\.pem: .* is not valid before .* Correct the clock, or wait\.$/);
});

Deno.test("acme store: ignores a damaged chain, and replaces it", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble").certificate("a.example");
  const chain = await chainFor(store);
  for (const damaged of ["", chain.slice(0, 100)]) {
    await Deno.writeTextFile(store.chainFile, damaged);
    assertEquals(store.load(NAMES), undefined);
  }
  store.save(chain, NAMES);
  assertEquals(store.load(NAMES)!.leaf.serialNumber, new X509Certificate(chain).serialNumber);
});

Deno.test("acme store: ignores an expired certificate and a damaged state file", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble").certificate("a.example");
  await Deno.writeTextFile(store.chainFile, await chainFor(store, NAMES, -2 * DAY, -DAY));
  assertEquals(store.load(NAMES), undefined);
  for (const name of ["order.json", "retry.json", "renewal.json"]) {
    await Deno.writeTextFile(join(store.folder, name), '{"url": ');
  }
  assertEquals([store.order(), store.failure(), store.plan()], [undefined, undefined, undefined]);
  for (const name of ["order.json", "retry.json", "renewal.json"]) {
    await Deno.writeTextFile(join(store.folder, name), '{"url": 7, "failures": "many", "at": "soon"}');
  }
  assertEquals([store.order(), store.failure(), store.plan()], [undefined, undefined, undefined]);
});

Deno.test("acme store: does not replace an account key that cannot be read", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble");
  await Deno.mkdir(store.folder);
  await Deno.writeTextFile(join(store.folder, "account.key"), "damaged");
  const error = await store.accountKey().then(() => undefined, (error: Error) => error);
  assertMatch(error!.message, /^Cannot use the key .*account\.key: .*; move it away to create a new one$/);
  assertEquals(await Deno.readTextFile(join(store.folder, "account.key")), "damaged");
});

Deno.test("acme store: allows one lock per certificate, and stops waiting when the signal aborts", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble");
  const held = await store.certificate("a.example").tryLock();
  assert(held !== undefined);
  assertEquals(await store.certificate("a.example").tryLock(), undefined);
  const other = await store.certificate("b.example").tryLock();
  assert(other !== undefined);
  const waiting = store.certificate("a.example").lock(new AbortController().signal);
  held![Symbol.dispose]();
  (await waiting)[Symbol.dispose]();
  other![Symbol.dispose]();
});

Deno.test("acme store: converts certificate names to folder names", () => {
  assertEquals(folderName("a.example"), "a.example");
  assertEquals(folderName("2001:db8::1"), "2001_db8__1");
  assertEquals(folderName("acme.example.com:9000/dir"), "acme.example.com_9000_dir");
});
