import { assert, assertEquals, assertRejects } from "@std/assert";
import { exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import { StartError } from "../../lib/errors.ts";
import { publicKey, secretKey } from "../../lib/auth/jwt_key.ts";

async function spki(algorithm: string, options: Parameters<typeof generateKeyPair>[1] = {}): Promise<string> {
  const { publicKey } = await generateKeyPair(algorithm, { ...options, extractable: true });
  return await exportSPKI(publicKey);
}

Deno.test("each kind of public key goes with its algorithms, and never with HS256", async () => {
  assertEquals((await publicKey(await spki("RS256"), "key")).algorithms, ["RS256"]);
  assertEquals((await publicKey(await spki("ES256"), "key")).algorithms, ["ES256"]);
  assertEquals((await publicKey(await spki("EdDSA"), "key")).algorithms, ["EdDSA", "Ed25519"]);
});

Deno.test("a key that does not do is an error that says why, and names the file", async () => {
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  const short = await crypto.subtle.generateKey(
    { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]) },
    true,
    ["sign", "verify"],
  );
  const cases: readonly (readonly [pem: string, why: string])[] = [
    [await exportPKCS8(privateKey), "holds a private key"],
    [await spki("ES384"), "a key on the curve P-256, not secp384r1"],
    [await exportSPKI(short.publicKey), "2048 bits at the least (RFC 7518 section 3.3), not 1024"],
    [await spki("ECDH-ES", { crv: "X25519" }), "RSA, P-256 or Ed25519 is needed, not x25519"],
    ["no key", "holds no public key in PEM"],
    ["-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no public key in PEM"],
  ];
  for (const [pem, why] of cases) {
    const error = await assertRejects(() => publicKey(pem, "jwt.pem"), StartError, why);
    assert(error instanceof StartError && error.message.startsWith("jwt.pem"), String(error));
  }
});

Deno.test("a secret has 32 bytes at the least, line ends after it not counted, and is no PEM", async () => {
  assertEquals((await secretKey("x".repeat(32) + "\n", "jwt.secret")).algorithms, ["HS256"]);
  assertEquals((await secretKey("é".repeat(16), "jwt.secret")).algorithms, ["HS256"]);
  const error = await assertRejects(() => secretKey("hunter2".repeat(4) + "\r\n\r\n\n\n", "jwt.secret"), StartError);
  assert(error instanceof Error && /^jwt\.secret: .* this one has 28;/.test(error.message), String(error));
  assert(error instanceof Error && !error.message.includes("hunter2"));
  await assertRejects(async () => secretKey(await spki("ES256"), "jwt.secret"), StartError, "--jwt-public-key-file");
});
