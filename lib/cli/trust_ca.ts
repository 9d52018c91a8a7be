/**
 * How to make programs trust the development authority: what the command `cert` prints.
 * @module
 */
import { shellWord } from "../tls/shell_command.ts";

/** One system or program, and the commands that make it trust an authority. */
export interface TrustStep {
  readonly where: string;
  readonly commands: readonly string[];
}

/** Every way to trust the authority whose certificate lies in a file. */
export function trustSteps(file: string): TrustStep[] {
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
      // certutil fails where Chrome has not made the folder yet.
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

/** Every step, a command a line. */
export function howToTrust(file: string): string {
  return trustSteps(file).map(({ where, commands }) => [where, ...commands.map((line) => `    ${line}`)].join("\n"))
    .join("\n");
}
