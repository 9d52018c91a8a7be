import { assertEquals, assertMatch } from "@std/assert";
import { load } from "../../lib/config/load_settings.ts";
import { type Mode, selectMode } from "../../lib/config/service_mode.ts";
import type { ServiceOptions } from "../../lib/config/serve_options_type.ts";
import { SERVICE_OPTIONS } from "../../lib/config/service_options.ts";
import { UsageError } from "../../lib/errors.ts";

function modeOf(options: ServiceOptions): Mode {
  const { settings, given } = load(SERVICE_OPTIONS, { object: { values: options } });
  return selectMode(settings, given);
}

function acmeOf(options: ServiceOptions) {
  const mode = modeOf(options);
  if (mode.kind !== "direct" || mode.certificate.kind !== "acme") throw new Error("no certificate is obtained");
  return { address: mode.address, acme: mode.certificate.acme };
}

function problemsOf(options: ServiceOptions): readonly string[] {
  try {
    modeOf(options);
  } catch (error) {
    if (error instanceof UsageError) return error.problems;
    throw error;
  }
  throw new Error("nothing was wrong");
}

Deno.test("acme: a domain alone is Let's Encrypt, port 443 on every address, challenges on port 80", () => {
  assertEquals(acmeOf({ domain: ["Example.COM", "example.com", "bücher.example", "2001:DB8::1"] }), {
    address: { transport: "tcp", hostname: "0.0.0.0", port: 443 },
    acme: {
      names: ["example.com", "xn--bcher-kva.example", "2001:db8::1"],
      directory: {
        url: "https://acme-v02.api.letsencrypt.org/directory",
        title: "letsencrypt",
        folder: "letsencrypt",
      },
      caFile: undefined,
      email: undefined,
      agreeTos: false,
      external: undefined,
      profile: undefined,
      httpPort: 80,
    },
  });
  const { address } = acmeOf({ domain: ["example.com"], host: "::", port: 8443 });
  assertEquals(address, { transport: "tcp", hostname: "::", port: 8443 });
});

Deno.test("acme: another authority is a name or an https URL, and has a folder of its own", () => {
  const directoryOf = (acmeDirectory: string) => acmeOf({ domain: ["a.example"], acmeDirectory }).acme.directory;
  assertEquals(
    directoryOf("letsencrypt-staging").url,
    "https://acme-staging-v02.api.letsencrypt.org/directory",
  );
  assertEquals(directoryOf("https://ca.internal:9000/acme/acme/directory"), {
    url: "https://ca.internal:9000/acme/acme/directory",
    title: "ca.internal:9000",
    folder: "ca.internal_9000_acme_acme_directory",
  });
  for (const acmeDirectory of ["http://ca.internal/dir", "letsencript", "https://user@ca.internal/", "../x"]) {
    assertEquals(problemsOf({ domain: ["a.example"], acmeDirectory }), [
      `acmeDirectory: it is letsencrypt, letsencrypt-staging or an https URL, not "${acmeDirectory}"`,
    ]);
  }
});

Deno.test("acme: what cannot be proved, half an external account and no address are refused, all at once", () => {
  const problems = problemsOf({
    domain: ["*.example.com", "a b", "example.com"],
    acmeEabKid: "kid",
    acmeEmail: "root",
  });
  assertEquals(problems.length, 4);
  assertMatch(problems[0]!, /^acmeEabKid is given without --acme-eab-key-file: an external account has both$/);
  assertMatch(problems[1]!, /^acmeEmail: it is one e-mail address \(admin@example\.com\), not "root"$/);
  assertMatch(problems[2]!, /^domain: HTTP-01 cannot prove the wildcard \*\.example\.com: .*--cert and --key$/);
  assertMatch(problems[3]!, /^domain: a DNS name or an address is needed .*, not "a b"$/);
});

Deno.test("acme: a certificate of yours or one that is obtained, and neither behind a proxy", () => {
  assertEquals(problemsOf({ domain: ["a.example"], cert: "c.pem", key: "k.pem" }), [
    "choose one: domain obtains a certificate, cert, key give one of yours",
  ]);
  const [both] = problemsOf({ mode: "proxied", domain: ["a.example"], acmeAgreeTos: true });
  assertMatch(both!, /proxied leaves TLS to the proxy in front, domain, acmeAgreeTos ask for TLS here; drop them /);
  assertEquals(problemsOf({ acmeEmail: "a@example.com", acmeHttpPort: 8080 }), [
    "acmeEmail is given without --domain",
    "acmeHttpPort is given without --domain",
  ]);
});
