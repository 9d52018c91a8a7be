import { assert, assertEquals, assertThrows } from "@std/assert";
import { StartError } from "../../lib/errors.ts";
import { findSharedSecret, parseSecrets, type SharedSecrets } from "../../lib/auth/shared_secrets.ts";

const isSharedSecret = (token: string, secrets: SharedSecrets) => findSharedSecret(token, secrets) !== undefined;

const FIRST = "f".repeat(64);
const SECOND = "0123456789abcdefghijkl";
const THIRD = "Third_secret.with~all-1";

Deno.test("each line is a secret; comments, blank lines and white space at its end are ignored", () => {
  const secrets = parseSecrets(`# ours\n${FIRST}\r\n\n${SECOND} \t\n  \n#${THIRD}x\n${THIRD}`, "tokens");
  const warning = "tokens line 4: white space at its end is not part of the secret";
  assertEquals([secrets.digests.length, secrets.warnings], [3, [warning]]);
  for (const secret of [FIRST, SECOND, THIRD]) assert(isSharedSecret(secret, secrets), secret);
  const wrong = ["", " ", "# ours", FIRST + "f", FIRST.slice(1), SECOND + " ", THIRD.toUpperCase(), THIRD + "x"];
  for (const text of wrong) assertEquals(isSharedSecret(text, secrets), false, text);
});

Deno.test("does not keep the text of the secrets", () => {
  assert(!Deno.inspect(parseSecrets(FIRST, "tokens"), { depth: 9 }).includes("ffff"));
});

Deno.test("a line that cannot be a token is an error that names the line but not the secret", () => {
  for (const bad of ["two words of it", " leading", "a=b", "ümlaut", "x".repeat(8 * 1024 + 1)]) {
    const error = assertThrows(() => parseSecrets(`${FIRST}\n${bad}\n`, "tokens"), StartError, "tokens line 2: ");
    assert(!String(error.message).includes(bad.trim()));
  }
});

Deno.test("a file without a secret is an error", () => {
  assertThrows(() => parseSecrets("# none\n\n", "tokens"), StartError, "tokens contains no secret");
});

Deno.test("warns about a secret that can be guessed or that no browser can send, and names its line", () => {
  const { warnings } = parseSecrets(`hunter2\n${SECOND}==\n`, "tokens");
  assertEquals(warnings.length, 2);
  assert(warnings[0]?.startsWith("tokens line 1: a secret of 7 characters can be guessed"));
  assert(warnings[1]?.startsWith("tokens line 2: a secret with / or = cannot be a subprotocol"));
  assert(!warnings.join().includes("hunter2"));
});
