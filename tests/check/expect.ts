/**
 * What every test of an endpoint asks: which codes above a note, in which order, with which exit code.
 */
import { assert, assertEquals } from "@std/assert";
import { CODES } from "../../lib/check/finding_codes.ts";
import { type Report, runCheck } from "../../lib/check/run_check.ts";
import type { CheckOptions } from "../../lib/check/check_target.ts";
import type { Issued, Pki } from "../support/openssl.ts";
import type { Identity, Server } from "./test_servers.ts";

/** The URL of a test server. */
export function urlOf(scheme: "ws" | "wss", server: Server, path = "/", host = "127.0.0.1"): string {
  return `${scheme}://${host}:${server.port}${path}`;
}

/** As `expectReport`, for tests that need no more. */
export async function expectCodes(options: CheckOptions, codes: readonly string[], exit?: number): Promise<void> {
  await expectReport(options, codes, exit);
}

/** Checks, and asserts the codes above a note, that each is in the table and has a remedy, and the exit code. */
export async function expectReport(options: CheckOptions, codes: readonly string[], exit?: number): Promise<Report> {
  const report = await runCheck(options);
  const bad = report.observations.filter(({ level }) => level === "warning" || level === "error");
  assertEquals(bad.map(({ code }) => code), codes, JSON.stringify(report.observations, null, 1));
  assertEquals(report.exit, exit ?? (codes.length === 0 ? 0 : 1));
  for (const { code, remedy } of bad) assert(remedy, `${code} has a remedy`);
  for (const { code } of report.observations) assert(code in CODES, `${code} is in the table`);
  return report;
}

/** The text of a certificate's and a key's file. */
export async function identityOf(cert: string, key: string): Promise<Identity> {
  return { cert: await Deno.readTextFile(cert), key: await Deno.readTextFile(key) };
}

/** A root, an intermediate and a good certificate for localhost. */
export interface Authorities {
  readonly root: Issued;
  readonly middle: Issued;
  readonly sound: Issued;
  /** The file of the certificate and its intermediate. */
  readonly full: string;
  /** For the option `ca`. */
  readonly ca: readonly string[];
}

/** Makes a chain of three. */
export async function makeAuthorities(pki: Pki): Promise<Authorities> {
  const root = await pki.authority("root");
  const middle = await pki.authority("middle", { issuer: root });
  const sound = await pki.leaf("sound", { issuer: middle });
  const full = await pki.bundle("full.pem", sound.cert, middle.cert);
  return { root, middle, sound, full, ca: [await Deno.readTextFile(root.cert)] };
}

/** What the first finding has to be, and to tell. */
export function expectFirst(report: Report, code: string, ...tells: RegExp[]): void {
  assertEquals(report.first?.code, code, JSON.stringify(report, null, 1));
  for (const pattern of tells) {
    assert(pattern.test(`${report.first?.fact} ${report.first?.remedy}`), report.first?.fact);
  }
}
