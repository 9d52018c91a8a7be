import { assert, assertEquals, assertNotEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { CertificateFiles } from "../../lib/config/service_mode.ts";
import { StartError } from "../../lib/errors.ts";
import { loadCertificateFiles } from "../../lib/tls/certificate_files.ts";
import { hasOpenssl, type Issued, openPki, type Pki } from "../support/openssl.ts";

const ignore = !await hasOpenssl();
const codes = (files: CertificateFiles) =>
  loadCertificateFiles(files).findings.map(({ level, code }) => `${level} ${code}`);
const read = (...files: string[]) => files.map((file) => Deno.readTextFileSync(file)).join("");

function problems(files: CertificateFiles, now?: Date): string[] {
  const error: StartError = assertThrows(() => loadCertificateFiles(files, now), StartError);
  return error.message.split("\n");
}

async function chain(pki: Pki): Promise<{ root: Issued; middle: Issued; leaf: Issued }> {
  const root = await pki.authority("root");
  const middle = await pki.authority("middle", { issuer: root });
  return { root, middle, leaf: await pki.leaf("leaf", { issuer: middle }) };
}

Deno.test("loads certificate, chain and key for Deno.serve, from one file or two", { ignore }, async () => {
  await using pki = await openPki();
  const { root, middle, leaf } = await chain(pki);
  const full = await pki.bundle("full.pem", leaf.cert, middle.cert, root.cert);
  const rest = await pki.bundle("rest.pem", middle.cert, root.cert);
  const one = loadCertificateFiles({ cert: full, key: leaf.key });
  const two = loadCertificateFiles({ cert: leaf.cert, key: leaf.key, chain: rest });
  assertEquals(one.cert, read(leaf.cert, middle.cert, root.cert));
  assertEquals([two.cert, two.key], [one.cert, one.key]);
  assertEquals(one.names, ["localhost", "127.0.0.1"]);
  assertEquals(one.notAfter, new Date(one.leaf.validTo));
  assertEquals([one.file, two.file], [full, leaf.cert]);
  assertEquals(one.findings.map(({ code }) => code), ["chain-root-included"]);

  const options = { hostname: "127.0.0.1", port: 0, cert: two.cert, key: two.key, onListen() {} };
  await using server = Deno.serve(options, () => new Response("ok"));
  using client = Deno.createHttpClient({ caCerts: [read(root.cert)] });
  assertEquals(await (await fetch(`https://localhost:${server.addr.port}/`, { client })).text(), "ok");
});

Deno.test("sorts a chain that is in the wrong order, with a note", { ignore }, async () => {
  await using pki = await openPki();
  const { root, middle, leaf } = await chain(pki);
  const other = await pki.authority("other");
  const cert = await pki.bundle("mixed.pem", root.cert, other.cert, middle.cert, leaf.cert, middle.cert);
  const material = loadCertificateFiles({ cert, key: leaf.key });
  assertEquals(material.cert, read(leaf.cert, middle.cert, root.cert));
  assertEquals(codes({ cert, key: leaf.key }), [
    "note chain-order",
    "warning chain-unrelated",
    "note chain-repeated",
    "note chain-root-included",
  ]);
});

Deno.test("omits an expired cross-certificate, and clients accept the served chain", { ignore }, async () => {
  await using pki = await openPki();
  const { root, middle, leaf } = await chain(pki);
  const expired = { from: -100, to: -10 };
  const old = await pki.authority("old", expired);
  const cross = await pki.crossSign("cross", root, { issuer: old, ...expired });
  const middleOld = await pki.crossSign("middle-old", middle, { issuer: root, ...expired });
  for (
    const [name, ...rest] of [["cross", middle.cert, cross.cert], ["renewed", middleOld.cert, middle.cert]] as const
  ) {
    const cert = await pki.bundle(`${name}-chain.pem`, leaf.cert, ...rest);
    const material = loadCertificateFiles({ cert, key: leaf.key });
    assertEquals(material.cert, read(leaf.cert, middle.cert));
    assertEquals(codes({ cert, key: leaf.key }), ["warning chain-incomplete", "warning chain-unneeded"]);
    const served = await pki.write("served.pem", material.cert);
    await pki.openssl("verify", "-CAfile", root.cert, "-untrusted", served, leaf.cert);
  }
  const cert = await pki.bundle("gone.pem", leaf.cert, middleOld.cert);
  assertStringIncludes(problems({ cert, key: leaf.key })[0]!, 'The chain\'s certificate "middle" expired on ');
});

Deno.test("warns about a missing intermediate, a self-signed or soon expiring certificate, and a readable key", {
  ignore,
}, async () => {
  await using pki = await openPki();
  const { leaf } = await chain(pki);
  assertEquals(codes({ cert: leaf.cert, key: leaf.key }), ["warning chain-incomplete"]);
  const alone = await pki.leaf("alone", { to: 29 });
  assertEquals(codes({ cert: alone.cert, key: alone.key }), [
    "warning certificate-expires-soon",
    "warning certificate-self-signed",
  ]);
  const open = await pki.leaf("open");
  await Deno.chmod(open.key, 0o644);
  const [, last] = loadCertificateFiles({ cert: open.cert, key: open.key }).findings;
  assertEquals([last?.code, last?.remedy], ["key-readable", `Restrict it: chmod o-r ${open.key}.`]);
});

Deno.test("rejects an expired certificate, and one that is not valid yet", { ignore }, async () => {
  await using pki = await openPki();
  const { cert, key } = await pki.leaf("leaf", { from: -9, to: -2 });
  const [line, ...more] = problems({ cert, key });
  assertEquals(more, []);
  assertStringIncludes(line!, `Cannot use the certificate ${cert}: The certificate "leaf" expired on `);
  assertEquals(loadCertificateFiles({ cert, key }, new Date(Date.now() - 3 * 86_400_000)).file, cert);
  assertStringIncludes(problems({ cert, key }, new Date(0))[0]!, "is not valid before");
});

Deno.test("rejects a key that does not match the certificate, for every key type", { ignore }, async () => {
  await using pki = await openPki();
  const kinds = ["rsa2048", "P-256", "P-384", "P-521", "ed25519"] as const;
  const pairs = await Promise.all(kinds.map((key) => pki.leaf(key, { key })));
  const other = await pki.leaf("other", { key: "rsa2048" });
  const second = await pki.leaf("second", { key: "P-256" });
  for (const { cert, key } of pairs) {
    assertEquals(loadCertificateFiles({ cert, key }).file, cert);
    for (const wrong of [...pairs, other, second].filter((pair) => pair.key !== key)) {
      const [line] = problems({ cert, key: wrong.key });
      assertStringIncludes(line!, `Cannot use the key ${wrong.key}: it does not belong to the certificate ${cert}`);
    }
  }
});

Deno.test("decrypts a key with the first line of the passphrase file, or with the variable", { ignore }, async () => {
  await using pki = await openPki();
  const { cert, key: plain } = await pki.leaf("leaf");
  const key = pki.path("encrypted.key");
  await pki.openssl("pkcs8", "-topk8", "-in", plain, "-passout", "pass:open sesame", "-out", key);
  const pass = await pki.write("pass.txt", "\ufeffopen sesame\r\nnot this\r\n");
  const expected = loadCertificateFiles({ cert, key: plain }).key;
  assertEquals(loadCertificateFiles({ cert, key, keyPassphraseFile: pass }).key, expected);
  assertEquals(loadCertificateFiles({ cert, key, keyPassphrase: "open sesame" }).key, expected);
  assertNotEquals(read(key), expected);
  assertStringIncludes(problems({ cert, key })[0]!, "no passphrase was given");
  assertStringIncludes(problems({ cert, key, keyPassphrase: "not this" })[0]!, "the passphrase is wrong");
  const empty = await pki.write("empty.txt", "\nopen sesame\n");
  assertEquals(problems({ cert, key, keyPassphraseFile: empty }), [
    `Cannot use the passphrase in ${empty}: its first line is empty`,
  ]);
  const unused = loadCertificateFiles({ cert, key: plain, keyPassphrase: "open sesame" }).findings.map(({ code }) =>
    code
  );
  assert(unused.includes("passphrase-unused"));
});

Deno.test("reports every problem with its file", { ignore }, async () => {
  await using pki = await openPki();
  const { cert, key } = await pki.leaf("leaf");
  const gone = pki.path("gone.pem");
  assertEquals(problems({ cert: gone, key: pki.folder, chain: gone, keyPassphraseFile: gone }), [
    `Cannot read the certificate ${gone}: there is no such file`,
    `Cannot read the chain ${gone}: there is no such file`,
    `Cannot read the key's passphrase ${gone}: there is no such file`,
    `Cannot read the key ${pki.folder}: it is a folder; a file is required`,
  ]);
  const swapped = problems({ cert: key, key: cert });
  assertStringIncludes(swapped[0]!, `Cannot use the certificate ${key}: it contains a private key but no certificate`);
  assertStringIncludes(swapped[1]!, `Cannot use the key ${cert}: it contains a certificate, not a private key`);
  await Deno.symlink("nowhere.pem", pki.path("link.pem"));
  assertStringIncludes(problems({ cert: pki.path("link.pem"), key })[0]!, "a symbolic link to nowhere.pem");
  const expired = await pki.leaf("expired", { from: -9, to: -2, extensions: ["extendedKeyUsage=clientAuth"] });
  const lines = problems({ cert: expired.cert, key });
  assertEquals(lines.length, 1, "if the key does not match, other problems of the certificate are not reported");
  assertEquals(problems({ cert: expired.cert, key: expired.key }).length, 2);
});

Deno.test("names the content of a file without a certificate", { ignore }, async () => {
  await using pki = await openPki();
  const { cert, key } = await pki.leaf("leaf");
  const refuse = (file: string) => problems({ cert: file, key })[0]!;
  assertStringIncludes(refuse(pki.path("leaf.csr")), "it is a signing request");
  await pki.openssl("x509", "-in", cert, "-trustout", "-addtrust", "serverAuth", "-out", pki.path("trusted.pem"));
  assertStringIncludes(refuse(pki.path("trusted.pem")), "openssl x509 -in ");
  await pki.openssl("crl2pkcs7", "-nocrl", "-certfile", cert, "-out", pki.path("bundle.p7b"));
  assertStringIncludes(refuse(pki.path("bundle.p7b")), "-print_certs -out ");
  const damaged = read(cert).replace(/\n.{64}\n/, "\n" + "A".repeat(64) + "\n");
  assertStringIncludes(refuse(await pki.write("damaged.pem", damaged)), "the certificate of line 1 is damaged");
  await pki.openssl("pkey", "-in", key, "-pubout", "-out", pki.path("public.pem"));
  assertStringIncludes(refuse(pki.path("public.pem")), "it is a public key");
});

Deno.test("explains why a file cannot be read without permission", { ignore }, async () => {
  await using pki = await openPki();
  const { cert, key } = await pki.leaf("leaf");
  const file = await pki.write(
    "load.ts",
    `import { loadCertificateFiles } from "${new URL("../../lib/tls/certificate_files.ts", import.meta.url)}";
    try { console.log(loadCertificateFiles(${
      JSON.stringify({ cert, key })
    }).findings[0].code); } catch (error) { console.log(error.message); }`,
  );
  const run = async (permission: string) => {
    const command = [Deno.execPath(), "run", "--no-prompt", permission, file];
    // Root can read every file, unless it drops its capabilities.
    if (Deno.uid() === 0) command.unshift("setpriv", "--bounding-set=-dac_override,-dac_read_search");
    const { stdout, stderr } = await new Deno.Command(command[0]!, { args: command.slice(1) }).output();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  };
  // Without --allow-sys, the list of public roots cannot be read. The result must be the same.
  assertEquals(await run(`--allow-read=${pki.folder}`), "certificate-self-signed\n");
  assertStringIncludes(
    await run(`--allow-read=${cert}`),
    `Cannot read the key ${key}: Deno was started without --allow-read=${key}`,
  );
  await Deno.chmod(key, 0);
  assertStringIncludes(
    await run(`--allow-read=${pki.folder}`),
    `Cannot read the key ${key}: this user may not read it`,
  );
});
