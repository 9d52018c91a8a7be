/**
 * `cert`: creates the development certificate and prints how to trust it, or obtains a certificate by ACME.
 * @module
 */
import { join } from "node:path";
import { ACME_OPTIONS, type AcmeSettings, parseAcmeOptions } from "../config/acme_options.ts";
import { loadSettings } from "../config/load_settings.ts";
import type { OptionTable, Values } from "../config/option_table.ts";
import { messageOf, StartError, UsageError } from "../errors.ts";
import { canonicalHost } from "../host_name.ts";
import { createLogger } from "../log.ts";
import { createAcmeSource } from "../service/create_certificate_source.ts";
import { writeAtomically } from "../tls/atomic_write.ts";
import { developmentMaterial, type DevelopmentTlsMaterial } from "../tls/development_certificate.ts";
import { validityOf } from "../tls/x509/inspect_chain.ts";
import type { Command, Invocation } from "./command_type.ts";
import { write } from "./standard_streams.ts";
import { formatTrustInstructions } from "./trust_instructions.ts";

/** The options of `cert`. */
export const CERT_OPTIONS = {
  folder: { type: "path", value: "DIR", default: "certs", help: "The folder of the files; serve uses certs." },
  name: {
    type: "text",
    value: "NAME",
    repeat: true,
    default: [],
    help: "An additional DNS name or address for the development certificate.",
  },
  force: {
    type: "switch",
    default: false,
    help: "Replace a valid certificate authority and certificate; clients must then trust the new authority. " +
      "With --domain: renew even if the renewal is not due.",
  },
  ...ACME_OPTIONS,
  domain: {
    ...ACME_OPTIONS.domain,
    help:
      "Obtain a certificate for this name by ACME, or renew it if that is due, instead of a development certificate.",
  },
  host: {
    type: "text",
    value: "ADDRESS",
    default: "0.0.0.0",
    help: "With --domain: the address to bind for challenges. :: accepts IPv6 and IPv4.",
  },
  out: {
    type: "path",
    value: "DIR",
    help: "With --domain: also write fullchain.pem and privkey.pem to this folder, for a server in front.",
  },
} as const satisfies OptionTable;

type CertSettings = Values<typeof CERT_OPTIONS>;

/** The command. */
export const certCommand: Command = {
  name: "cert",
  usage: "",
  summary: "creates the development certificate, or obtains one for a domain",
  details:
    "With --domain it obtains a certificate by ACME, or renews it if that is due, and exits: for cron, and for nginx or " +
    "Apache in front. Meanwhile port 80 of each name must lead to --acme-http-port. A running service with the same " +
    "--domain renews its certificate automatically.\n" +
    "Without --domain it creates a development certificate authority and a certificate; valid files are kept. Anyone " +
    "with ca.key can impersonate any site to clients that trust ca.pem. Keep ca.key secret, and trust ca.pem only on " +
    "development machines.",
  examples: [
    ["wss cert", "create the files in certs/, or show the existing ones"],
    ["wss cert --name dev.example.test --name 192.0.2.7", "for an additional name and an address"],
    [
      "wss cert --domain example.com --acme-agree-tos --out /etc/nginx/tls",
      "obtain or renew a certificate for a server in front",
    ],
  ],
  options: CERT_OPTIONS,
  run,
};

async function run(line: Invocation): Promise<number> {
  const problems = [...line.problems];
  if (line.positionals.length > 0) {
    problems.push(`cert takes no arguments, but got ${line.positionals.join(" ")}; use --name for names`);
  }
  for (const name of line.flags.get("name") ?? []) {
    try {
      canonicalHost(name);
    } catch (error) {
      problems.push(`--name: ${messageOf(error)}`);
    }
  }
  // This command does not read the variables and the configuration file of the service.
  const { settings } = loadSettings(CERT_OPTIONS, { flags: line.flags }, problems, (settings, given) => {
    const errors: string[] = [];
    const acme = parseAcmeOptions(settings, given, errors);
    const development = acme === undefined ? ["host", "out"] as const : ["name"] as const;
    for (const key of development) {
      if (!given.has(key)) continue;
      errors.push(
        acme === undefined
          ? `${given.get(key)} requires --domain`
          : `${given.get(key)} cannot be combined with ${given.get("domain")}: it is for the development certificate`,
      );
    }
    if (errors.length > 0) throw new UsageError(errors);
  });
  const acme = parseAcmeOptions(settings, new Map(), []);
  if (acme !== undefined) return await obtainCertificate(acme, settings);
  const material = await developmentMaterial({ folder: settings.folder, names: settings.name, force: settings.force });
  write("stdout", formatCertReport(material));
  return 0;
}

async function obtainCertificate(acme: AcmeSettings, settings: CertSettings): Promise<number> {
  const { host, folder, force, out } = settings;
  const log = createLogger();
  const parts = await createAcmeSource(acme, host, log, folder);
  await using source = parts.source;
  const { material, renewed } = await source.runOnce(force);
  const { file, names, notAfter } = material;
  write("stdout", `certificate  ${file} (${renewed ? "new" : "kept"}), until ${notAfter.toISOString()}\n`);
  write("stdout", `             for ${names.join(", ")}\n`);
  if (out !== undefined) {
    const [cert, key] = [join(out, "fullchain.pem"), join(out, "privkey.pem")];
    try {
      await Deno.mkdir(out, { recursive: true });
      // A server that reads between the two writes refuses the pair and keeps its current one.
      writeAtomically(key, material.key, 0o600);
      writeAtomically(cert, material.cert, 0o644);
    } catch (error) {
      throw new StartError(`Cannot write the certificate to ${out}: ${messageOf(error)}`, { cause: error });
    }
    write("stdout", `written to   ${cert} and ${key}\n`);
  }
  return 0;
}

/** Formats the output for a development certificate. */
export function formatCertReport(material: DevelopmentTlsMaterial): string {
  const { authority, authorityFile, file, names, notAfter, made, authorityMade } = material;
  const state = (created: boolean) => created ? "new" : "kept";
  const formatDay = (date: Date) => date.toISOString().slice(0, 10);
  return [
    `authority    ${authorityFile} (${state(authorityMade)}), until ${formatDay(validityOf(authority).to)}`,
    `             SHA-256 ${authority.fingerprint256}`,
    `certificate  ${file} (${state(made)}), until ${formatDay(notAfter)}; renewed automatically`,
    `             for ${names.join(", ")}`,
    "",
    `To trust the authority${made && !authorityMade ? " (not needed again if you did it before)" : ""}:`,
    formatTrustInstructions(authorityFile),
    "",
  ].join("\n");
}
