/** Certificate chains with one fault each, and some with two. */
import { hasOpenssl, openPki } from "../../support/openssl.ts";
import type { CheckOptions } from "../../../lib/check/check_options.ts";
import { echoService } from "../test_servers.ts";
import { expectCodes, identityOf, makeAuthorities, urlOf } from "../expect.ts";

Deno.test({ name: "reports the faults of a certificate chain", ignore: !await hasOpenssl() }, async (t) => {
  await using pki = await openPki();
  const { root, middle, sound, full, ca } = await makeAuthorities(pki);

  async function expectChain(
    files: readonly string[],
    key: string,
    codes: readonly string[],
    more: Partial<CheckOptions> = {},
  ) {
    const cert = await pki.bundle("served.pem", ...files);
    await using server = echoService({ identity: await identityOf(cert, key) });
    await expectCodes({ url: urlOf("wss", server, "/", "localhost"), ca, ...more }, codes, codes.length === 0 ? 0 : 1);
  }
  const chain = [sound.cert, middle.cert];
  await t.step("a correct chain", () => expectChain(chain, sound.key, []));
  await t.step("a private root without --ca", () => expectChain(chain, sound.key, ["chain-incomplete"], { ca: [] }));
  await t.step("a missing intermediate", () => expectChain([sound.cert], sound.key, ["chain-incomplete"]));
  await t.step("certificates in the wrong order", async () => {
    const low = await pki.authority("low", { issuer: middle });
    const leaf = await pki.leaf("under-low", { issuer: low });
    await expectChain([leaf.cert, middle.cert, low.cert], leaf.key, ["chain-order"]);
  });
  await t.step("an unrelated certificate", async () => {
    const stranger = await pki.authority("stranger");
    await expectChain([...chain, stranger.cert], sound.key, ["chain-unrelated"]);
  });
  await t.step("the root is included: a note", () => expectChain([...chain, root.cert], sound.key, []));
  await t.step("expired", async () => {
    const leaf = await pki.leaf("expired", { issuer: middle, from: -20, to: -10 });
    await expectChain([leaf.cert, middle.cert], leaf.key, ["certificate-expired"]);
  });
  await t.step("not yet valid", async () => {
    const leaf = await pki.leaf("early", { issuer: middle, from: 10, to: 100 });
    await expectChain([leaf.cert, middle.cert], leaf.key, ["certificate-not-yet-valid"]);
  });
  await t.step("expiring soon", async () => {
    const leaf = await pki.leaf("soon", { issuer: middle, to: 5 });
    await expectChain([leaf.cert, middle.cert], leaf.key, ["certificate-expires-soon"]);
  });
  await t.step("a wrong name", async () => {
    const leaf = await pki.leaf("other", { issuer: middle, names: "DNS:other.example" });
    await expectChain([leaf.cert, middle.cert], leaf.key, ["name-mismatch"]);
    await expectChain([leaf.cert, middle.cert], leaf.key, [], { sni: "other.example" });
  });
  await t.step("a URL with an IP address, a certificate for a domain", async () => {
    const leaf = await pki.leaf("domain", { issuer: middle, names: "DNS:localhost" });
    const cert = await pki.bundle("domain-chain.pem", leaf.cert, middle.cert);
    await using server = echoService({ identity: await identityOf(cert, leaf.key) });
    await expectCodes({ url: urlOf("wss", server), ca }, ["ip-instead-of-domain"], 1);
  });
  await t.step("self-signed", async () => {
    const leaf = await pki.leaf("alone");
    await expectChain([leaf.cert], leaf.key, ["certificate-self-signed"]);
    await expectChain([leaf.cert], leaf.key, [], { ca: [await Deno.readTextFile(leaf.cert)] });
  });
  await t.step("two faults: expired, for another name", async () => {
    const leaf = await pki.leaf("both", { issuer: middle, from: -20, to: -10, names: "DNS:other.example" });
    await expectChain([leaf.cert, middle.cert], leaf.key, ["certificate-expired", "name-mismatch"]);
  });
  await t.step("two faults: expired, without its intermediate", async () => {
    const leaf = await pki.leaf("bare", { issuer: middle, from: -20, to: -10 });
    await expectChain([leaf.cert], leaf.key, ["certificate-expired", "chain-incomplete"]);
  });
  await t.step("a URL with an IP address that is in the certificate", async () => {
    await using server = echoService({ identity: await identityOf(full, sound.key) });
    await expectCodes({ url: urlOf("wss", server), ca }, []);
  });
  await t.step("signed with SHA-1", async () => {
    const leaf = await pki.leaf("sha1", { issuer: middle, digest: "sha1" });
    await expectChain([leaf.cert, middle.cert], leaf.key, ["signature-sha1"]);
  });
  await t.step("no subjectAltName", async () => {
    const leaf = await pki.leaf("localhost", { issuer: middle, names: "" });
    await expectChain([leaf.cert, middle.cert], leaf.key, ["name-missing"]);
  });
  await t.step("an issuer that is not an authority", async () => {
    const leaf = await pki.leaf("forged", { issuer: sound });
    await expectChain([leaf.cert, ...chain], leaf.key, ["issuer-not-authority"]);
  });
  await t.step("a ws URL with a TLS port", async () => {
    await using server = echoService({ identity: await identityOf(full, sound.key) });
    await expectCodes({ url: urlOf("ws", server, "/", "localhost") }, ["protocol-tls"], 1);
  });
  await t.step("for WeChat: localhost and a private authority are errors", () => {
    return expectChain(chain, sound.key, ["wechat-domain", "wechat-authority"], { for: "wechat" });
  });
  await t.step("for a browser: no fault", () => expectChain(chain, sound.key, [], { for: "browser" }));
});
