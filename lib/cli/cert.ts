/**
 * `cert`: makes the development authority and certificate and says how to trust them, or obtains one by ACME.
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
import { write } from "./output.ts";
import { howToTrust } from "./trust_ca.ts";

/** The options of `cert`. */
export const CERT_OPTIONS = {
  folder: { type: "path", value: "DIR", default: "certs", help: "Where the files are; serve looks in certs." },
  name: {
    type: "text",
    value: "NAME",
    repeat: true,
    default: [],
    help: "A further DNS name or address that the development certificate is for.",
  },
  force: {
    type: "switch",
    default: false,
    help: "Make authority and certificate anew though good ones are there; trust must then be given again. " +
      "With --domain: renew though it is not due.",
  },
  ...ACME_OPTIONS,
  domain: {
    ...ACME_OPTIONS.domain,
    help: "Obtain the certificate for this name by ACME, or renew it where that is due, in place of a development one.",
  },
  host: {
    type: "text",
    value: "ADDRESS",
    default: "0.0.0.0",
    help: "With --domain: the address on which challenges are answered; :: is IPv6 and IPv4 together.",
  },
  out: {
    type: "path",
    value: "DIR",
    help: "With --domain: write fullchain.pem and privkey.pem there, for a server in front.",
  },
} as const satisfies OptionTable;

type CertSettings = Values<typeof CERT_OPTIONS>;

/** The command. */
export const certCommand: Command = {
  name: "cert",
  usage: "",
  summary: "makes the development certificate, or obtains one for a domain",
  details:
    "With --domain it obtains a certificate by ACME, or renews it where that is due, and exits: for cron, and for nginx " +
    "or Apache in front. Port 80 of each name must lead to --acme-http-port meanwhile. A service that runs with the same " +
    "--domain renews by itself.\n" +
    "Without it, a development authority and certificate are made; files that are there and good are kept. " +
    "Whoever has ca.key can pass for any site to those who trust ca.pem: " +
    "keep it to yourself, and trust it on machines for development only.",
  examples: [
    ["wss cert", "make them in certs/, or show those that are there"],
    ["wss cert --name dev.example.test --name 192.0.2.7", "for a further name and an address"],
    [
      "wss cert --domain example.com --acme-agree-tos --out /etc/nginx/tls",
      "obtain or renew one for a server in front",
    ],
  ],
  options: CERT_OPTIONS,
  run,
};

async function run(line: Invocation): Promise<number> {
  const problems = [...line.problems];
  if (line.positionals.length > 0) {
    problems.push(`cert takes no arguments, and was given ${line.positionals.join(" ")}; names are given by --name`);
  }
  for (const name of line.flags.get("name") ?? []) {
    try {
      canonicalHost(name);
    } catch (error) {
      problems.push(`--name: ${messageOf(error)}`);
    }
  }
  // This command does not read the service's variables and file.
  const { settings } = loadSettings(CERT_OPTIONS, { flags: line.flags }, problems, (settings, given) => {
    const mistakes: string[] = [];
    const acme = parseAcmeOptions(settings, given, mistakes);
    const development = acme === undefined ? ["host", "out"] as const : ["name"] as const;
    for (const key of development) {
      if (!given.has(key)) continue;
      mistakes.push(
        acme === undefined
          ? `${given.get(key)} requires --domain`
          : `${given.get(key)} cannot be combined with ${given.get("domain")}: it is for the development certificate`,
      );
    }
    if (mistakes.length > 0) throw new UsageError(mistakes);
  });
  const acme = parseAcmeOptions(settings, new Map(), []);
  if (acme !== undefined) return await obtainCertificate(acme, settings);
  const material = await developmentMaterial({ folder: settings.folder, names: settings.name, force: settings.force });
  write("stdout", certReport(material));
  return 0;
}

async function obtainCertificate(acme: AcmeSettings, settings: CertSettings): Promise<number> {
  const { host, folder, force, out } = settings;
  const log = createLogger();
  const parts = await createAcmeSource(acme, host, log, folder);
  await using source = parts.source;
  const { material, renewed } = await source.runOnce(force);
  const { file, names, notAfter } = material;
  write("stdout", `certificate  ${file} (${renewed ? "new" : "was there"}), until ${notAfter.toISOString()}\n`);
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

/** The output of the command. */
export function certReport(material: DevelopmentTlsMaterial): string {
  const { authority, authorityFile, file, names, notAfter, made, authorityMade } = material;
  const state = (fresh: boolean) => fresh ? "made now" : "was there";
  const day = (date: Date) => date.toISOString().slice(0, 10);
  return [
    `authority    ${authorityFile} (${state(authorityMade)}), until ${day(validityOf(authority).to)}`,
    `             SHA-256 ${authority.fingerprint256}`,
    `certificate  ${file} (${state(made)}), until ${day(notAfter)}; renewed by itself`,
    `             for ${names.join(", ")}`,
    "",
    `To trust the authority${made && !authorityMade ? " (where that was done before, it holds)" : ""}:`,
    howToTrust(authorityFile),
    "",
  ].join("\n");
}
