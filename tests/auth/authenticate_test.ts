import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { StartError, UsageError } from "../../lib/errors.ts";
import { createLogger } from "../../lib/log.ts";
import { createAuthenticator } from "../../lib/auth/authenticate.ts";
import type { AuthSettings } from "../../lib/auth/validate_options.ts";
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
  if (authenticator === undefined) throw new Error("no authenticator was made");
  return { authenticator, lines };
}

Deno.test("nothing asked for is no authenticator; contradictions are a usage error with all of them", async () => {
  assertEquals(await createAuthenticator(NONE), undefined);
  const both = { ...NONE, authTokenFile: "a", jwtSecretFile: "b", jwksUrl: "http://id.example.com/" };
  const error = await assertRejects(() => createAuthenticator(both), UsageError);
  assert(error instanceof UsageError && error.problems.length === 2);
});

Deno.test("shared secrets answer at once, without a promise", async () => {
  await using files = await temporary();
  const authTokenFile = await files.write("tokens", `# ours\n${FIRST}\n${SECOND}\n`);
  const { authenticator, lines } = await made({ authTokenFile });
  assertEquals([authenticator.need, lines], ["one of 2 shared secrets", []]);
  for (const secret of [FIRST, SECOND]) {
    assertEquals(authenticator.authenticate(request(`Bearer ${secret}`)), {
      ok: true,
      claims: {},
      url: "wss://localhost/",
      offered: [],
    });
  }
  const url = "wss://localhost/?a=1";
  assertEquals(authenticator.authenticate(request(undefined, url, ["wss.v1", `bearer.${SECOND}`])), {
    ok: true,
    claims: {},
    url,
    offered: ["wss.v1"],
  });
});

Deno.test("each refusal is 401 with the challenge of RFC 6750, and shows no token", async () => {
  await using files = await temporary();
  const { authenticator } = await made({ authTokenFile: await files.write("tokens", FIRST) });
  const wrong = "WRONG-secret-that-was-sent";
  const cases: readonly (readonly [ReturnType<typeof request>, string, RegExp])[] = [
    [request(), 'Bearer realm="wss"', /^the request carries no token$/],
    [
      request(undefined, `/?token=${wrong}`),
      'Bearer realm="wss"',
      /no token; the one in \?token= is read only with --auth/,
    ],
    [
      request(`Bearer ${wrong}`),
      'Bearer realm="wss", error="invalid_token", error_description="the token is not valid here"',
      /^the token is none of the shared secrets$/,
    ],
    [
      request(`Bearer ${FIRST}`, "/", [`bearer.${wrong}`]),
      'Bearer realm="wss", error="invalid_request", ' +
      'error_description="the request carries two different tokens; one is needed"',
      /^the request carries two different tokens/,
    ],
    [
      request(`Bearer ${wrong} x`),
      'Bearer realm="wss", error="invalid_request", error_description="the token is malformed: ' +
      'up to 8192 characters of A-Z a-z 0-9 - . _ ~ + / are needed, then = (RFC 6750)"',
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

Deno.test("?token= is taken with authQuery, and kept out of the URL whatever the verdict", async () => {
  await using files = await temporary();
  const { authenticator } = await made({ authTokenFile: await files.write("tokens", FIRST), authQuery: true });
  for (const [token, ok] of [[FIRST, true], ["WRONG", false], ["WRONG%", false]] as const) {
    const verdict = await authenticator.authenticate(request(undefined, `wss://localhost/x?token=${token}&a=1`));
    assertEquals([verdict.ok, verdict.url], [ok, "wss://localhost/x?a=1"], token);
    assert(!JSON.stringify(verdict).includes(token));
  }
});

Deno.test("a JWT gives its claims and its end, through each kind of key", async () => {
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
  for (const [settings, signedBy, need] of kinds) {
    const { authenticator, lines } = await made({ ...settings, jwtAudience: "chat" });
    assertEquals([authenticator.need, lines], [need, []]);
    const token = await sign(signedBy, { sub: "tom", aud: "chat" }, { exp: 60 });
    const verdict = await authenticator.authenticate(request(undefined, "/", [`bearer.${token}`, "wss.v1"]));
    if (!verdict.ok) throw new Error(verdict.reason);
    assertEquals([verdict.claims["sub"], verdict.offered], ["tom", ["wss.v1"]]);
    assert(verdict.expiresAt! > Date.now());
    const other = refusal(await authenticator.authenticate(request(`Bearer ${await sign(signedBy, { aud: "news" })}`)));
    assertEquals(other.status, 401);
  }
});

Deno.test("a key set without an audience is warned of; one that is down at the start is 503 and no error", async () => {
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

Deno.test("reload takes a changed file; one that is bad leaves the old key in service", async () => {
  await using files = await temporary();
  const authTokenFile = await files.write("tokens", FIRST);
  const { authenticator, lines } = await made({ authTokenFile });
  const accepted = async (secret: string) => (await authenticator.authenticate(request(`Bearer ${secret}`))).ok;
  assertEquals([await accepted(FIRST), await accepted(SECOND)], [true, false]);

  await files.write("tokens", SECOND);
  assertEquals(await accepted(SECOND), false);
  await authenticator.reload();
  assertEquals([await accepted(FIRST), await accepted(SECOND)], [false, true]);

  await files.write("tokens", "# nothing left\n");
  await assertRejects(() => authenticator.reload(), StartError, "holds no secret");
  await Deno.remove(authTokenFile);
  await assertRejects(() => authenticator.reload(), StartError, `Cannot read --auth-token-file ${authTokenFile}`);
  assertEquals([await accepted(FIRST), await accepted(SECOND)], [false, true]);

  await files.write("tokens", "guessable");
  await authenticator.reload();
  assertEquals([await accepted("guessable"), lines.length], [true, 1]);
});

Deno.test("a file that is missing or wrong at the start is an error that names it", async () => {
  await using files = await temporary();
  const missing = files.path("missing");
  const short = await files.write("short", "hunter2");
  const cases = [
    [{ authTokenFile: missing }, `Cannot read --auth-token-file ${missing}`],
    [{ jwtPublicKeyFile: missing }, `Cannot read --jwt-public-key-file ${missing}`],
    [{ jwtSecretFile: short }, `${short}: HS256 needs a secret of 32 bytes`],
    [{ jwtPublicKeyFile: short }, `${short} holds no public key`],
  ] as const;
  for (const [settings, message] of cases) {
    await assertRejects(() => createAuthenticator({ ...NONE, ...settings }), StartError, message);
  }
});
