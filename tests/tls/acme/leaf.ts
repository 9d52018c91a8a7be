/**
 * Certificates for a given key with given dates, which Pebble does not issue.
 * @module
 */
import "reflect-metadata";
import { Buffer } from "node:buffer";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from "@peculiar/x509";
import { createAuthority } from "../../../lib/tls/issue_certificate.ts";
import type { Front, FrontRequest } from "./pebble.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** What {@link issueLeaf} issues. */
export interface Leaf {
  /** The public key, DER. */
  readonly publicKey: Uint8Array;
  readonly names: readonly string[];
  readonly from: Date;
  readonly to: Date;
}

/** Issues a certificate of an unknown authority, PEM. */
export async function issueLeaf({ publicKey, names, from, to }: Leaf): Promise<string> {
  const authority = await createAuthority(new Date());
  const issuer = createPrivateKey(authority.key).export({ type: "pkcs8", format: "der" });
  const leaf = await X509CertificateGenerator.create({
    serialNumber: crypto.getRandomValues(new Uint8Array(8)).toHex(),
    subject: "",
    issuer: "CN=authority",
    notBefore: from,
    notAfter: to,
    publicKey: await crypto.subtle.importKey("spki", new Uint8Array(publicKey), ALGORITHM, true, ["verify"]),
    signingKey: await crypto.subtle.importKey("pkcs8", new Uint8Array(issuer), ALGORITHM, false, ["sign"]),
    signingAlgorithm: ALGORITHM,
    extensions: [new SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns" as const, value })))],
  });
  return leaf.toString("pem") + "\n";
}

/**
 * Answers a request for a certificate with one for the same key and other dates, as if the clocks of the authority and
 * this machine differed.
 * @param from milliseconds from now
 * @param to milliseconds from now
 */
export async function answerDated({ pass }: FrontRequest, from: number, to: number): Promise<Response> {
  const response = await pass();
  const given = new X509Certificate(Buffer.from(await response.text()));
  const publicKey = new Uint8Array(given.publicKey.export({ type: "spki", format: "der" }));
  const names = given.subjectAltName!.split(", ").map((name) => name.replace(/^DNS:/, ""));
  const dated = await issueLeaf({
    publicKey,
    names,
    from: new Date(Date.now() + from),
    to: new Date(Date.now() + to),
  });
  return new Response(dated, response);
}

/** A handler in front of Pebble whose certificates have the dates that `dates` returns; Pebble's own if undefined. */
export function dating(dates: () => readonly [from: number, to: number] | undefined): Front {
  return (request) => {
    const given = request.kind === "certificate" ? dates() : undefined;
    return given && answerDated(request, ...given);
  };
}
