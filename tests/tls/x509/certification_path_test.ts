import { assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { buildPath, MAX_CHAIN_LENGTH, type PathOptions } from "../../../lib/tls/x509/certification_path.ts";
import { isIssuedBy } from "../../../lib/tls/x509/find_issuer.ts";
import { hasOpenssl, type Issued, openPki, type Pki } from "../../support/openssl.ts";

const ignore = !await hasOpenssl();
const read = ({ cert }: Issued) => new X509Certificate(Deno.readTextFileSync(cert));
const serials = (list: readonly X509Certificate[]) => list.map((one) => one.serialNumber);
const serialsOf = (list: readonly { certificate: X509Certificate }[]) =>
  serials(list.map(({ certificate }) => certificate));

Deno.test("sorts a chain from every order, and separates unrelated certificates", { ignore }, async () => {
  await using pki = await openPki();
  const root = await pki.authority("root");
  const upper = await pki.authority("upper", { issuer: root });
  const lower = await pki.authority("lower", { issuer: upper });
  const [r, u, l] = [root, upper, lower].map(read) as [X509Certificate, X509Certificate, X509Certificate];
  const leaf = read(await pki.leaf("leaf", { issuer: lower }));
  const other = read(await pki.authority("other"));

  for (const order of [[leaf, l, u, r], [r, u, l, leaf], [l, leaf, r, u], [u, r, leaf, l]]) {
    const built = buildPath(order, { leaf });
    assertEquals(serials(built.path), serials([leaf, l, u, r]));
    assertEquals([built.unrelated.length, built.repeated, built.problems], [0, false, []]);
    assertEquals(built.inOrder, order[0] === leaf && order[1] === l);
  }
  const mixed = buildPath([leaf, other, l, leaf]);
  assertEquals(serials(mixed.path), serials([leaf, l]));
  assertEquals(serials(mixed.unrelated), serials([other]));
  assertEquals([mixed.repeated, mixed.inOrder], [true, true]);
  assertEquals(serials(buildPath([leaf, u]).path), serials([leaf]), "a step is missing");
  assertEquals(serials(buildPath([leaf, l, u], { leaf: l }).path), serials([l, u]), "beginning elsewhere");
  assertEquals(buildPath([]).path, []);
});

/**
 * Certificates as at the expiry of DST Root CA X3: an expired old root, a new root that the old root also signed, an
 * intermediate that both roots certified, and an expired certificate of that intermediate.
 */
async function crossSigned(pki: Pki) {
  const expired = { from: -100, to: -10 };
  const oldRoot = await pki.authority("old root", expired);
  const newRoot = await pki.authority("new root");
  const middle = await pki.authority("middle", { issuer: newRoot });
  const cross = { ...await pki.crossSign("cross", newRoot, { issuer: oldRoot, ...expired }) };
  const middleCross = await pki.crossSign("middle cross", middle, { issuer: oldRoot, ...expired });
  const middleOld = await pki.crossSign("middle old", middle, { issuer: newRoot, ...expired });
  const leaf = await pki.leaf("leaf", { issuer: middle });
  return {
    oldRoot: read(oldRoot),
    newRoot: read(newRoot),
    middle: read(middle),
    cross: read(cross),
    middleCross: read(middleCross),
    middleOld: read(middleOld),
    leaf: read(leaf),
  };
}

Deno.test("omits an expired certificate that the valid path does not use, at any position", { ignore }, async () => {
  await using pki = await openPki();
  const { oldRoot, newRoot, middle, cross, middleCross, middleOld, leaf } = await crossSigned(pki);
  const known = { isAnchored: (one: X509Certificate) => isIssuedBy(one, newRoot) };
  const cases: [X509Certificate[], X509Certificate[]][] = [
    [[leaf, middle, cross], [cross]],
    [[leaf, middle, cross, oldRoot], [cross, oldRoot]],
    [[leaf, middleOld, middle], [middleOld]],
    [[leaf, middle, middleOld], [middleOld]],
    [[leaf, middleCross, middle], [middleCross]],
    [[leaf, cross, middleOld, middle, middleCross], [cross, middleOld, middleCross]],
  ];
  for (const [given, unneeded] of cases) {
    for (const options of [{}, known] satisfies PathOptions[]) {
      const built = buildPath(given, options);
      assertEquals(serials(built.path), serials([leaf, middle]));
      assertEquals(built.problems, []);
      assertEquals(serialsOf(built.unneeded), serials(unneeded));
      assertEquals([...built.alternatives, ...built.unrelated], []);
      assertEquals(built.inOrder, true);
    }
  }
  const [only, ...more] = buildPath([leaf, middleOld], known).problems;
  assertEquals([only?.kind, only?.certificate === middleOld, more], ["expired", true, []], "no valid path is left");
  const late = buildPath([leaf, middle, cross], { ...known, now: new Date(Date.now() + 400 * 86_400_000) });
  assertEquals(late.problems.map(({ kind }) => kind), ["expired", "expired"]);
  const rooted = buildPath([leaf, middle, cross, newRoot], known);
  assertEquals(serials(rooted.path), serials([leaf, middle, newRoot]));
});

Deno.test(
  "serves both paths while the cross-certificate is valid, the path to the known root first",
  { ignore },
  async () => {
    await using pki = await openPki();
    const [first, second] = [await pki.authority("first"), await pki.authority("second")];
    const middle = await pki.authority("middle", { issuer: first });
    const other = await pki.crossSign("other", middle, { issuer: second });
    const leaf = read(await pki.leaf("leaf", { issuer: middle }));
    const isAnchored = (one: X509Certificate) => isIssuedBy(one, read(second));
    const built = buildPath([leaf, read(middle), read(other)], { isAnchored });
    assertEquals(serials(built.path), serials([leaf, read(other)]));
    assertEquals(serials(built.alternatives), serials([read(middle)]));
    assertEquals(built.needed, 2);

    // An older root also certified this root. More clients accept the longer path.
    const cross = read(await pki.crossSign("cross", first, { issuer: second }));
    const long = buildPath([leaf, read(middle), cross], { isAnchored: (one) => isIssuedBy(one, read(first)) });
    assertEquals([serials(long.path), long.needed], [serials([leaf, read(middle), cross]), 2]);
  },
);

Deno.test("reports an issuer that is not an authority, and a path that is too long", { ignore }, async () => {
  await using pki = await openPki();
  const root = await pki.authority("root");
  const kinds = (list: X509Certificate[]) => buildPath(list).problems.map(({ kind }) => kind);
  const server = await pki.leaf("server", { issuer: root });
  const forged = await pki.leaf("forged", { issuer: server });
  assertEquals(kinds([forged, server].map(read)), ["not-authority"]);
  const mute = await pki.authority("mute", { issuer: root, extensions: ["keyUsage=critical,cRLSign"] });
  const silent = await pki.leaf("silent", { issuer: mute });
  assertEquals(kinds([silent, mute].map(read)), ["not-authority"]);
  const short = await pki.authority("short", {
    issuer: root,
    extensions: ["basicConstraints=critical,CA:TRUE,pathlen:0"],
  });
  assertEquals(kinds([await pki.leaf("fine", { issuer: short }), short].map(read)), []);
  const below = await pki.authority("below", { issuer: short });
  const deep = await pki.leaf("deep", { issuer: below });
  assertEquals(kinds([deep, below, short].map(read)), ["path-too-long"]);
});

Deno.test(
  "builds a path from many certificates of one authority quickly, and classifies each one",
  { ignore },
  async () => {
    await using pki = await openPki();
    const [a, b] = [await pki.authority("a"), await pki.authority("b")];
    const leaf = read(await pki.leaf("leaf", { issuer: a }));
    const many = [leaf];
    for (let at = 0; at < 6; at++) {
      many.push(
        read(await pki.crossSign(`a${at}`, a, { issuer: b })),
        read(await pki.crossSign(`b${at}`, b, { issuer: a })),
      );
    }
    const built = buildPath(many);
    assertEquals(built.path.length, 3);
    assertEquals(built.path.length + built.alternatives.length, many.length);
    assertEquals(buildPath(Array.from({ length: 50 }, () => leaf)).path.length, 1);
    assertEquals(MAX_CHAIN_LENGTH < 50, true);
  },
);
