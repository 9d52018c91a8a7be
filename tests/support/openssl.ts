/**
 * Certificates and keys that the real `openssl` makes for tests: the valid and the faulty files that operators provide.
 *
 *     await using pki = await openPki();
 *     const root = await pki.authority("root");
 *     const middle = await pki.authority("middle", { issuer: root });
 *     const leaf = await pki.leaf("leaf", { issuer: middle });
 *     // leaf.cert and leaf.key are paths. await pki.bundle("full.pem", leaf.cert, middle.cert) returns a path, too.
 */
import { join } from "node:path";

/** The arguments of `openssl genpkey` for each kind of key. */
const KEYS = {
  "rsa1024": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
  "rsa2048": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
  "rsa3072": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
  "rsa-pss": ["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"],
  "P-224": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-224"],
  "P-256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
  "P-384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
  "P-521": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
  "secp256k1": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
  "explicit": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"],
  "ed25519": ["-algorithm", "ED25519"],
  "ed448": ["-algorithm", "ED448"],
} as const;

export type KeyType = keyof typeof KEYS;

/** The paths of the PEM files of a certificate and its key. */
export interface Issued {
  readonly cert: string;
  readonly key: string;
}

/** Properties of a certificate. */
export interface IssueOptions {
  /** The issuer. Without one, the certificate is self-signed. */
  readonly issuer?: Issued;
  /** The kind of key. Default P-256. */
  readonly key?: KeyType;
  /** The common name. Default: the file name. */
  readonly subject?: string;
  /** The subjectAltName in openssl's notation. `""` omits it. Default `DNS:localhost,IP:127.0.0.1`. */
  readonly names?: string;
  /** The start and the end of the validity, in days from now. Default -1 and 365. */
  readonly from?: number;
  readonly to?: number;
  /** The digest of the signature. Default sha256. */
  readonly digest?: string;
  /** Further extensions, one per line: `extendedKeyUsage=clientAuth`. */
  readonly extensions?: readonly string[];
}

/** A temporary folder of certificates. Disposing of it removes the folder. */
export interface Pki extends AsyncDisposable {
  readonly folder: string;
  /** Returns the path of a file in the folder. */
  path(name: string): string;
  /** Runs `openssl` in the folder and returns its standard output. Throws its standard error if it fails. */
  openssl(...args: string[]): Promise<string>;
  /** Makes a private key in PKCS#8. @returns its path */
  key(name: string, type?: KeyType): Promise<string>;
  /** Makes a root or intermediate certificate authority. */
  authority(name: string, options?: IssueOptions): Promise<Issued>;
  /** Makes another certificate for the name and key of an authority, with another issuer or other dates. */
  crossSign(name: string, authority: Issued, options: IssueOptions & { readonly issuer: Issued }): Promise<Issued>;
  /** Makes a server certificate. */
  leaf(name: string, options?: IssueOptions): Promise<Issued>;
  /** Concatenates files into a new file. @returns its path */
  bundle(name: string, ...files: string[]): Promise<string>;
  /** Writes a file. @returns its path */
  write(name: string, content: string | Uint8Array): Promise<string>;
}

/** Whether `openssl` is installed. Throws if it is missing and required (WSS_TEST_PEERS=required). */
export async function hasOpenssl(): Promise<boolean> {
  try {
    return (await new Deno.Command("openssl", { args: ["version"], stdout: "null", stderr: "null" }).output()).success;
  } catch (error) {
    if (Deno.env.get("WSS_TEST_PEERS") === "required") throw error;
    // deno-lint-ignore no-console -- shows which peer was skipped
    console.warn("SKIPPED: openssl is not installed");
    return false;
  }
}

/** Runs `openssl` and returns its standard output. On failure throws an error with its standard error. */
export async function openssl(args: readonly string[], cwd?: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("openssl", { args: [...args], cwd, stdin: "null" })
    .output();
  if (!success) throw new Error(`openssl ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

const AUTHORITY = [
  "basicConstraints=critical,CA:TRUE",
  "keyUsage=critical,keyCertSign,cRLSign",
  "subjectKeyIdentifier=hash",
  "authorityKeyIdentifier=keyid",
];

/** Makes an empty temporary folder for certificates. */
export async function openPki(): Promise<Pki> {
  const folder = await Deno.makeTempDir({ prefix: "wss-pki-" });
  const path = (name: string) => join(folder, name);
  const run = (...args: string[]) => openssl(args, folder);

  async function write(name: string, content: string | Uint8Array): Promise<string> {
    await Deno.writeFile(path(name), typeof content === "string" ? new TextEncoder().encode(content) : content);
    return path(name);
  }

  async function key(name: string, type: KeyType = "P-256"): Promise<string> {
    await run("genpkey", ...KEYS[type], "-out", path(name));
    return path(name);
  }

  /** Signs with `openssl ca`, because no other command of OpenSSL 3.0 accepts dates in the past. */
  async function issue(
    name: string,
    options: IssueOptions,
    extensions: readonly string[],
    existing?: Issued,
  ): Promise<Issued> {
    const own: Issued = { cert: path(`${name}.pem`), key: existing?.key ?? await key(`${name}.key`, options.key) };
    const { issuer = own, subject = name, from = -1, to = 365, digest = "sha256" } = options;
    await write(
      `${name}.cnf`,
      [
        "[ca]\ndefault_ca=it\n[it]",
        `database=${path(`${name}.db`)}\nnew_certs_dir=${folder}`,
        `unique_subject=no\nrand_serial=yes\npolicy=any\nx509_extensions=ext\n[any]\ncommonName=supplied\n[ext]`,
        ...extensions.filter((line) =>
          !options.extensions?.some((other) => other.split("=")[0] === line.split("=")[0])
        ),
        ...(options.extensions ?? []),
        "[req]\ndistinguished_name=dn\n[dn]",
      ].join("\n") + "\n",
    );
    await write(`${name}.db`, "");
    const config = ["-config", path(`${name}.cnf`)];
    await run("req", "-new", ...config, "-key", own.key, "-subj", `/CN=${subject}`, "-out", path(`${name}.csr`));
    const signer = issuer === own ? ["-selfsign", "-keyfile", own.key] : ["-cert", issuer.cert, "-keyfile", issuer.key];
    const dates = ["-startdate", asn1Date(from), "-enddate", asn1Date(to)];
    const files = ["-in", path(`${name}.csr`), "-out", own.cert];
    await run("ca", "-batch", "-notext", "-md", digest, ...config, ...signer, ...dates, ...files);
    return own;
  }

  return {
    folder,
    path,
    openssl: run,
    key,
    write,
    authority: (name, options = {}) => issue(name, options, AUTHORITY),
    async crossSign(name, authority, options) {
      const line = await run("x509", "-in", authority.cert, "-noout", "-subject", "-nameopt", "RFC2253");
      return await issue(name, { subject: line.trim().replace(/^subject=CN=/, ""), ...options }, AUTHORITY, authority);
    },
    leaf(name, options = {}) {
      const { names = "DNS:localhost,IP:127.0.0.1" } = options;
      const usage = options.extensions?.some((line) => line.startsWith("extendedKeyUsage"));
      return issue(name, options, [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        ...(usage ? [] : ["extendedKeyUsage=serverAuth"]),
        "subjectKeyIdentifier=hash",
        "authorityKeyIdentifier=keyid",
        ...(names === "" ? [] : [`subjectAltName=${names}`]),
      ]);
    },
    async bundle(name, ...files) {
      return await write(name, (await Promise.all(files.map((file) => Deno.readTextFile(file)))).join(""));
    },
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** The date a number of days from now, in the format of `openssl ca`: 20270131120000Z. */
function asn1Date(days: number): string {
  return new Date(Date.now() + days * 86_400_000).toISOString().replace(/[-:T]|\.\d+/g, "");
}
