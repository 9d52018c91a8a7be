import { assert, assertEquals } from "@std/assert";
import { createLogger } from "../../lib/log.ts";
import { remoteKeys } from "../../lib/auth/jwks.ts";
import { verifyJwt } from "../../lib/auth/jwt.ts";
import { type PublicSigner, refusal, sign, signer } from "./signing.ts";

/** An identity provider on loopback that serves a key set. */
function provider() {
  const state = {
    keys: [] as unknown[],
    answer: undefined as (() => Response | Promise<Response>) | undefined,
    fetches: 0,
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    state.fetches++;
    return state.answer?.() ?? Response.json({ keys: state.keys });
  });
  return {
    state,
    url: new URL(`http://127.0.0.1:${server.addr.port}/jwks`),
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

function logged() {
  const lines: string[] = [];
  return { lines, log: createLogger({ write: (line) => lines.push(line) }) };
}

const publish = (...signers: readonly PublicSigner[]) => signers.map(({ jwk }) => jwk);

Deno.test("a key set is fetched once for many tokens, and again for a key that it lacks", async () => {
  await using issuer = provider();
  const { log, lines } = logged();
  const [first, second] = [await signer("ES256", "first"), await signer("RS256", "second")];
  issuer.state.keys = publish(first);
  const keys = remoteKeys(issuer.url, log, { cooldown: 0 });

  const tokens = await Promise.all(Array.from({ length: 20 }, (_, i) => sign(first, { sub: String(i) })));
  const verdicts = await Promise.all(tokens.map((token) => verifyJwt(token, keys, {})));
  assertEquals(verdicts.map((verdict) => verdict.ok && verdict.claims["sub"]), tokens.map((_, i) => String(i)));
  assertEquals(issuer.state.fetches, 1);

  issuer.state.keys = publish(second);
  assertEquals((await verifyJwt(await sign(second), keys, {})).ok, true);
  assertEquals(issuer.state.fetches, 2);
  assertEquals(refusal(await verifyJwt(tokens[0]!, keys, {})).status, 401);
  assertEquals(lines, []);
});

Deno.test("unknown key ids cause no fetch within the cooldown", async () => {
  await using issuer = provider();
  const { log } = logged();
  issuer.state.keys = publish(await signer("ES256", "ours"));
  const keys = remoteKeys(issuer.url, log);
  await keys.fetch();
  for (let i = 0; i < 20; i++) {
    const token = await sign(await signer("ES256", `stranger ${i}`));
    const { status, reason } = refusal(await verifyJwt(token, keys, {}));
    assertEquals([status, reason], [401, "no key of the key set matches the token"]);
  }
  assertEquals(issuer.state.fetches, 1);
});

Deno.test("a token without a key id is verified with every suitable key", async () => {
  await using issuer = provider();
  const { log } = logged();
  const [first, second] = [await signer("ES256"), await signer("ES256")];
  issuer.state.keys = publish(first, second);
  const keys = remoteKeys(issuer.url, log);
  for (const by of [first, second]) {
    assertEquals(await verifyJwt(await sign(by, { sub: "tom" }), keys, {}), { ok: true, claims: { sub: "tom" } });
  }
  const other = refusal(await verifyJwt(await sign(await signer("ES256")), keys, {}));
  assertEquals(other.reason, "the token's signature does not match the key");
  const late = refusal(await verifyJwt(await sign(second, {}, { exp: -600 }), keys, {}));
  assertEquals(late.reason, "the token has expired");
});

Deno.test("a secret or an encryption key in the set verifies no token", async () => {
  await using issuer = provider();
  const { log } = logged();
  const secret = new TextEncoder().encode("0123456789abcdef0123456789abcdef");
  const by = await signer("RS256", "enc");
  const oct = { kty: "oct", kid: "hmac", k: btoa(String.fromCharCode(...secret)).replace(/=+$/, "") };
  issuer.state.keys = [oct, { ...by.jwk, use: "enc" }];
  const keys = remoteKeys(issuer.url, log);
  const token = await sign({ algorithm: "HS256", privateKey: secret, kid: "hmac" });
  const forged = refusal(await verifyJwt(token, keys, {}));
  assert(forged.status === 401 && forged.reason.startsWith("the token must be signed with RS256, ES256, EdDSA"));
  assertEquals((await verifyJwt(await sign(by), keys, {})).ok, false);
});

Deno.test("a key set that cannot be fetched is a 503, is logged once per attempt, and is not fetched again at once", async () => {
  const by = await signer("ES256", "ours");
  const token = await sign(by);
  const answers: readonly (readonly [string, () => Response])[] = [
    ["status 200 is required, the server answered 500", () => new Response("no", { status: 500 })],
    [
      "status 200 is required, the server answered 302",
      () => new Response(null, { status: 302, headers: { location: "/other" } }),
    ],
    ["not valid JSON", () => new Response("<html>")],
    ["a JSON Web Key Set", () => Response.json({ keys: [7] })],
    ["the response is larger than 1048576 bytes", () => new Response(" ".repeat(2 * 1024 ** 2))],
  ];
  for (const [why, answer] of answers) {
    await using issuer = provider();
    const { log, lines } = logged();
    issuer.state.answer = answer;
    const keys = remoteKeys(issuer.url, log, { retry: 3_600_000 });
    for (let i = 0; i < 5; i++) {
      const { status, headers, reason, body } = refusal(await verifyJwt(token, keys, {}));
      assertEquals([status, headers], [503, { "retry-after": "5" }]);
      assert(reason.startsWith(`the key set ${issuer.url.href}: `) && reason.includes(why), reason);
      assert(!body.includes(why) && !reason.includes(token));
    }
    assertEquals([issuer.state.fetches, lines.length], [1, 1], why);
  }
});

Deno.test("a key set that times out is a 503, and a key set that is available again is used", async () => {
  await using issuer = provider();
  const { log, lines } = logged();
  const by = await signer("EdDSA", "ours");
  const token = await sign(by);
  const answering = Promise.withResolvers<Response>();
  issuer.state.answer = () => answering.promise;
  const keys = remoteKeys(issuer.url, log, { timeout: 50, retry: 0 });
  const asked = performance.now();
  assertEquals([refusal(await verifyJwt(token, keys, {})).status, lines.length], [503, 1]);
  assert(performance.now() - asked < 4_000, "the default timeout of five seconds was used");
  answering.resolve(new Response());

  const patient = remoteKeys(issuer.url, log, { retry: 0 });
  issuer.state.answer = () => new Response(null, { status: 503 });
  assertEquals((await verifyJwt(token, patient, {})).ok, false);
  issuer.state.answer = undefined;
  issuer.state.keys = publish(by);
  assertEquals((await verifyJwt(token, patient, {})).ok, true);
});

Deno.test("a key set without a server is a 503", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const { log, lines } = logged();
  const keys = remoteKeys(new URL(`http://127.0.0.1:${port}/jwks`), log);
  await keys.fetch();
  const { status } = refusal(await verifyJwt(await sign(await signer("ES256", "ours")), keys, {}));
  assertEquals([status, lines.length], [503, 1]);
});

Deno.test("during an outage the last key set stays in use, and a key that it lacks is a 503", async () => {
  await using issuer = provider();
  const { log, lines } = logged();
  const [ours, other] = [await signer("ES256", "ours"), await signer("ES256", "other")];
  issuer.state.keys = publish(ours);
  const keys = remoteKeys(issuer.url, log, { maxAge: 0, retry: 3_600_000 });
  await keys.fetch();
  issuer.state.answer = () => new Response(null, { status: 502 });
  for (let i = 0; i < 5; i++) {
    assertEquals((await verifyJwt(await sign(ours), keys, {})).ok, true);
    assertEquals(refusal(await verifyJwt(await sign(other), keys, {})).status, 503);
  }
  const forged = { ...other, kid: "ours" };
  assertEquals(refusal(await verifyJwt(await sign(forged), keys, {})).status, 401);
  assertEquals([issuer.state.fetches, lines.length], [2, 1]);
});

Deno.test("during an outage the last key set is used only for a bounded time", async () => {
  await using issuer = provider();
  const { log } = logged();
  const ours = await signer("ES256", "ours");
  issuer.state.keys = publish(ours);
  const keys = remoteKeys(issuer.url, log, { maxAge: 0, maxStale: 0 });
  assertEquals((await verifyJwt(await sign(ours), keys, {})).ok, true);
  issuer.state.answer = () => new Response(null, { status: 502 });
  assertEquals(refusal(await verifyJwt(await sign(ours), keys, {})).status, 503);
});

Deno.test("during an outage a known key is not delayed by a fetch, and the next set replaces the last one", async () => {
  await using issuer = provider();
  const { log } = logged();
  const [ours, next] = [await signer("ES256", "ours"), await signer("ES256", "next")];
  issuer.state.keys = publish(ours);
  const keys = remoteKeys(issuer.url, log, { maxAge: 0, retry: 0, timeout: 60_000 });
  await keys.fetch();
  issuer.state.answer = () => new Response(null, { status: 502 });
  assertEquals((await verifyJwt(await sign(ours), keys, {})).ok, true);

  const answering = Promise.withResolvers<Response>();
  issuer.state.answer = () => answering.promise;
  const asked = performance.now();
  assertEquals((await verifyJwt(await sign(ours), keys, {})).ok, true);
  assert(performance.now() - asked < 30_000, "the token waited for the fetch");
  answering.resolve(Response.json({ keys: publish(next) }));
  await keys.fetch();
  issuer.state.answer = undefined;
  issuer.state.keys = publish(next);
  assertEquals((await verifyJwt(await sign(next), keys, {})).ok, true);
  assertEquals(refusal(await verifyJwt(await sign(ours), keys, {})).status, 401);
});

Deno.test("long after a failed fetch, a token waits for the next set, because its key may have been removed", async () => {
  await using issuer = provider();
  const { log } = logged();
  const ours = await signer("ES256", "ours");
  issuer.state.keys = publish(ours);
  const keys = remoteKeys(issuer.url, log, { maxAge: 0 });
  await keys.fetch();
  issuer.state.answer = () => new Response(null, { status: 502 });
  assertEquals((await verifyJwt(await sign(ours), keys, {})).ok, true);
  issuer.state.answer = () => Response.json({ keys: [] });
  const { now } = performance;
  performance.now = () => now.call(performance) + 3_600_000;
  try {
    assertEquals(refusal(await verifyJwt(await sign(ours), keys, {})).status, 401);
  } finally {
    performance.now = now;
  }
});
