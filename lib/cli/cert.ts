/**
 * `cert`: makes the development authority and certificate, and says how to trust them.
 * @module
 */
import { load } from "../config/load_settings.ts";
import type { OptionTable } from "../config/option_table.ts";
import { messageOf } from "../errors.ts";
import { developmentMaterial, developmentName, type DevelopmentTlsMaterial } from "../tls/development.ts";
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
    help: "A further DNS name or address that the certificate is for.",
  },
  force: {
    type: "switch",
    default: false,
    help: "Make authority and certificate anew though good ones are there; trust must then be given again.",
  },
} as const satisfies OptionTable;

/** The command. */
export const certCommand: Command = {
  name: "cert",
  usage: "",
  summary: "makes the development CA and certificate, and says how to trust them",
  details:
    "Files that are there and good are kept. Whoever has ca.key can pass for any site to those who trust ca.pem: " +
    "keep it to yourself, and trust it on machines for development only.",
  examples: [
    ["wss cert", "make them in certs/, or show those that are there"],
    ["wss cert --name dev.example.test --name 192.0.2.7", "for a further name and an address"],
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
      developmentName(name);
    } catch (error) {
      problems.push(`--name: ${messageOf(error)}`);
    }
  }
  // The service's variables and file do not concern this command.
  const { settings } = load(CERT_OPTIONS, { flags: line.flags }, problems);
  const material = await developmentMaterial({ folder: settings.folder, names: settings.name, force: settings.force });
  write("stdout", certReport(material));
  return 0;
}

/** What the command prints. */
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
