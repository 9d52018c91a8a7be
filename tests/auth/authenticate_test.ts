import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { StartError, UsageError } from "../../lib/errors.ts";
import { createLogger } from "../../lib/log.ts";
import { type AuthResult, createAuthenticator } from "../../lib/auth/authenticate.ts";
import type { Authenticated } from "../../lib/auth/auth_result.ts";
import type { AuthSettings } from "../../lib/auth/validate_auth_options.ts";
import { NONE, refusal, sign, type Signer, signer } from "./signing.ts";

const FIRST = "first-shared-secret-0123456789";
const SECOND = "second-shared-secret-0123456789";

async function temporary() {
  const folder = await Deno.makeTempDir();
  return {
    path: (name: string) => join(folder, name),
    async write(name: string, text: string): Promise<string> {
      await Deno.writeTextFile(join(folder, name), text);
      return join(folder, name);
    },
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

function request(authorization?: string, url = "wss://localhost/", offered: readonly string[] = []) {
  return { headers: new Headers(authorization === undefined ? {} : { authorization }), url, offered };
}

async function made(settings: Partial<AuthSettings>) {
  const lines: string[] = [];
  const log = createLogger({ write: (line) => lines.push(line) });
  const authenticator = await createAuthenticator({ ...NONE, ...settings }, { log });
  if (authenticator === undefined) throw new Error("no authenticator was created");
  return { authenticator, lines };
}

/** Returns a synchronous acceptance without its key id. */
function withoutKeyId(result: AuthResult | Promise<AuthResult>) {
  if (result instanceof Promise || !result.ok) throw new Error("the request was not accepted synchronously");
  const { keyId, ...rest } = result;
  assert(keyId !== undefined);
  return rest;
}

Deno.test("no options create no authenticator; conflicting options are one usage error with all problems", async () => {
  assertEquals(await createAuthenticator(NONE), undefined);
  const both = { ...NONE, authTokenFile: "a", jwtSecretFile: "b", jwksUrl: "http://id.example.com/" };
  const error = await assertRejects(() => createAuthenticator(both), UsageError);
  assert(error instanceof UsageError && error.problems.length === 2);
});

Deno.test("shared secrets are checked synchronously, without a promise", async () => {
  await using files = await temporary();
  const authTokenFile = await files.write("tokens", `# ours\n${FIRST}\n${SECOND}\n`);
  const { authenticator, lines } = await made({ authTokenFile });
  assertEquals([authenticator.requiredToken, lines], ["one of 2 shared secrets", []]);
  for (const secret of [FIRST, SECOND]) {
    assertEquals(withoutKeyId(authenticator.authenticate(request(`Bearer ${secret}`))), {
      ok: true,
      claims: {},
      url: "wss://localhost/",
      offered: [],
    });
  }
  const url = "wss://localhost/?a=1";
  assertEquals(withoutKeyId(authenticator.authenticate(request(undefined, url, ["wss.v1", `bearer.${SECOND}`]))), {
    ok: true,
    claims: {},
    url,
    offered: ["wss.v1"],
  });
});

Deno.test("each refusal is 401 with the challenge of RFC 6750, and contains no token", async () => {
  await using files = await temporary();
  const { authenticator } = await made({ authTokenFile: await files.write("tokens", FIRST) });
  const wrong = "WRONG-secret-that-was-sent";
  const cases: readonly (readonly [ReturnType<typeof request>, string, RegExp])[] = [
    [request(), 'Bearer realm="wss"', /^the request has no token$/],
    [
      request(undefined, `/?token=${wrong}`),
      'Bearer realm="wss"',
      /no token; \?token= is read only with --auth/,
    ],
    [
      request(`Bearer ${wrong}`),
      'Bearer realm="wss", error="invalid_token", error_description="the token is not valid here"',
      /^the token matches no shared secret$/,
    ],
    [
      request(`Bearer ${FIRST}`, "/", [`bearer.${wrong}`]),
      'Bearer realm="wss", error="invalid_request", ' +
      'error_description="the request has two different tokens; exactly one is required"',
      /^the request has two different tokens/,
    ],
    [
      request(`Bearer ${wrong} x`),
      'Bearer realm="wss", error="invalid_request", error_description="the token is malformed: ' +
      'up to 8192 characters of A-Z a-z 0-9 - . _ ~ + / are allowed, then = (RFC 6750)"',
      /^the token is malformed/,
    ],
  ];
  for (const [given, challenge, reason] of cases) {
    const { status, headers, reason: why, body } = refusal(await authenticator.authenticate(given));
    assertEquals([status, headers], [401, { "www-authenticate": challenge }]);
    assert(reason.test(why), why);
    const told = { headers, why, body };
    assert(!JSON.stringify(told).includes("WRONG") && !JSON.stringify(told).includes(FIRST));
    assertEquals(new Response(body, { status, headers }).headers.get("www-authenticate"), challenge);
  }
});

Deno.test("with authQuery, ?token= is read and removed from the URL, whatever the verdict", async () => {
  await using files = await temporary();
  const { authenticator } = await made({ authTokenFile: await files.write("tokens", FIRST), authQuery: true });
  for (const [token, ok] of [[FIRST, true], ["WRONG", false], ["WRONG%", false]] as const) {
    const verdict = await authenticator.authenticate(request(undefined, `wss://localhost/x?token=${token}&a=1`));
    assertEquals([verdict.ok, verdict.url], [ok, "wss://localhost/x?a=1"], token);
    assert(!JSON.stringify(verdict).includes(token));
  }
});

Deno.test("a JWT provides its claims and its expiry, with each kind of key", async () => {
  await using files = await temporary();
  const secret = "0123456789abcdef0123456789abcdef";
  const by = await signer("ES256");
  const hs256: Signer = { algorithm: "HS256", privateKey: new TextEncoder().encode(secret) };
  const jwtSecretFile = await files.write("secret", secret + "\n");
  const jwtPublicKeyFile = await files.write("public.pem", by.pem);
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    return Response.json({ keys: [by.jwk] });
  });
  const jwksUrl = `http://127.0.0.1:${server.addr.port}/`;
  const kinds = [
    [{ jwtSecretFile }, hs256, "a JWT (HS256)"],
    [{ jwtPublicKeyFile }, by, "a JWT (ES256)"],
    [{ jwksUrl }, by, "a JWT (RS256, ES256, EdDSA)"],
  ] as const;
  for (const [settings, signedBy, requiredToken] of kinds) {
    const { authenticator, lines } = await made({ ...settings, jwtAudience: "chat" });
    assertEquals([authenticator.requiredToken, lines], [requiredToken, []]);
    const token = await sign(signedBy, { sub: "tom", aud: "chat" }, { exp: 60 });
    const verdict = await authenticator.authenticate(request(undefined, "/", [`bearer.${token}`, "wss.v1"]));
    if (!verdict.ok) throw new Error(verdict.reason);
    assertEquals([verdict.claims["sub"], verdict.offered], ["tom", ["wss.v1"]]);
    assert(verdict.expiresAt! > Date.now());
    const other = refusal(await authenticator.authenticate(request(`Bearer ${await sign(signedBy, { aud: "news" })}`)));
    assertEquals(other.status, 401);
  }
});

Deno.test("warns about a key set without an audience; a key set that is unreachable at the start is a 503, not an error", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const jwksUrl = `http://127.0.0.1:${listener.addr.port}/`;
  listener.close();
  const { authenticator, lines } = await made({ jwksUrl });
  assertEquals(lines.map((line) => /jwt-audience|cannot fetch/.exec(line)?.[0]), ["jwt-audience", "cannot fetch"]);
  await authenticator.reload();
  const token = await sign(await signer("ES256", "a"));
  const { status, headers } = refusal(await authenticator.authenticate(request(`Bearer ${token}`)));
  assertEquals([status, headers], [503, { "retry-after": "5" }]);
});

Deno.test("reload uses a changed file, and keeps the old secrets if the file is invalid", async () => {
  await using files = await temporary();
  const authTokenFile = await files.write("tokens", FIRST);
  const { authenticator, lines } = await made({ authTokenFile });
  const accepted = async (secret: string) => (await authenticator.authenticate(request(`Bearer ${secret}`))).ok;
  assertEquals([await accepted(FIRST), await accepted(SECOND)], [true, false]);

  await files.write("tokens", SECOND);
  assertEquals(await accepted(SECOND), false);
  await authenticator.reload();
  assertEquals([await accepted(FIRST), await accepted(SECOND)], [false, true]);

  await files.write("tokens", "no token");
  await assertRejects(() => authenticator.reload(), StartError, "tokens line 1");
  assertEquals([await accepted(FIRST), await accepted(SECOND)], [false, true]);

  await files.write("tokens", "guessable");
  await authenticator.reload();
  assertEquals([await accepted("guessable"), lines.length], [true, 1]);
});

Deno.test("a missing or invalid file at the start is an error that names the file", async () => {
  await using files = await temporary();
  const missing = files.path("missing");
  const short = await files.write("short", "hunter2");
  const cases = [
    [{ authTokenFile: missing }, `Cannot read --auth-token-file ${missing}: there is no such file`],
    [{ jwtPublicKeyFile: missing }, `Cannot read --jwt-public-key-file ${missing}: there is no such file`],
    [{ jwtSecretFile: "." }, "Cannot read --jwt-secret-file .: it is a folder; a file is required"],
    [{ jwtSecretFile: short }, `${short}: HS256 requires at least 32 bytes`],
    [{ jwtPublicKeyFile: short }, `Cannot use ${short}: a public key in PEM`],
  ] as const;
  for (const [settings, message] of cases) {
    await assertRejects(() => createAuthenticator({ ...NONE, ...settings }), StartError, message);
  }
});

Deno.test("a token file may have a byte order mark and CRLF line ends; UTF-16 is an error that names the encoding", async () => {
  await using files = await temporary();
  const { authenticator } = await made({
    authTokenFile: await files.write("tokens", `\ufeff${FIRST}\r\n${SECOND}\r\n`),
  });
  for (const secret of [FIRST, SECOND]) {
    assert((await authenticator.authenticate(request(`Bearer ${secret}`))).ok);
  }
  const utf16 = new Uint8Array(Uint16Array.from(`\ufeff${FIRST}`, (character) => character.charCodeAt(0)).buffer);
  await Deno.writeFile(files.path("utf16"), utf16);
  await assertRejects(() => made({ authTokenFile: files.path("utf16") }), StartError, "utf16: it is UTF-16 text");
});

Deno.test("a public key may begin with a byte order mark", async () => {
  await using files = await temporary();
  const es256 = await signer("ES256");
  const { authenticator } = await made({ jwtPublicKeyFile: await files.write("key.pem", `\ufeff${es256.pem}`) });
  const result = await authenticator.authenticate(request(`Bearer ${await sign(es256)}`));
  assert(result.ok);
});

Deno.test("after a reload, removed secrets are not accepted; an empty or deleted file leaves none", async () => {
  await using files = await temporary();
  const authTokenFile = await files.write("tokens", `${FIRST}\n${SECOND}\n`);
  const { authenticator, lines } = await made({ authTokenFile });
  const keyIdOf = async (secret: string) => {
    const result = await authenticator.authenticate(request(`Bearer ${secret}`));
    assert(result.ok);
    const { keyId } = result as Authenticated;
    assert(keyId !== undefined && !keyId.includes(secret));
    return keyId;
  };
  const [first, second] = [await keyIdOf(FIRST), await keyIdOf(SECOND)];
  const inForce = () => [first, second].map((id) => authenticator.accepts(id));
  await files.write("tokens", `${SECOND}\n${FIRST}\n${FIRST}x\n`);
  assertEquals(await authenticator.removesKeys(), false);
  await files.write("tokens", `${SECOND}\n`);
  assertEquals([await authenticator.removesKeys(), inForce()], [true, [true, true]]);
  await authenticator.reload();
  assertEquals(inForce(), [false, true]);
  for (const leave of [() => files.write("tokens", "# none\n"), () => Deno.remove(authTokenFile)]) {
    await files.write("tokens", `${FIRST}\n${SECOND}\n`);
    await authenticator.reload();
    assertEquals(inForce(), [true, true]);
    await leave();
    assertEquals(await authenticator.removesKeys(), true);
    await authenticator.reload();
    assertEquals(inForce(), [false, false]);
    assertEquals((await authenticator.authenticate(request(`Bearer ${FIRST}`))).ok, false);
    assert(lines.at(-1)!.includes("no token is valid any more"), lines.at(-1));
  }
  // A line that cannot be a token: the file is incomplete, or it has a mistake.
  await files.write("tokens", `${FIRST}\n${SECOND}\n`);
  await authenticator.reload();
  await files.write("tokens", "not a token\n");
  await assertRejects(() => authenticator.reload(), StartError);
  assertEquals(inForce(), [true, true]);
});

Deno.test("after a reload, a replaced JWT key is not accepted; white space in its file changes nothing", async () => {
  await using files = await temporary();
  const [one, other] = [await signer("ES256"), await signer("ES256")];
  const jwtPublicKeyFile = await files.write("key.pem", one.pem);
  const { authenticator } = await made({ jwtPublicKeyFile });
  const result = await authenticator.authenticate(request(`Bearer ${await sign(one)}`));
  assert(result.ok);
  await files.write("key.pem", `${one.pem}\n\n`);
  assertEquals(await authenticator.removesKeys(), false);
  await files.write("key.pem", other.pem);
  assertEquals(await authenticator.removesKeys(), true);
  await authenticator.reload();
  assertEquals(authenticator.accepts((result as Authenticated).keyId), false);
});
