/**
 * Decides whether a new chain may replace the current one, by the same rules as loading it.
 * @module
 */
import { createPrivateKey, type X509Certificate } from "node:crypto";
import { StartError } from "../../errors.ts";
import { readCertificates } from "../certificate_files.ts";
import { coversHost, namesOf } from "../x509/certificate_names.ts";
import { inspectAndSort } from "../x509/inspect_chain.ts";

/** Why a new chain cannot be used, and whether it can be when the clock has reached its first day. */
export interface Refusal {
  readonly reason: string;
  readonly usableLater: boolean;
}

/**
 * Examines a chain that an authority has issued.
 * @param keyFile the file of the key that it was requested with
 * @returns undefined if it can be used for the names
 */
export function refuseChain(chain: string, names: readonly string[], keyFile: string): Refusal | undefined {
  let certificates: X509Certificate[];
  try {
    certificates = readCertificates(new TextEncoder().encode(chain), "the authority's response");
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    return { reason: error.message, usableLater: false };
  }
  const leaf = certificates[0]!;
  const covered = namesOf(leaf);
  const missing = names.filter((name) => !coversHost(covered, name));
  if (missing.length > 0) return { reason: `it does not name ${missing.join(", ")}`, usableLater: false };
  if (!matchesKey(leaf, keyFile)) return { reason: "it is for another key", usableLater: false };
  const now = new Date();
  const errors = inspectAndSort(certificates, { now, leaf, sorted: true }).findings
    .filter(({ level }) => level === "error");
  if (errors.length === 0) return undefined;
  const reasons = errors.map(({ code, fact, remedy = "" }) =>
    // Nothing new is expired.
    `${fact} ${
      code === "certificate-expired" ? `The time of this machine is ${now.toISOString()}. Correct the clock.` : remedy
    }`
  );
  return {
    reason: reasons.join(" "),
    usableLater: errors.every(({ code }) => code === "certificate-not-yet-valid"),
  };
}

/** Whether a file has the private key of a certificate. */
export function matchesKey(leaf: X509Certificate, file: string): boolean {
  try {
    return leaf.checkPrivateKey(createPrivateKey(Deno.readTextFileSync(file)));
  } catch {
    return false;
  }
}
