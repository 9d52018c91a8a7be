import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import "reflect-metadata";
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from "@peculiar/x509";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { join } from "node:path";
import { StartError } from "../../../lib/errors.ts";
import { type CertificateAndKey, createAuthority, issueCertificate } from "../../../lib/tls/issue_certificate.ts";
import { AcmeStore, type CertificateStore, folderName } from "../../../lib/tls/acme/acme_store.ts";
import { temporaryFolder } from "./source.ts";

const NAMES = ["a.example"];
const NOW = new Date();

/** Issues a chain for the next key of the store. */
async function chainFor(store: CertificateStore, names = NAMES, now = NOW): Promise<string> {
  await store.nextKey();
  const key = await Deno.readTextFile(join(store.folder, "next.key"));
  return (await leafWith(key, names, now)).cert;
}

async function leafWith(key: string, names: readonly string[], now: Date): Promise<CertificateAndKey> {
  const authority = await createAuthority(now);
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
  const pkcs8 = new Uint8Array(createPrivateKey(key).export({ type: "pkcs8", format: "der" }));
  const own = await crypto.subtle.importKey("pkcs8", pkcs8, algorithm, true, ["sign"]);
  const { d: _d, key_ops: _ops, ...open } = await crypto.subtle.exportKey("jwk", own);
  const issuer = createPrivateKey(authority.key).export({ type: "pkcs8", format: "der" });
  const leaf = await X509CertificateGenerator.create({
    serialNumber: crypto.getRandomValues(new Uint8Array(8)).toHex(),
    subject: "",
    issuer: "CN=authority",
    notBefore: new Date(now.getTime() - 60_000),
    notAfter: new Date(now.getTime() + 3_600_000),
    publicKey: await crypto.subtle.importKey("jwk", open, algorithm, true, ["verify"]),
    signingKey: await crypto.subtle.importKey("pkcs8", new Uint8Array(issuer), algorithm, false, ["sign"]),
    signingAlgorithm: algorithm,
    extensions: [new SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns" as const, value })))],
  });
  return { cert: leaf.toString("pem") + "\n", key };
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

Deno.test("acme store: rejects a chain for another key or other names, and keeps the old one", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble").certificate("a.example");
  store.save(await chainFor(store), NAMES);
  const before = await Deno.readTextFile(store.chainFile);
  await store.nextKey();
  const foreign = (await issueCertificate(await createAuthority(NOW), NAMES, NOW)).cert;
  assertMatch(assertThrows(() => store.save(foreign, NAMES), StartError).message, /it is for another key$/);
  const other = await chainFor(store, ["b.example"]);
  assertMatch(assertThrows(() => store.save(other, NAMES), StartError).message, /it does not name a\.example$/);
  assertEquals(await Deno.readTextFile(store.chainFile), before);
});

Deno.test("acme store: ignores an expired certificate and a damaged state file", async () => {
  await using folder = await temporaryFolder();
  const store = new AcmeStore(folder.path, "pebble").certificate("a.example");
  store.save(await chainFor(store, NAMES, new Date(NOW.getTime() - 86_400_000)), NAMES);
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
