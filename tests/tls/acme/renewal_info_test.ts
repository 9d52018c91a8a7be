import { assert, assertEquals, assertMatch } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { backoff, certificateId, defaultRenewalTime, randomRenewalTime } from "../../../lib/tls/acme/renewal_info.ts";
import { AcmeError, FailedValidations, readProblem } from "../../../lib/tls/acme/acme_error.ts";
import { parseRetryAfter } from "../../../lib/tls/acme/acme_client.ts";
import { reasonOf, timeLimit } from "../../../lib/tls/acme/authority_timeout.ts";
import { createAuthority, issueCertificate } from "../../../lib/tls/issue_certificate.ts";

const MINUTE = 60_000;
const DAY = 86_400_000;

/** Creates a certificate for 90 days with the given serial number and authority key identifier. */
async function certificateWith(serialNumber: string, keyId: string | undefined, days = 90): Promise<X509Certificate> {
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const notBefore = new Date("2026-01-01T00:00:00Z");
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber,
    subject: "CN=a.example",
    issuer: "CN=authority",
    notBefore,
    notAfter: new Date(notBefore.getTime() + days * DAY),
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm: algorithm,
    extensions: keyId === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(keyId, false)],
  });
  return new X509Certificate(certificate.toString("pem"));
}

Deno.test("renewal: computes the certificate identifier of the example in RFC 9773 section 4.1", async () => {
  const example = await certificateWith("8765432100".slice(0, 8), "69885b6b87464041e1b37b847ba0ae2cde01c8d4");
  assertEquals(certificateId(example), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
  const low = await certificateWith("0765432100".slice(0, 8), "69885b6b87464041e1b37b847ba0ae2cde01c8d4");
  assertEquals(certificateId(low), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.B2VDIQ");
  assertEquals(certificateId(await certificateWith("01", undefined)), undefined);
  const own = new X509Certificate(
    (await issueCertificate(await createAuthority(new Date()), ["a.example"], new Date())).cert,
  );
  assertMatch(certificateId(own)!, /^[\w-]{27}\.[\w-]{22}$/);
});

Deno.test("renewal: defaults to two thirds of the lifetime, minus a random part of a twentieth", async () => {
  for (const days of [1, 6, 45, 90, 397]) {
    const certificate = await certificateWith("01", undefined, days);
    const at = (random: number) =>
      (defaultRenewalTime(certificate, random).getTime() - Date.parse("2026-01-01T00:00:00Z")) / DAY;
    assert(Math.abs(at(0) - days * 2 / 3) < 0.001);
    assert(Math.abs(at(0.999999) - days * (2 / 3 - 0.05)) < 0.001);
  }
  const window = { start: new Date(1000), end: new Date(3000), explanation: undefined, askAgain: 0 };
  assertEquals(randomRenewalTime(window, 0.5), new Date(2000));
});

Deno.test("renewal: waits from one minute to six hours after failures, and at least the authority's Retry-After", () => {
  const waits = Array.from({ length: 12 }, (_, at) => backoff(at + 1, undefined, 0.5) / MINUTE);
  assertEquals(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360]);
  assertEquals([backoff(1, undefined, 0), backoff(1, undefined, 1)], [0.8 * MINUTE, 1.2 * MINUTE]);
  assertEquals(backoff(1000, undefined, 0.5), 360 * MINUTE);
  assertEquals(backoff(1, DAY, 0.5), DAY);
  assertEquals(backoff(1, 1000, 0.5), MINUTE);
});

Deno.test("parses Retry-After as seconds or a date", () => {
  const after = (text: string) =>
    parseRetryAfter(new Headers({ "retry-after": text }), Date.parse("2026-01-01T00:00:00Z"));
  assertEquals(after("120"), 120_000);
  assertEquals(after("Thu, 01 Jan 2026 00:01:00 GMT"), 60_000);
  assertEquals(after("Wed, 31 Dec 2025 00:00:00 GMT"), 0);
  assertEquals(after("soon"), undefined);
  assertEquals(parseRetryAfter(new Headers()), undefined);
});

Deno.test("formats a problem with type, detail, subproblems and remedy, and sanitizes the authority's text", () => {
  const of = (text: string, status = 400, name?: string) =>
    new AcmeError(readProblem(text, status), { status, name }).message;
  const urn = "urn:ietf:params:acme:error:";
  assertEquals(
    of(JSON.stringify({ type: `${urn}caa`, detail: "CAA record for a.example prevents issuance" }), 403, "a.example"),
    "a.example: the domain's CAA record does not allow this authority (caa); CAA record for a.example prevents " +
      "issuance; change the CAA record, or choose the authority that it names with --acme-directory",
  );
  const subproblems = [{ type: `${urn}malformed`, detail: "bad", identifier: { type: "dns", value: "b.example" } }, 7];
  assertMatch(
    of(JSON.stringify({ type: `${urn}rejectedIdentifier`, subproblems })),
    /\); b\.example: bad; check --domain; for an IP address /,
  );
  assertMatch(
    of(JSON.stringify({ type: `${urn}userActionRequired`, instance: "https://a.example/terms" })),
    /; open https:\/\/a\.example\/terms$/,
  );
  const unauthorized = JSON.stringify({ type: `${urn}unauthorized`, detail: "not your certificate" });
  assertEquals(
    of(unauthorized, 403),
    "the authority does not allow this account to do this (unauthorized); not your certificate",
  );
  assertMatch(of(unauthorized, 403, "a.example"), /^a\.example: .* belongs to this machine \(unauthorized\); not your/);
  assertEquals(of(JSON.stringify({ type: "about:blank", detail: "no" })), "the authority refused (about:blank); no");
  assertEquals(of(JSON.stringify({ type: `${urn}toString` })), "the authority refused (toString)");
  assertMatch(of("<html>\u001b[31m", 502), /\(unexpected\); status 502: <html>\\u001b\[31m$/);
  assert(of(JSON.stringify({ type: "x", detail: "y".repeat(5000) })).length < 500);
  assertMatch(of("null"), /\(unexpected\)/);
  assertMatch(of('{"type": "x", "detail": {}, "subproblems": {}}'), /^the authority refused \(x\)$/);
});

Deno.test("aborts a time limit at its end or with its parent, and never after it is disposed of", async () => {
  const parent = new AbortController();
  {
    using limit = timeLimit(10, parent.signal);
    await new Promise((resolve) => limit.signal.addEventListener("abort", resolve));
    assertEquals(reasonOf(limit.signal.reason, limit), "it did not finish within 10ms");
  }
  using limit = timeLimit(60_000, parent.signal);
  assertEquals(reasonOf(new Error("no"), limit), "no");
  parent.abort(new Error("the service stops"));
  assertEquals(limit.signal.reason.message, "the service stops");
  using late = timeLimit(60_000, parent.signal);
  assert(late.signal.aborted);
});

Deno.test("combines failed validations of several names into one error", () => {
  const one = (name: string) => new AcmeError({ type: "urn:ietf:params:acme:error:dns", detail: "NXDOMAIN" }, { name });
  const error = new FailedValidations([one("a.example"), one("b.example")]);
  assertEquals([error.names, error.type], [["a.example", "b.example"], "dns"]);
  assertEquals(error.message.split("\n").map((line) => line.split(":")[0]), ["a.example", "b.example"]);
});
