import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import type { Finding } from "../../../lib/diagnostic_finding.ts";
import { inspectChain, type InspectOptions } from "../../../lib/tls/x509/inspect_chain.ts";
import { hasOpenssl, type Issued, type IssueOptions, openPki, type Pki } from "../../support/openssl.ts";

const ignore = !await hasOpenssl();
const read = ({ cert }: Issued) => new X509Certificate(Deno.readTextFileSync(cert));

/** Creates a valid root, intermediate and leaf. Each test changes one property. */
async function sound(pki: Pki, leaf: IssueOptions = {}, middle: IssueOptions = {}) {
  const root = await pki.authority("root");
  const intermediate = await pki.authority("middle", { issuer: root, ...middle });
  const server = await pki.leaf("leaf", { issuer: intermediate, ...leaf });
  return { root: read(root), middle: read(intermediate), leaf: read(server) };
}

/** Codes and levels, in order: `warning chain-order`. */
const codes = (findings: readonly Finding[]) => findings.map(({ level, code }) => `${level} ${code}`);

function only(findings: readonly Finding[], expected: string): Finding {
  assertEquals(codes(findings), [expected]);
  const [found] = findings;
  assert(found!.fact.endsWith(".") && (found!.level === "note" || found!.remedy!.endsWith(".")), found!.fact);
  return found!;
}

Deno.test("reports nothing for a valid chain under a known root", { ignore }, async () => {
  await using pki = await openPki();
  const { root, middle, leaf } = await sound(pki);
  assertEquals(inspectChain([leaf, middle], { authorities: [root], host: "localhost" }), []);
  assertEquals(inspectChain([leaf, middle], { trusted: true, host: "127.0.0.1" }), []);
  const last = only(inspectChain([leaf, middle, root], { authorities: [root] }), "note chain-root-included");
  assertStringIncludes(last.fact, '"root"');
});

Deno.test("reports expired, not yet valid, soon expiring and too long valid certificates", { ignore }, async () => {
  await using pki = await openPki();
  const { root, middle, leaf } = await sound(pki, { to: 100 });
  const at = (days: number) =>
    inspectChain([leaf, middle], { authorities: [root], now: new Date(Date.now() + days * 86_400_000) });
  assertEquals(at(69), []);
  const soon = only(at(71.5), "warning certificate-expires-soon");
  assertStringIncludes(soon.fact, `on ${new Date(leaf.validTo).toISOString().slice(0, 10)}, in 28 days.`);
  assertStringIncludes(only(at(99.5), "warning certificate-expires-soon").fact, "in 0 days");
  assertStringIncludes(only(at(101), "error certificate-expired").fact, 'The certificate "leaf" expired on');
  const early = inspectChain([leaf, middle], { authorities: [root], now: new Date(Date.now() - 2 * 86_400_000) });
  assertEquals(codes(early), ["error certificate-not-yet-valid", "error certificate-not-yet-valid"]);

  const long = await sound(pki, { to: 825 });
  const found = inspectChain([long.leaf, long.middle], { trusted: true });
  assertStringIncludes(only(found, "warning validity-too-long").fact, "valid for 826 days");
});

Deno.test("reports an expired intermediate", { ignore }, async () => {
  await using pki = await openPki();
  const { root, middle, leaf } = await sound(pki, {}, { from: -10, to: -1 });
  const found = only(inspectChain([leaf, middle], { authorities: [root] }), "error certificate-expired");
  assertStringIncludes(found.fact, 'The chain\'s certificate "middle" expired');
});

Deno.test("reports a certificate that no valid path uses as a warning with its reason", { ignore }, async () => {
  await using pki = await openPki();
  const expired = { from: -100, to: -10 };
  const old = await pki.authority("old", expired);
  const root = await pki.authority("root");
  const middle = await pki.authority("middle", { issuer: root });
  const cross = read(await pki.crossSign("cross", root, { issuer: old, ...expired }));
  const leaf = read(await pki.leaf("leaf", { issuer: middle }));
  for (const options of [{ authorities: [read(root)] }, { trusted: true }]) {
    const found = only(inspectChain([leaf, read(middle), cross, read(old)], options), "warning chain-unneeded");
    assertStringIncludes(found.fact, 'certificate "root", issued by "old" (expired)');
  }
  const soon = read(await pki.crossSign("soon", root, { issuer: old, to: 5 }));
  assertEquals(inspectChain([leaf, read(middle), soon], { authorities: [read(root)] }), [], "no client needs it");
});

Deno.test(
  "names an issuer that is not an authority, and an authority with too many intermediates below it",
  { ignore },
  async () => {
    await using pki = await openPki();
    const root = await pki.authority("root");
    const server = await pki.leaf("server", { issuer: root });
    const forged = read(await pki.leaf("forged", { issuer: server }));
    const options = { authorities: [read(root)] };
    const found = only(inspectChain([forged, read(server)], options), "error issuer-not-authority");
    assertStringIncludes(found.fact, '"forged" was issued by "server"');
    const short = await pki.authority("short", { issuer: root, extensions: ["basicConstraints=CA:TRUE,pathlen:0"] });
    const below = await pki.authority("below", { issuer: short });
    const deep = read(await pki.leaf("deep", { issuer: below }));
    only(inspectChain([deep, read(below), read(short)], options), "error path-too-long");
  },
);

Deno.test("reports a self-signed certificate", { ignore }, async () => {
  await using pki = await openPki();
  const leaf = read(await pki.leaf("alone"));
  only(inspectChain([leaf]), "warning certificate-self-signed");
  only(inspectChain([leaf], { trusted: false }), "warning certificate-self-signed");
  assertEquals(inspectChain([leaf], { authorities: [leaf] }), []);
});

Deno.test("reports a missing intermediate with its URL", { ignore }, async () => {
  await using pki = await openPki();
  const extensions = ["authorityInfoAccess=caIssuers;URI:http://ca.test/middle.der"];
  const { root, middle, leaf } = await sound(pki, { extensions });
  const found = only(inspectChain([leaf], { authorities: [root] }), "warning chain-incomplete");
  assertStringIncludes(found.fact, 'ends at "leaf", whose issuer "middle"');
  assertStringIncludes(found.remedy!, "http://ca.test/middle.der");
  only(inspectChain([leaf, middle]), "warning chain-incomplete");
  only(
    inspectChain([leaf, root], { authorities: [root] }).filter(({ code }) => code !== "chain-unrelated"),
    "warning chain-incomplete",
  );
  assertEquals(inspectChain([leaf], { trusted: true }), []);
});

Deno.test("accepts a chain without its public root as complete", () => {
  const root = new X509Certificate(rootCertificates[0]!);
  const found = codes(inspectChain([root], { now: new Date(root.validFrom) }));
  assert(!found.some((code) => /chain-incomplete|self-signed/.test(code)), found.join());
});

Deno.test("reports a wrong order, unrelated and repeated certificates with a remedy", { ignore }, async () => {
  await using pki = await openPki();
  const { root, middle, leaf } = await sound(pki);
  const other = read(await pki.authority("other"));
  const options: InspectOptions = { authorities: [root], leaf };
  const order = only(inspectChain([middle, leaf], options), "warning chain-order");
  assertStringIncludes(order.remedy!, '"leaf", "middle"');
  assertStringIncludes(only(inspectChain([leaf, middle, other], options), "warning chain-unrelated").fact, '"other"');
  only(inspectChain([leaf, middle, leaf], options), "note chain-repeated");
  const many = Array.from({ length: 40 }, () => middle);
  assertEquals(codes(inspectChain([leaf, ...many], options)), ["warning chain-unrelated", "note chain-repeated"]);
});

Deno.test("reports a chain that clients do not trust although no rule finds a fault", { ignore }, async () => {
  await using pki = await openPki();
  const { root, middle, leaf } = await sound(pki);
  const found = inspectChain([leaf, middle, root], { trusted: false });
  assertEquals(codes(found), ["error issuer-untrusted", "note chain-root-included"]);
});

Deno.test("reports weak signatures of leaf and intermediate, but not of the root", { ignore }, async () => {
  await using pki = await openPki();
  const weak = await sound(pki, { digest: "sha1" }, { key: "rsa2048" });
  assertStringIncludes(
    only(inspectChain([weak.leaf, weak.middle], { trusted: true }), "warning signature-sha1").fact,
    'The certificate "leaf" is signed with SHA-1',
  );
  const middle = await sound(pki, {}, { digest: "sha1" });
  only(inspectChain([middle.leaf, middle.middle], { trusted: true }), "warning signature-sha1");
  const root = await pki.authority("old root", { digest: "sha1" });
  const leaf = read(await pki.leaf("leaf", { issuer: root }));
  only(inspectChain([leaf, read(root)], { trusted: true }), "note chain-root-included");
  const md5 = read(await pki.leaf("md5", { issuer: await pki.authority("rsa", { key: "rsa2048" }), digest: "md5" }));
  only(inspectChain([md5], { trusted: true }), "warning signature-md5");
});

Deno.test("reports keys that are too short or that browsers do not accept", { ignore }, async () => {
  await using pki = await openPki();
  const leaf = async (key: IssueOptions["key"]) => {
    return inspectChain([read(await pki.leaf("leaf", { key }))], { trusted: true });
  };
  assertStringIncludes(only(await leaf("rsa1024"), "error key-too-short").fact, "RSA 1024");
  assertStringIncludes(only(await leaf("P-224"), "error key-too-short").fact, "EC P-224");
  for (const kind of ["P-521", "secp256k1", "ed25519", "ed448", "rsa-pss", "explicit"] as const) {
    only(await leaf(kind), "warning key-unusual");
  }
  for (const kind of ["rsa2048", "rsa3072", "P-256", "P-384"] as const) assertEquals(await leaf(kind), []);
  const middle = await sound(pki, {}, { key: "rsa1024" });
  only(inspectChain([middle.leaf, middle.middle], { trusted: true }), "warning key-too-short");
});

Deno.test("reports a certificate that is not for servers, and one with must-staple", { ignore }, async () => {
  await using pki = await openPki();
  const client = read(await pki.leaf("client", { extensions: ["extendedKeyUsage=clientAuth,emailProtection"] }));
  only(inspectChain([client], { trusted: true }), "error usage-not-server");
  const both = read(await pki.leaf("both", { extensions: ["extendedKeyUsage=clientAuth,serverAuth"] }));
  assertEquals(inspectChain([both], { trusted: true }), []);
  const staple = read(await pki.leaf("staple", { extensions: ["tlsfeature=status_request"] }));
  only(inspectChain([staple], { trusted: true }), "warning must-staple");
});

Deno.test(
  "reports missing names, other names, and an address if the certificate is for domains",
  { ignore },
  async () => {
    await using pki = await openPki();
    const leaf = read(await pki.leaf("leaf", { names: "DNS:example.com,DNS:*.example.com" }));
    const ask = (host: string) => inspectChain([leaf], { trusted: true, host });
    assertEquals(ask("www.example.com"), []);
    assertStringIncludes(
      only(ask("example.org"), "error name-mismatch").fact,
      "for example.com, *.example.com, not for example.org",
    );
    const address = only(ask("192.0.2.1"), "error ip-instead-of-domain");
    assertStringIncludes(address.remedy!, "Connect by name: example.com.");
    only(ask("[2001:db8::1]"), "error ip-instead-of-domain");
    const numeric = read(await pki.leaf("numeric", { names: "IP:192.0.2.9" }));
    only(inspectChain([numeric], { trusted: true, host: "192.0.2.1" }), "error name-mismatch");
    const nameless = read(await pki.leaf("nameless.test", { names: "" }));
    only(inspectChain([nameless], { trusted: true, host: "nameless.test" }), "warning name-missing");
  },
);

Deno.test("reports several faults at once", { ignore }, async () => {
  await using pki = await openPki();
  const { middle, leaf, root } = await sound(pki, { from: -10, to: -1, key: "rsa1024", names: "" }, { digest: "sha1" });
  assertEquals(codes(inspectChain([root, leaf, middle], { leaf })), [
    "error certificate-expired",
    "warning chain-order",
    "note chain-root-included",
    "error key-too-short",
    "warning signature-sha1",
    "warning name-missing",
  ]);
});

Deno.test("reports an empty chain, and escapes control characters in names", { ignore }, async () => {
  assertEquals(codes(inspectChain([])), ["error certificate-missing"]);
  await using pki = await openPki();
  const leaf = read(await pki.leaf("leaf", { subject: "a\u001b[31mred" }));
  const found = only(inspectChain([leaf]), "warning certificate-self-signed");
  assertStringIncludes(found.fact, "a\\u001b[31mred");
});

Deno.test("inspects a certificate with any one damaged byte without throwing", { ignore }, async () => {
  await using pki = await openPki();
  const { leaf, middle } = await sound(pki);
  let read = 0;
  for (let at = 0; at < leaf.raw.length; at++) {
    const raw = Buffer.from(leaf.raw);
    raw[at] = raw[at]! ^ 0xff;
    let odd: X509Certificate;
    try {
      odd = new X509Certificate(raw);
    } catch {
      continue;
    }
    read++;
    inspectChain([odd, middle], { host: "localhost" });
    inspectChain([leaf, odd], { host: "localhost" });
  }
  assert(read > 100, `only ${read} damaged certificates could be parsed`);
});
