import { assertEquals } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { coversHost, namesOf } from "../../../lib/tls/x509/certificate_names.ts";
import { hasOpenssl, openPki } from "../../support/openssl.ts";

const ignore = !await hasOpenssl();

Deno.test("reads DNS, wildcard, IPv4 and IPv6 names of a certificate, and ignores others and the common name", {
  ignore,
}, async () => {
  await using pki = await openPki();
  const names = "DNS:Example.COM,DNS:*.example.com,IP:192.0.2.1,IP:2001:db8:0:0::1,email:a@b.test,URI:http://c.test";
  const { cert } = await pki.leaf("common.test", { names });
  assertEquals(namesOf(new X509Certificate(await Deno.readTextFile(cert))), {
    dns: ["example.com", "*.example.com"],
    addresses: ["192.0.2.1", "2001:db8::1"],
  });
  const none = await pki.leaf("none.test", { names: "" });
  assertEquals(namesOf(new X509Certificate(await Deno.readTextFile(none.cert))), { dns: [], addresses: [] });
});

Deno.test("matches a host by its name, by a wildcard for one label, or by its address", () => {
  const names = { dns: ["example.com", "*.example.com", "*.test"], addresses: ["192.0.2.1", "2001:db8::1"] };
  for (
    const [host, covered] of [
      ["example.com", true],
      ["EXAMPLE.com.", true],
      ["www.example.com", true],
      ["a.www.example.com", false],
      [".example.com", false],
      ["example.org", false],
      ["badexample.com", false],
      ["host.test", false],
      ["192.0.2.1", true],
      ["192.0.2.2", false],
      ["::ffff:192.0.2.1", true],
      ["[2001:DB8::1]", true],
      ["2001:db8::2", false],
      ["*.example.com", false],
    ] as const
  ) assertEquals(coversHost(names, host), covered, host);
});
