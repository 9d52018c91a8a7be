/**
 * Assertions about the report of a check.
 */
import { assert, assertEquals } from "@std/assert";
import { CODES } from "../../lib/check/finding_codes.ts";
import { type Report, runCheck } from "../../lib/check/run_check.ts";
import type { CheckOptions } from "../../lib/check/check_options.ts";
import type { Issued, Pki } from "../support/openssl.ts";
import type { Identity, Server } from "./test_servers.ts";

/** The URL of a test server. */
export function urlOf(scheme: "ws" | "wss", server: Server, path = "/", host = "127.0.0.1"): string {
  return `${scheme}://${host}:${server.port}${path}`;
}

/** Calls `expectReport` and returns nothing. */
export async function expectCodes(options: CheckOptions, codes: readonly string[], exit?: number): Promise<void> {
  await expectReport(options, codes, exit);
}

/**
 * Runs a check, and asserts the codes of its warnings and errors in order, and the exit code. Each code must be in the
 * table, and each warning and error must have a remedy.
 */
export async function expectReport(options: CheckOptions, codes: readonly string[], exit?: number): Promise<Report> {
  const report = await runCheck(options);
  const bad = report.observations.filter(({ level }) => level === "warning" || level === "error");
  assertEquals(bad.map(({ code }) => code), codes, JSON.stringify(report.observations, null, 1));
  assertEquals(report.exit, exit ?? (codes.length === 0 ? 0 : 1));
  for (const { code, remedy } of bad) assert(remedy, `${code} has a remedy`);
  for (const { code } of report.observations) assert(code in CODES, `${code} is not in the table`);
  return report;
}

/** Reads the files of a certificate and a key. */
export async function identityOf(cert: string, key: string): Promise<Identity> {
  return { cert: await Deno.readTextFile(cert), key: await Deno.readTextFile(key) };
}

/** A root, an intermediate and a valid certificate for localhost. */
export interface Authorities {
  readonly root: Issued;
  readonly middle: Issued;
  readonly sound: Issued;
  /** The file of the certificate and its intermediate. */
  readonly full: string;
  /** For the option `ca`. */
  readonly ca: readonly string[];
}

/** Issues a root, an intermediate and a certificate. */
export async function makeAuthorities(pki: Pki): Promise<Authorities> {
  const root = await pki.authority("root");
  const middle = await pki.authority("middle", { issuer: root });
  const sound = await pki.leaf("sound", { issuer: middle });
  const full = await pki.bundle("full.pem", sound.cert, middle.cert);
  return { root, middle, sound, full, ca: [await Deno.readTextFile(root.cert)] };
}

/** Asserts the code of the first problem, and patterns that its fact and remedy contain. */
export function expectFirst(report: Report, code: string, ...patterns: RegExp[]): void {
  assertEquals(report.first?.code, code, JSON.stringify(report, null, 1));
  for (const pattern of patterns) {
    assert(pattern.test(`${report.first?.fact} ${report.first?.remedy}`), report.first?.fact);
  }
}
