import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { buildUrl } from "../../lib/service/validate_settings.ts";
import { developmentMaterial } from "../../lib/tls/development_certificate.ts";
import { loadCertificateFiles } from "../../lib/tls/certificate_files.ts";
import { openssl } from "../support/openssl.ts";

const direct = {
  kind: "direct",
  certificate: { kind: "development" },
  address: { transport: "tcp", hostname: "", port: 0 },
} as const;

Deno.test("buildUrl: uses a name that the certificate is valid for", async () => {
  const folder = await Deno.makeTempDir({ prefix: "wss-setup-" });
  try {
    const material = async (name: string) => {
      const [key, cert] = [join(folder, "k.pem"), join(folder, "c.pem")];
      await openssl([
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90"],
        ...["-subj", "/CN=x", "-addext", `subjectAltName=${name}`, "-keyout", key, "-out", cert],
      ]);
      return loadCertificateFiles({ cert, key });
    };
    const at = (hostname: string) => ({ transport: "tcp", hostname, port: 8443 }) as const;
    const domain = await material("DNS:ws.example.com,DNS:*.example.org");
    const wildcard = await material("DNS:*.example.com");
    const address = await material("IP:192.0.2.7,DNS:ws.example.com");
    const ipv6 = await material("IP:2001:db8::7");
    const development = await developmentMaterial({ folder });
    for (
      const [hostname, certificate, url] of [
        ["0.0.0.0", domain, "wss://ws.example.com:8443/"],
        ["192.0.2.7", domain, "wss://ws.example.com:8443/"],
        ["ws.example.com", domain, "wss://ws.example.com:8443/"],
        ["a.example.org", domain, "wss://a.example.org:8443/"],
        ["::", wildcard, "wss://www.example.com:8443/"],
        ["192.0.2.7", address, "wss://192.0.2.7:8443/"],
        ["0.0.0.0", ipv6, "wss://[2001:db8::7]:8443/"],
        ["2001:db8::7", ipv6, "wss://[2001:db8::7]:8443/"],
        ["127.0.0.1", development, "wss://localhost:8443/"],
        ["::", development, "wss://localhost:8443/"],
      ] as const
    ) assertEquals(buildUrl(at(hostname), direct, "/", certificate), url, `${hostname} ${certificate.names}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
