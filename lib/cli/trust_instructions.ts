/**
 * Instructions for trusting the development certificate authority, printed by the command `cert`.
 * @module
 */
import { shellWord } from "../tls/shell_command.ts";

/** The commands that make one system or program trust a certificate authority. */
export interface TrustStep {
  readonly where: string;
  readonly commands: readonly string[];
}

/** Lists the instructions for every supported system and program. */
export function listTrustSteps(file: string): TrustStep[] {
  const word = shellWord(file);
  const backslashed = file.replaceAll("/", "\\");
  const windows = /\s/.test(file) ? `"${backslashed}"` : backslashed;
  return [
    {
      where: "Debian, Ubuntu",
      commands: [
        `sudo cp ${word} /usr/local/share/ca-certificates/wss-development.crt`,
        "sudo update-ca-certificates",
      ],
    },
    {
      where: "Fedora, RHEL",
      commands: [`sudo cp ${word} /etc/pki/ca-trust/source/anchors/wss-development.pem`, "sudo update-ca-trust"],
    },
    {
      where: "macOS (Safari, Chrome)",
      commands: [
        `sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain ${word}`,
      ],
    },
    { where: "Windows (Edge, Chrome), as administrator", commands: [`certutil -addstore -f ROOT ${windows}`] },
    {
      where: "Chrome on Linux (libnss3-tools has certutil)",
      // certutil fails if Chrome has not created the folder yet.
      commands: [
        "mkdir -p $HOME/.pki/nssdb",
        `certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n wss-development -i ${word}`,
      ],
    },
    {
      where: "Firefox",
      commands: [`Settings, Privacy & Security, Certificates, View Certificates, Authorities, Import: ${file}`],
    },
    { where: "curl", commands: [`curl --cacert ${word} https://localhost:8282/`] },
    { where: "Deno", commands: [`DENO_CERT=${word} deno run -A client.ts`, `deno run --cert ${word} -A client.ts`] },
    { where: "Node", commands: [`NODE_EXTRA_CA_CERTS=${word} node client.js`] },
  ];
}

/** Formats the instructions as text, one command per line. */
export function formatTrustInstructions(file: string): string {
  return listTrustSteps(file).map(({ where, commands }) => [where, ...commands.map((line) => `    ${line}`)].join("\n"))
    .join("\n");
}
