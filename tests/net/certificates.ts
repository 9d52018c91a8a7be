/**
 * Makes a CA and its certificates for 127.0.0.1.
 * @module
 */
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export interface TestCertificate {
  readonly cert: string;
  readonly key: string;
  readonly serial: string;
}

function keys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

/** Makes a CA. Its `issue` makes a leaf certificate with the given hexadecimal serial number. */
export async function testAuthority(): Promise<{ ca: string; issue(serial: string): Promise<TestCertificate> }> {
  const authority = await keys();
  const notBefore = new Date(Date.now() - 60_000);
  const notAfter = new Date(Date.now() + 3_600_000);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: "CN=net test CA",
    notBefore,
    notAfter,
    keys: authority,
    signingAlgorithm: ALGORITHM,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  return {
    ca: root.toString("pem"),
    async issue(serial) {
      const pair = await keys();
      const leaf = await x509.X509CertificateGenerator.create({
        serialNumber: serial,
        subject: "CN=localhost",
        issuer: root.subject,
        notBefore,
        notAfter,
        publicKey: pair.publicKey,
        signingKey: authority.privateKey,
        signingAlgorithm: ALGORITHM,
        extensions: [
          new x509.SubjectAlternativeNameExtension([
            { type: "dns", value: "localhost" },
            { type: "ip", value: "127.0.0.1" },
          ]),
        ],
      });
      const pkcs8 = await crypto.subtle.exportKey("pkcs8", pair.privateKey);
      const key = x509.PemConverter.encode(pkcs8, "PRIVATE KEY");
      return { cert: leaf.toString("pem"), key, serial };
    },
  };
}
