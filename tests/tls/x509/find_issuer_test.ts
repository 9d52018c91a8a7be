import { assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import { isIssuedBy, isSelfIssued, issuerUrl, publicIssuer } from "../../../lib/tls/x509/find_issuer.ts";
import { hasOpenssl, type Issued, openPki } from "../../support/openssl.ts";

const ignore = !await hasOpenssl();
const read = ({ cert }: Issued) => new X509Certificate(Deno.readTextFileSync(cert));

Deno.test("requires a matching key identifier and signature for an issuer, not only the name", { ignore }, async () => {
  await using pki = await openPki();
  const real = await pki.authority("real", { subject: "same name" });
  const fake = await pki.authority("fake", { subject: "same name" });
  const leaf = read(await pki.leaf("leaf", { issuer: real }));
  assertEquals(isIssuedBy(leaf, read(real)), true);
  assertEquals(isIssuedBy(leaf, read(fake)), false);
  const plain = read(await pki.leaf("plain", { issuer: real, extensions: ["authorityKeyIdentifier=none"] }));
  assertEquals([isIssuedBy(plain, read(real)), isIssuedBy(plain, read(fake))], [true, false]);
  assertEquals([isSelfIssued(read(real)), isSelfIssued(leaf)], [true, false]);
});

Deno.test("matches issuers by names and key identifiers if Deno cannot verify the signature", { ignore }, async () => {
  await using pki = await openPki();
  const root = await pki.authority("root", { key: "P-521" });
  const leaf = await pki.leaf("leaf", { issuer: root });
  assertEquals(isIssuedBy(read(leaf), read(root)), true);
  assertEquals(isSelfIssued(read(root)), true);
  const other = await pki.authority("other", { key: "P-521", subject: "root" });
  assertEquals(isIssuedBy(read(leaf), read(other)), false, "the key identifiers differ");
});

Deno.test("recognises every root that Deno ships as its own issuer", () => {
  assertEquals(rootCertificates.length > 100, true);
  for (const pem of rootCertificates.slice(0, 30)) {
    const root = new X509Certificate(pem);
    assertEquals(publicIssuer(root)?.subject, root.subject);
  }
});

Deno.test("does not mistake a private authority with the name of a public root for that root", { ignore }, async () => {
  await using pki = await openPki();
  const fake = await pki.authority("fake", { subject: "ISRG Root X1" });
  assertEquals(publicIssuer(read(await pki.leaf("leaf", { issuer: fake }))), undefined);
});

Deno.test(
  "reads the issuer's URL from the certificate",
  { ignore },
  async () => {
    await using pki = await openPki();
    const url = async (text: string) =>
      issuerUrl(read(await pki.leaf("leaf", { extensions: [`authorityInfoAccess=${text}`] })));
    assertEquals(
      await url("OCSP;URI:http://ocsp.test/,caIssuers;URI:http://ca.test/i.der"),
      "http://ca.test/i.der",
    );
    assertEquals(await url("OCSP;URI:http://ocsp.test/"), undefined);
    assertEquals(await url("caIssuers;URI:file:///etc/passwd"), undefined);
    assertEquals(issuerUrl(read(await pki.leaf("plain"))), undefined);
  },
);
