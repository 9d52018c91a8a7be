import { assert, assertEquals } from "@std/assert";
import { UnsecuredJWT } from "jose";
import { CLOCK_TOLERANCE, type JwtClaims, verifyJwt } from "../../lib/auth/jwt.ts";
import { type JwtKey, publicKey, secretKey } from "../../lib/auth/jwt_key.ts";
import type { Unauthenticated } from "../../lib/auth/auth_result.ts";
import { refusal, sign, type Signer, signer } from "./signing.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const hs256: Signer = { algorithm: "HS256", privateKey: new TextEncoder().encode(SECRET) };

async function refused(token: string, key: JwtKey, claims: JwtClaims = {}): Promise<Unauthenticated> {
  const verdict = refusal(await verifyJwt(token, key, claims));
  assert(!JSON.stringify(verdict).includes(token), "the verdict contains the token");
  return verdict;
}

Deno.test("HS256, RS256, ES256, EdDSA and Ed25519 are accepted, with their claims", async () => {
  for (const algorithm of ["RS256", "ES256", "EdDSA", "Ed25519"]) {
    const by = await signer(algorithm);
    const verdict = await verifyJwt(await sign(by, { sub: "tom" }), await publicKey(by.pem, "key"), {});
    assertEquals(verdict, { ok: true, claims: { sub: "tom" } }, algorithm);
  }
  const key = await secretKey(new TextEncoder().encode(SECRET), "secret");
  assertEquals(await verifyJwt(await sign(hs256, { sub: "tom" }), key, {}), { ok: true, claims: { sub: "tom" } });
});

Deno.test("a token with another algorithm than the key's is refused: none, PS256, and HS256 with the public key as secret", async () => {
  const by = await signer("RS256");
  const key = await publicKey(by.pem, "key");
  const confused: Signer = { algorithm: "HS256", privateKey: new TextEncoder().encode(by.pem) };
  const tokens = [
    new UnsecuredJWT({ sub: "tom" }).encode(),
    await sign(confused, { sub: "tom" }),
    await sign({ ...by, algorithm: "PS256", privateKey: (await signer("PS256")).privateKey }, { sub: "tom" }),
  ];
  for (const token of tokens) {
    const { status, reason, headers } = await refused(token, key);
    assertEquals([status, reason], [401, "the token must be signed with RS256, it uses another algorithm"]);
    assert(headers["www-authenticate"]?.includes('error="invalid_token"'));
  }
  const { reason } = await refused(tokens[0]!, await secretKey(new TextEncoder().encode(SECRET), "secret"));
  assertEquals(reason, "the token must be signed with HS256, it uses another algorithm");
});

Deno.test("a signature by another key and changed claims are refused with the same reason", async () => {
  const by = await signer("ES256");
  const key = await publicKey(by.pem, "key");
  const token = await sign(by, { sub: "tom" });
  const [head, , signature] = token.split(".");
  const forged = `${head}.${btoa('{"sub":"root"}').replace(/=+$/, "")}.${signature}`;
  const other = await sign(await signer("ES256"), { sub: "tom" });
  for (const bad of [forged, other]) {
    assertEquals((await refused(bad, key)).reason, "the token's signature does not match the key");
  }
  for (const bad of ["abc", "a.b.c", `${token}.x`, token.replace(/^[^.]*/, "e30"), "..", `${head}..${signature}`]) {
    assertEquals((await refused(bad, key)).status, 401, bad);
  }
});

Deno.test("exp and nbf are checked with a tolerance, and exp determines when to close", async () => {
  const key = await secretKey(new TextEncoder().encode(SECRET), "secret");
  const expired = await refused(await sign(hs256, {}, { exp: -CLOCK_TOLERANCE - 60 }), key);
  assertEquals([expired.reason, expired.body], ["the token has expired", "The token has expired."]);
  assertEquals(
    expired.headers["www-authenticate"],
    'Bearer realm="wss", error="invalid_token", error_description="the token has expired"',
  );
  const early = await refused(await sign(hs256, {}, { nbf: CLOCK_TOLERANCE + 60 }), key);
  assertEquals(early.reason, "the token is not valid yet (nbf)");

  const before = Date.now();
  const verdict = await verifyJwt(await sign(hs256, {}, { exp: 60, nbf: -60 }), key, {});
  if (!verdict.ok) throw new Error(verdict.reason);
  const wait = (verdict.expiresAt ?? NaN) - before;
  assert(wait > (60 + CLOCK_TOLERANCE - 2) * 1000 && wait <= (60 + CLOCK_TOLERANCE + 30) * 1000, `${wait} ms`);

  const late = await verifyJwt(await sign(hs256, {}, { exp: 0 }), key, {});
  assert(late.ok && late.expiresAt! > before, "a token within the tolerance has time left");
  const far = await verifyJwt(await sign(hs256, {}, { exp: 1e12 }), key, {});
  assert(far.ok && far.expiresAt! > 1e15);
});

Deno.test("aud and iss are required if they are configured; the client is not told which of them is wrong", async () => {
  const key = await secretKey(new TextEncoder().encode(SECRET), "secret");
  const claims = { audience: "chat", issuer: "https://id.example.com" };
  const good = { aud: ["news", "chat"], iss: "https://id.example.com", sub: "tom" };
  assertEquals(await verifyJwt(await sign(hs256, good), key, claims), { ok: true, claims: good });
  const bad = [
    await refused(await sign(hs256, { ...good, aud: "news" }), key, claims),
    await refused(await sign(hs256, { iss: good.iss }), key, claims),
    await refused(await sign(hs256, { ...good, iss: "https://id.example.org" }), key, claims),
  ];
  assertEquals(bad.map((one) => one.reason), [
    "the token is for another audience (aud)",
    "the token is for another audience (aud)",
    "the token is from another issuer (iss)",
  ]);
  for (const { headers, body } of bad) {
    assertEquals(body, "The token is not valid here.");
    assertEquals(
      headers["www-authenticate"],
      'Bearer realm="wss", error="invalid_token", error_description="the token is not valid here"',
    );
  }
});

Deno.test("claims of the wrong type are refused", async () => {
  const key = await secretKey(new TextEncoder().encode(SECRET), "secret");
  for (const claims of [{ exp: "9999999999" }, { nbf: "0" }, { exp: null }, { exp: {} }]) {
    assertEquals((await refused(await sign(hs256, claims), key)).status, 401, JSON.stringify(claims));
  }
});
