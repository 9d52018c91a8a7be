import { assertEquals, assertMatch } from "@std/assert";
import { loadSettings } from "../../lib/config/load_settings.ts";
import { type Mode, selectMode } from "../../lib/config/service_mode.ts";
import type { ServiceOptions } from "../../lib/config/service_options_type.ts";
import { SERVICE_OPTIONS } from "../../lib/config/service_options.ts";
import { UsageError } from "../../lib/errors.ts";

function modeOf(options: ServiceOptions): Mode {
  const { settings, given } = loadSettings(SERVICE_OPTIONS, { object: { values: options } });
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
  throw new Error("no problem was reported");
}

Deno.test("ACME: a domain alone selects Let's Encrypt, port 443 on all addresses, and port 80 for challenges", () => {
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

Deno.test("ACME: --acme-directory accepts a name or an https URL, and each directory has its own folder", () => {
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
      `acmeDirectory: must be letsencrypt, letsencrypt-staging or an https URL, not "${acmeDirectory}"`,
    ]);
  }
});

Deno.test("ACME: invalid names, an incomplete external account and an invalid e-mail address are reported together", () => {
  const problems = problemsOf({
    domain: ["*.example.com", "a b", "example.com"],
    acmeEabKid: "kid",
    acmeEmail: "root",
  });
  assertEquals(problems.length, 4);
  assertMatch(problems[0]!, /^acmeEabKid requires --acme-eab-key-file: an external account needs both$/);
  assertMatch(problems[1]!, /^acmeEmail: must be one e-mail address \(admin@example\.com\), not "root"$/);
  assertMatch(problems[2]!, /^domain: HTTP-01 cannot validate the wildcard \*\.example\.com: .*--cert and --key$/);
  assertMatch(problems[3]!, /^domain: a DNS name or an address is required .*, not "a b"$/);
});

Deno.test("ACME: --domain cannot be combined with --cert or --mode proxied, and the other options require --domain", () => {
  assertEquals(problemsOf({ domain: ["a.example"], cert: "c.pem", key: "k.pem" }), [
    "domain cannot be combined with cert, key: the service either obtains a certificate or uses yours",
  ]);
  const [both] = problemsOf({ mode: "proxied", domain: ["a.example"], acmeAgreeTos: true });
  assertMatch(both!, /proxied cannot be combined with domain, acmeAgreeTos: the proxy in front terminates TLS; /);
  assertEquals(problemsOf({ acmeEmail: "a@example.com", acmeHttpPort: 8080 }), [
    "acmeEmail requires --domain",
    "acmeHttpPort requires --domain",
  ]);
});
