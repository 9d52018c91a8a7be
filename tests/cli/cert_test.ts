import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { parseFlags } from "../../lib/config/command_line.ts";
import { CERT_OPTIONS, certCommand, formatCertReport } from "../../lib/cli/cert.ts";
import { formatTrustInstructions } from "../../lib/cli/trust_instructions.ts";
import { UsageError } from "../../lib/errors.ts";
import { developmentMaterial } from "../../lib/tls/development_certificate.ts";
import { hasOpenssl, openssl } from "../support/openssl.ts";

const ignore = !await hasOpenssl();
const root = new URL("../../", import.meta.url);

function run(...args: string[]): Promise<number> {
  const { values, positionals, problems } = parseFlags(args, CERT_OPTIONS);
  return certCommand.run({ flags: values, positionals, problems });
}

/** Runs the command in its own process with `cwd` as working directory. */
async function command(cwd: string, ...args: string[]): Promise<string> {
  const script = `import { parseFlags } from "${new URL("lib/config/command_line.ts", root)}";
    import { CERT_OPTIONS, certCommand } from "${new URL("lib/cli/cert.ts", root)}";
    const { values: flags, positionals, problems } = parseFlags(Deno.args, CERT_OPTIONS);
    Deno.exit(await certCommand.run({ flags, positionals, problems }));`;
  const file = join(cwd, "cert.ts");
  await Deno.writeTextFile(file, script);
  const config = new URL("deno.json", root).pathname;
  const options = { cwd, args: ["run", "-A", "--config", config, file, ...args] };
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), options).output();
  assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
  return new TextDecoder().decode(stdout);
}

Deno.test(
  "cert creates the files in certs, prints paths and expiry, and keeps valid files",
  { ignore },
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      const first = await command(folder, "--name", "dev.test", "--name=192.0.2.7");
      const authority = new X509Certificate(await Deno.readTextFile(join(folder, "certs", "ca.pem")));
      assertStringIncludes(first, `SHA-256 ${authority.fingerprint256}`);
      assertStringIncludes(first, "certs/ca.pem (new), until 20");
      assertStringIncludes(first, "dev.test");
      assertStringIncludes(first, "    sudo update-ca-certificates\n");
      const check = ["-verify_hostname", "dev.test", join(folder, "certs", "cert.pem")];
      await openssl(["verify", "-CAfile", join(folder, "certs", "ca.pem"), ...check]);
      assertStringIncludes(await command(folder), "certs/ca.pem (kept)");
      const anew = await command(folder, "--force", "--folder", "certs");
      assertStringIncludes(anew, "certs/cert.pem (new)");
      assert(!anew.includes(authority.fingerprint256));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("cert reports all errors together and creates no file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const at = join(folder, "certs");
    const error: UsageError = await assertRejects(
      () => run("--folder", at, "--name", "a b", "--nmae=x", "y"),
      UsageError,
    );
    assertEquals(error.problems, [
      "unknown option --nmae: did you mean --name?",
      "cert takes no arguments, but got y; use --name for names",
      '--name: a DNS name or an address is required (dev.example.test, 192.0.2.7), not "a b"',
    ]);
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

async function isThere(program: string): Promise<boolean> {
  const { success } = await new Deno.Command("sh", { args: ["-c", `command -v ${program}`], stdout: "null" }).output();
  if (success || Deno.env.get("WSS_TEST_PEERS") === "required") return true;
  // deno-lint-ignore no-console -- a skipped peer must be visible
  console.warn(`SKIPPED: ${program} is not installed`);
  return false;
}

/** Runs a shell command. Returns its output, including standard error. */
async function shell(line: string, cwd: string): Promise<string> {
  const options: Deno.CommandOptions = { cwd, env: { HOME: cwd }, args: ["-c", line], stdin: "null" };
  const { stdout, stderr } = await new Deno.Command("sh", options).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

Deno.test("the printed commands make curl, Deno, Node and Chrome trust the certificate", { ignore }, async () => {
  const folder = await Deno.makeTempDir();
  try {
    const material = await developmentMaterial({ folder: join(folder, "my certs") });
    const options = { hostname: "127.0.0.1", port: 0, cert: material.cert, key: material.key, onListen() {} };
    await using server = Deno.serve(options, () => new Response("ok"));
    const url = `https://localhost:${server.addr.port}/`;
    for (const name of ["client.ts", "client.mjs"]) {
      await Deno.writeTextFile(join(folder, name), `console.log(await (await fetch("${url}")).text());`);
    }
    const deno = `'${Deno.execPath()}'`;
    const lines = formatTrustInstructions(material.authorityFile).split("\n").map((line) => line.trim());
    const tried = lines.filter((line) => /^(curl |DENO_CERT|deno |NODE_EXTRA)/.test(line));
    assertEquals(tried.length, 4);
    for (const line of tried) {
      const command = line.replace("https://localhost:8282/", `-sS ${url}`).replace(/\bdeno run/, `${deno} run`)
        .replace("client.js", "client.mjs");
      const program = command.includes("node ") ? "node" : command.startsWith("curl") ? "curl" : deno;
      if (await isThere(program)) assertEquals((await shell(command, folder)).trim(), "ok", command);
    }
    if (!await isThere("certutil")) return;
    const nss = lines.slice(lines.indexOf("mkdir -p $HOME/.pki/nssdb")).slice(0, 2).join(" && ");
    assertEquals(await shell(nss, folder), "");
    assertMatch(await shell("certutil -d sql:$HOME/.pki/nssdb -L", folder), /wss-development +C,,/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("formatTrustInstructions covers every system and quotes paths with spaces", () => {
  const text = formatTrustInstructions("my certs/ca.pem");
  for (
    const part of [
      "sudo cp 'my certs/ca.pem' /usr/local/share/ca-certificates/wss-development.crt",
      "sudo update-ca-trust",
      "security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain 'my certs/ca.pem'",
      'certutil -addstore -f ROOT "my certs\\ca.pem"',
      "certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n wss-development -i 'my certs/ca.pem'",
      "Firefox",
    ]
  ) assertStringIncludes(text, part);
});

Deno.test("the report says that trust remains valid if only the certificate is new", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await developmentMaterial({ folder, hostname: "box" });
    const renewed = await developmentMaterial({ folder, hostname: "box", names: ["dev.test"] });
    assertStringIncludes(formatCertReport(renewed), "not needed again if you did it before");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
