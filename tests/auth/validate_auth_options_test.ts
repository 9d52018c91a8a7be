import { assertEquals } from "@std/assert";
import { type AuthSettings, validateAuthOptions } from "../../lib/auth/validate_auth_options.ts";
import { NONE } from "./signing.ts";

const GOOD: readonly Partial<AuthSettings>[] = [
  {},
  { authTokenFile: "tokens", authQuery: true },
  { jwtSecretFile: "secret", jwtAudience: "chat", jwtIssuer: "us" },
  { jwtPublicKeyFile: "key.pem" },
  { jwksUrl: "https://id.example.com/jwks?x=1" },
  { jwksUrl: "http://localhost:8080/jwks" },
  { jwksUrl: "http://[::1]/jwks" },
];

Deno.test("reports no problem for valid combinations", () => {
  for (const settings of GOOD) {
    assertEquals(validateAuthOptions({ ...NONE, ...settings }), [], JSON.stringify(settings));
  }
});

Deno.test("two kinds of key are a problem that names both options as they were given", () => {
  const given = new Map([["authTokenFile", "WSS_AUTH_TOKEN_FILE"], ["jwksUrl", "wss.json: jwksUrl"]]);
  assertEquals(validateAuthOptions({ ...NONE, authTokenFile: "t", jwksUrl: "https://id.example.com/" }, given), [
    "choose one: WSS_AUTH_TOKEN_FILE, wss.json: jwksUrl; a token is either a shared secret or a JWT, checked with one " +
    "kind of key",
  ]);
});

Deno.test("reports all options that require another option, and names that option", () => {
  const settings = { ...NONE, jwtAudience: "chat", jwtIssuer: "us", authQuery: true };
  assertEquals(validateAuthOptions(settings), [
    "--jwt-audience requires a key for JWTs: --jwt-secret-file, --jwt-public-key-file or --jwks-url",
    "--jwt-issuer requires a key for JWTs: --jwt-secret-file, --jwt-public-key-file or --jwks-url",
    "--auth-query requires a way to check tokens: --auth-token-file, --jwt-secret-file, --jwt-public-key-file " +
    "or --jwks-url",
  ]);
  assertEquals(validateAuthOptions({ ...NONE, authTokenFile: "t", jwtAudience: "chat" }).length, 1);
});

Deno.test("the URL of a key set requires https, unless it is on this machine", () => {
  for (const jwksUrl of ["http://id.example.com/", "http://127.example.com/", "ftp://localhost/", "id.example.com"]) {
    const [problem, ...rest] = validateAuthOptions({ ...NONE, jwksUrl });
    assertEquals([problem?.startsWith("--jwks-url: an https URL is required"), rest.length], [true, 0], jwksUrl);
  }
  const [problem = ""] = validateAuthOptions({ ...NONE, jwksUrl: "https://me:pass@id.example.com/" });
  assertEquals(problem, "--jwks-url: a URL without user name and password is required");
});
