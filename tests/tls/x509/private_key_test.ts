import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { StartError } from "../../../lib/errors.ts";
import { readPrivateKey } from "../../../lib/tls/x509/private_key.ts";
import { hasOpenssl, type KeyType, openPki, type Pki } from "../../support/openssl.ts";

const ignore = !await hasOpenssl();

function refusal(file: string, passphrase?: string): string {
  const error: StartError = assertThrows(
    () => readPrivateKey(Deno.readFileSync(file), "my.key", passphrase),
    StartError,
  );
  assertStringIncludes(error.message, "Cannot use the key my.key: ");
  return error.message;
}

/** Returns the public key as openssl prints it, to compare two key files. */
async function publicHalf(pki: Pki, file: string): Promise<string> {
  return await pki.openssl("pkey", "-pubout", "-in", file);
}

Deno.test("converts PKCS#8, PKCS#1 and SEC1 keys to PKCS#8", { ignore }, async () => {
  await using pki = await openPki();
  for (const [type, traditional] of [["rsa2048", "RSA PRIVATE KEY"], ["P-256", "EC PRIVATE KEY"]] as const) {
    const pkcs8 = await pki.key(`${type}.key`, type);
    const old = pki.path(`${type}.old`);
    await pki.openssl("pkey", "-in", pkcs8, "-traditional", "-out", old);
    assertStringIncludes(await Deno.readTextFile(old), `BEGIN ${traditional}`);
    for (const file of [pkcs8, old]) {
      const { pem, encrypted } = readPrivateKey(await Deno.readFile(file), file);
      assertStringIncludes(pem, "-----BEGIN PRIVATE KEY-----");
      assertEquals(encrypted, false);
      assertEquals(await publicHalf(pki, await pki.write("out.key", pem)), await publicHalf(pki, pkcs8));
    }
  }
});

Deno.test("reads a key after EC parameters, as `openssl ecparam -genkey` writes it", { ignore }, async () => {
  await using pki = await openPki();
  const file = pki.path("ec.key");
  await pki.openssl("ecparam", "-name", "secp384r1", "-genkey", "-out", file);
  assertStringIncludes(await Deno.readTextFile(file), "BEGIN EC PARAMETERS");
  // An unnecessary passphrase: Deno fails on EC parameters together with a passphrase.
  assertEquals(readPrivateKey(await Deno.readFile(file), file, "unused").encrypted, false);
});

Deno.test("reads a key from a file with certificates and CRLF line ends", { ignore }, async () => {
  await using pki = await openPki();
  const { cert, key } = await pki.leaf("leaf");
  const both = await pki.bundle("both.pem", cert, key);
  const crlf = (await Deno.readTextFile(both)).replaceAll("\n", "\r\n");
  const { pem } = readPrivateKey(new TextEncoder().encode(crlf), both);
  assertEquals(await publicHalf(pki, await pki.write("out.key", pem)), await publicHalf(pki, key));
});

/** The encryptions of openssl. The first two are those of `genrsa -des3` in OpenSSL 3 and 1. */
const ENCRYPTED: readonly (readonly [name: string, command: string, ...args: string[]])[] = [
  ["PKCS#8 3DES", "pkcs8", "-topk8", "-v2", "des3"],
  ["traditional 3DES", "pkey", "-traditional", "-des3"],
  ["traditional AES-128", "pkey", "-traditional", "-aes128"],
  ["traditional AES-256", "pkey", "-traditional", "-aes256"],
  ["PKCS#8 default", "pkcs8", "-topk8"],
  ["PKCS#8 AES-128", "pkcs8", "-topk8", "-v2", "aes-128-cbc"],
  ["PKCS#8 AES-192", "pkcs8", "-topk8", "-v2", "aes-192-cbc"],
  ["PKCS#8 HMAC-SHA1", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1"],
  ["PKCS#8 HMAC-SHA384", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA384"],
  ["PKCS#8 HMAC-SHA512", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"],
  ["PKCS#8 scrypt", "pkcs8", "-topk8", "-scrypt"],
];

for (const type of ["rsa2048", "P-256"] as const) {
  Deno.test(`${type} keys with each encryption are decrypted only with their passphrase`, { ignore }, async () => {
    await using pki = await openPki();
    const plain = await pki.key("plain.key", type);
    const expected = await publicHalf(pki, plain);
    for (const [name, command, ...args] of ENCRYPTED) {
      const file = pki.path("encrypted.key");
      await pki.openssl(command, ...args, "-in", plain, "-passout", "pass:tøm's", "-out", file);
      assertStringIncludes(await Deno.readTextFile(file), "ENCRYPTED", name);
      const { pem, encrypted } = readPrivateKey(await Deno.readFile(file), file, "tøm's");
      assert(encrypted, name);
      assertEquals(await publicHalf(pki, await pki.write("out.key", pem)), expected, name);
      assertStringIncludes(refusal(file, "wrong"), "the passphrase is wrong", name);
      const missing = refusal(file);
      assertStringIncludes(missing, "it is encrypted, but no passphrase was given", name);
      assertStringIncludes(missing, "openssl pkey -in my.key -out my.new.pem", name);
    }
  });
}

Deno.test("rejects an unsupported key encryption, with the command that converts the key", { ignore }, async () => {
  await using pki = await openPki();
  const plain = await pki.key("plain.key");
  const file = pki.path("old.key");
  for (const kind of [["-v1", "PBE-SHA1-3DES"], ["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA1"]]) {
    await pki.openssl("pkcs8", "-topk8", ...kind, "-in", plain, "-passout", "pass:tom", "-out", file);
    assertStringIncludes(refusal(file, "tom"), "convert it with: openssl pkcs8 -topk8 -in my.key");
  }
});

Deno.test("rejects key types that Deno does not support", { ignore }, async () => {
  await using pki = await openPki();
  for (
    const [type, reason] of [
      ["rsa1024", "at least 2048 bits are required, it is an RSA key of 1024 bits"],
      ["rsa-pss", "restricted to RSA-PSS"],
      ["P-224", "it is an EC key on secp224r1"],
      ["secp256k1", "it is an EC key on secp256k1"],
      ["ed448", "of type ed448"],
    ] as const
  ) assertStringIncludes(refusal(await pki.key("odd.key", type)), reason);
  const explicit = await pki.key("odd.key", "explicit");
  const traditional = pki.path("explicit.key");
  await pki.openssl("pkey", "-traditional", "-in", explicit, "-out", traditional);
  for (const file of [explicit, traditional]) {
    assertStringIncludes(refusal(file), "openssl ec -in my.key -param_enc named_curve -out my.new.pem");
  }
});

Deno.test("names the content of a file without a private key", { ignore }, async () => {
  await using pki = await openPki();
  const { cert, key } = await pki.leaf("leaf");
  await pki.openssl("pkey", "-in", key, "-pubout", "-out", pki.path("public.pem"));
  assertStringIncludes(refusal(cert), "are --cert and --key swapped?");
  assertStringIncludes(refusal(pki.path("leaf.csr")), "it is a certificate signing request");
  assertStringIncludes(refusal(pki.path("public.pem")), "it is a public key");
  assertStringIncludes(refusal(await pki.bundle("two.key", key, key)), "it contains 2 private keys");
  const damaged = (await Deno.readTextFile(key)).replace(/\n.{40}/, "\n" + "A".repeat(40));
  assertStringIncludes(refusal(await pki.write("damaged.key", damaged)), "it is damaged");
  const ssh = (await Deno.readTextFile(key)).replaceAll("PRIVATE KEY", "OPENSSH PRIVATE KEY");
  assertStringIncludes(refusal(await pki.write("ssh.key", ssh)), "ssh-keygen -p -m PKCS8 -f my.key");
});

/** Key types that `Deno.serve` supports, tested with a client. readPrivateKey accepts these. */
const SERVED: readonly KeyType[] = ["rsa2048", "rsa3072", "P-256", "P-384", "P-521", "ed25519"];

for (const type of SERVED) {
  Deno.test(`Deno.serve answers over TLS with a ${type} key`, { ignore }, async () => {
    await using pki = await openPki();
    const root = await pki.authority("root");
    const { cert, key } = await pki.leaf("leaf", { issuer: root, key: type });
    const { pem } = readPrivateKey(await Deno.readFile(key), key);
    const options = { hostname: "127.0.0.1", port: 0, cert: await Deno.readTextFile(cert), key: pem, onListen() {} };
    await using server = Deno.serve(options, () => new Response("ok"));
    using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(root.cert)] });
    const response = await fetch(`https://localhost:${server.addr.port}/`, { client });
    assertEquals(await response.text(), "ok");
  });
}

/** Key types that `Deno.serve` refuses without a reason. If a newer Deno supports one, readPrivateKey may accept it. */
for (const type of ["rsa1024", "P-224", "secp256k1", "ed448"] as const) {
  Deno.test(`Deno.serve refuses a ${type} key`, { ignore }, async () => {
    await using pki = await openPki();
    const { cert, key } = await pki.leaf("leaf", { key: type });
    const [certText, keyText] = [await Deno.readTextFile(cert), await Deno.readTextFile(key)];
    const options = { hostname: "127.0.0.1", port: 0, cert: certText, key: keyText, onListen() {} };
    assertThrows(() => Deno.serve(options, () => new Response()), Error, "failed to parse private key");
  });
}
