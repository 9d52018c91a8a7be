import { assert, assertEquals, assertRejects } from "@std/assert";
import { exportPKCS8, exportSPKI, generateKeyPair, jwtVerify, SignJWT } from "jose";
import { StartError } from "../../lib/errors.ts";
import { publicKey, secretKey } from "../../lib/auth/jwt_key.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

async function spki(algorithm: string, options: Parameters<typeof generateKeyPair>[1] = {}): Promise<string> {
  const { publicKey } = await generateKeyPair(algorithm, { ...options, extractable: true });
  return await exportSPKI(publicKey);
}

Deno.test("each kind of public key allows only its own algorithms, never HS256", async () => {
  assertEquals((await publicKey(await spki("RS256"), "key")).algorithms, ["RS256"]);
  assertEquals((await publicKey(await spki("ES256"), "key")).algorithms, ["ES256"]);
  assertEquals((await publicKey(await spki("EdDSA"), "key")).algorithms, ["EdDSA", "Ed25519"]);
});

Deno.test("an unusable key is an error that names the file and the reason", async () => {
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  const short = await crypto.subtle.generateKey(
    { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]) },
    true,
    ["sign", "verify"],
  );
  const cases: readonly (readonly [pem: string, why: string])[] = [
    [await exportPKCS8(privateKey), "contains a private key"],
    [await spki("ES384"), "a key on the curve P-256, this one is on secp384r1"],
    [await exportSPKI(short.publicKey), "at least 2048 bits (RFC 7518 section 3.3), the key has 1024"],
    [await spki("ECDH-ES", { crv: "X25519" }), "an RSA, P-256 or Ed25519 key is required, this one is x25519"],
    ["no key", "a public key in PEM"],
    ["-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "a public key in PEM"],
  ];
  for (const [pem, why] of cases) {
    const error = await assertRejects(() => publicKey(pem, "jwt.pem"), StartError, why);
    assert(error instanceof StartError && error.message.startsWith("Cannot use jwt.pem: "), String(error));
  }
});

Deno.test("a secret requires at least 32 bytes without trailing line ends, and is not PEM", async () => {
  assertEquals((await secretKey(bytes("x".repeat(32) + "\n"), "jwt.secret")).algorithms, ["HS256"]);
  assertEquals((await secretKey(bytes("é".repeat(16)), "jwt.secret")).algorithms, ["HS256"]);
  const error = await assertRejects(
    () => secretKey(bytes("hunter2".repeat(4) + "\r\n\r\n\n\n"), "jwt.secret"),
    StartError,
  );
  assert(
    error instanceof Error && /^Cannot use the secret in jwt\.secret: .* it has 28;/.test(error.message),
    String(error),
  );
  assert(error instanceof Error && !error.message.includes("hunter2"));
  await assertRejects(
    async () => secretKey(bytes(await spki("ES256")), "jwt.secret"),
    StartError,
    "--jwt-public-key-file",
  );
});

Deno.test("a secret is the text's bytes without byte order mark and line ends, or all bytes if it is not text", async () => {
  const text = "0c20c8d760c883360a01a48fc29abc88";
  const plain = await secretKey(bytes(text), "jwt.secret");
  for (const same of [`${text}\n`, `${text}\r\n`, `\ufeff${text}\r\n`]) {
    assertEquals((await secretKey(bytes(same), "jwt.secret")).id, plain.id);
  }
  const binary = new Uint8Array(32).map((_, index) => 0xff - index * 7);
  binary[31] = 0x0a;
  const { key } = await secretKey(binary, "jwt.secret");
  const token = await new SignJWT({}).setProtectedHeader({ alg: "HS256" }).sign(binary);
  assert(key instanceof CryptoKey);
  await jwtVerify(token, key);
});

Deno.test("a secret in UTF-16 is an error that names the encoding; white space at its end is part of it, with a warning", async () => {
  const text = "x".repeat(40);
  const utf16 = new Uint8Array(Uint16Array.from(text, (character) => character.charCodeAt(0)).buffer);
  for (const content of [utf16, new Uint8Array([0xff, 0xfe, ...utf16])]) {
    await assertRejects(() => secretKey(content, "jwt.secret"), StartError, "jwt.secret: it is UTF-16 text");
  }
  const spaced = await secretKey(bytes(`${text} \n`), "jwt.secret");
  assertEquals(spaced.warnings.length, 1);
  assert(spaced.id !== (await secretKey(bytes(text), "jwt.secret")).id);
});
