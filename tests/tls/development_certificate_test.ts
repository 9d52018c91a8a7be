import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { StartError } from "../../lib/errors.ts";
import {
  developmentMaterial,
  type DevelopmentOptions,
  type DevelopmentTlsMaterial,
} from "../../lib/tls/development_certificate.ts";
import { inspectChain } from "../../lib/tls/x509/inspect_chain.ts";
import { loadCertificateFiles } from "../../lib/tls/certificate_files.ts";
import { hasOpenssl, openPki, openssl } from "../support/openssl.ts";

const ignore = !await hasOpenssl();
const DAY = 86_400_000;

interface Scratch extends AsyncDisposable {
  readonly folder: string;
  path(name: string): string;
  make(options?: DevelopmentOptions): Promise<DevelopmentTlsMaterial>;
}

/** A folder that does not exist yet, and a machine called `box`. */
async function scratch(): Promise<Scratch> {
  const parent = await Deno.makeTempDir();
  const folder = join(parent, "certs");
  return {
    folder,
    path: (name) => join(folder, name),
    make: (options = {}) => developmentMaterial({ folder, hostname: "box", ...options }),
    [Symbol.asyncDispose]: () => Deno.remove(parent, { recursive: true }),
  };
}

const inDays = (days: number) => new Date(Date.now() + days * DAY);

Deno.test("creates an authority and a certificate that openssl verifies", { ignore }, async () => {
  await using it = await scratch();
  const material = await it.make();
  assertEquals([material.made, material.authorityMade], [true, true]);
  assertEquals(material.names.toSorted(), ["127.0.0.1", "::1", "box", "localhost"]);
  assertEquals(material.file, it.path("cert.pem"));
  assertEquals(material.authorityFile, it.path("ca.pem"));
  for (const [flag, name] of [["hostname", "localhost"], ["hostname", "box"], ["ip", "127.0.0.1"], ["ip", "::1"]]) {
    const check = ["-x509_strict", "-purpose", "sslserver", `-verify_${flag}`, name!];
    await openssl(["verify", "-CAfile", it.path("ca.pem"), ...check, it.path("cert.pem")]);
  }
  const leaf = await openssl(["x509", "-noout", "-text", "-in", it.path("cert.pem")]);
  for (
    const part of [
      "Version: 3",
      "NIST CURVE: P-256",
      "ecdsa-with-SHA256",
      "Basic Constraints: critical\n                CA:FALSE",
      "Key Usage: critical\n                Digital Signature\n",
      "TLS Web Server Authentication",
      "Subject Key Identifier",
      "Authority Key Identifier",
    ]
  ) assertStringIncludes(leaf, part);
  const authority = await openssl(["x509", "-noout", "-text", "-in", it.path("ca.pem")]);
  for (
    const part of [
      "Basic Constraints: critical\n                CA:TRUE, pathlen:0",
      "Key Usage: critical\n                Certificate Sign, CRL Sign\n",
      "Subject Key Identifier",
    ]
  ) assertStringIncludes(authority, part);
  const days = (material.notAfter.getTime() - Date.now()) / DAY;
  assert(days > 395 && days < 398, `${days}`);
  const left = (Date.parse(material.authority.validTo) - Date.now()) / DAY;
  assert(left > 3640 && left < 3651, `${left}`);
  assertMatch(material.leaf.serialNumber, /^[4-7][0-9A-F]{31}$/);
  assertEquals(inspectChain([material.leaf], { authorities: [material.authority], host: "localhost" }), []);
});

Deno.test(
  "writes keys with mode 0600 and leaves no temporary file",
  { ignore: Deno.build.os === "windows" },
  async () => {
    await using it = await scratch();
    await it.make();
    const modes = [...Deno.readDirSync(it.folder)].map(({ name }) => {
      return [name, (Deno.statSync(it.path(name)).mode! & 0o777).toString(8)];
    });
    assertEquals(Object.fromEntries(modes), {
      ".lock": "600",
      "ca.key": "600",
      "ca.pem": "644",
      "cert.pem": "644",
      "key.pem": "600",
    });
  },
);

Deno.test("serves a client that trusts the authority", async () => {
  await using it = await scratch();
  const { cert, key, authorityFile } = await it.make();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, cert, key, onListen() {} },
    () => new Response("ok"),
  );
  using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(authorityFile)] });
  for (const host of ["localhost", "127.0.0.1"]) {
    assertEquals(await (await fetch(`https://${host}:${server.addr.port}/`, { client })).text(), "ok");
  }
});

Deno.test("reuses valid files unchanged", async () => {
  await using it = await scratch();
  const first = await it.make();
  const again = await it.make();
  assertEquals([again.cert, again.key], [first.cert, first.key]);
  assertEquals([again.made, again.authorityMade], [false, false]);
  assertEquals((await it.make({ now: inDays(360) })).made, false);
});

Deno.test("renews a certificate with under 30 days left, and keeps the authority", { ignore }, async () => {
  await using it = await scratch();
  const first = await it.make({ names: ["kept.test"] });
  for (const now of [inDays(370), inDays(3000)]) {
    const second = await it.make({ now });
    assertEquals([second.made, second.authorityMade], [true, false]);
    assertNotEquals(second.leaf.serialNumber, first.leaf.serialNumber);
    assertEquals(second.authority.fingerprint256, first.authority.fingerprint256);
    assertEquals(second.names.toSorted(), first.names.toSorted());
    assert(second.notAfter.getTime() > now.getTime() + 390 * DAY);
    const at = String(Math.floor(now.getTime() / 1000));
    await openssl(["verify", "-attime", at, "-CAfile", it.path("ca.pem"), it.path("cert.pem")]);
  }
});

Deno.test("limits a certificate to its authority's lifetime, and replaces the authority before it expires", async () => {
  await using it = await scratch();
  const first = await it.make();
  const late = await it.make({ now: inDays(3500) });
  assertEquals([late.made, late.authorityMade], [true, false]);
  assertEquals(late.notAfter, new Date(first.authority.validTo));
  const last = await it.make({ now: inDays(3640) });
  assertEquals([last.made, last.authorityMade], [true, true]);
});

Deno.test("issues a new certificate if a name is missing, unless a wildcard covers it", async () => {
  await using it = await scratch();
  const first = await it.make();
  const second = await it.make({ hostname: "moved.test" });
  assertEquals([second.made, second.authorityMade], [true, false]);
  assertEquals(second.names.toSorted(), ["127.0.0.1", "::1", "box", "localhost", "moved.test"]);
  assertNotEquals(second.cert, first.cert);
  await it.make({ names: ["*.dev.test", "192.0.2.7"] });
  assertEquals((await it.make({ names: ["a.dev.test", "192.0.2.7"] })).made, false);
  assertEquals((await it.make({ hostname: "not a name!" })).made, false);
});

Deno.test("replaces files that do not match, are damaged or are missing", async () => {
  await using it = await scratch();
  const first = await it.make();
  await using elsewhere = await scratch();
  const stranger = await Deno.readTextFile((await elsewhere.make()).authorityFile);
  const damage: readonly (readonly [file: string, content: string | undefined, authorityMade: boolean])[] = [
    ["key.pem", await Deno.readTextFile(it.path("ca.key")), false],
    ["key.pem", "damaged", false],
    ["cert.pem", undefined, false],
    ["ca.pem", undefined, true],
    ["ca.pem", "", true],
    ["ca.pem", stranger, true],
  ];
  for (const [file, content, authorityMade] of damage) {
    if (content === undefined) await Deno.remove(it.path(file));
    else await Deno.writeTextFile(it.path(file), content);
    const next = await it.make();
    assertEquals([next.made, next.authorityMade], [true, authorityMade], `${file}: ${content}`);
    assertEquals(loadCertificateFiles({ cert: next.file, key: it.path("key.pem") }).key, next.key);
  }
  assertNotEquals((await it.make()).authority.fingerprint256, first.authority.fingerprint256);
  // The authority's key is needed only to issue a certificate.
  await Deno.remove(it.path("ca.key"));
  assertEquals((await it.make()).made, false);
  assertEquals((await it.make({ now: inDays(380) })).authorityMade, true);
});

Deno.test("creates all files again with force, without the previous names", async () => {
  await using it = await scratch();
  const first = await it.make({ names: ["former.test"] });
  const second = await it.make({ force: true });
  assertEquals([second.made, second.authorityMade], [true, true]);
  assertNotEquals(second.authority.fingerprint256, first.authority.fingerprint256);
  assertNotEquals(second.authority.subject, first.authority.subject);
  assertEquals(second.names.includes("former.test"), false);
});

Deno.test("never overwrites a certificate of another origin", { ignore }, async () => {
  await using it = await scratch();
  await using pki = await openPki();
  const { cert, key } = await pki.leaf("leaf");
  await Deno.mkdir(it.folder);
  await Deno.copyFile(cert, it.path("cert.pem"));
  await Deno.copyFile(key, it.path("key.pem"));
  for (const force of [false, true]) {
    const error: StartError = await assertRejects(() => it.make({ force }), StartError);
    assertStringIncludes(error.message, `Cannot use ${it.path("cert.pem")} as the development certificate`);
    assertStringIncludes(error.message, "--cert and --key");
  }
  assertEquals(await Deno.readTextFile(it.path("key.pem")), await Deno.readTextFile(key));
  assertEquals([...Deno.readDirSync(it.folder)].map(({ name }) => name).toSorted(), [".lock", "cert.pem", "key.pem"]);
});

Deno.test("processes that start at the same time use the same certificate", async () => {
  await using it = await scratch();
  const script = join(it.folder, "..", "start.ts");
  await Deno.writeTextFile(
    script,
    `import { developmentMaterial } from "${new URL("../../lib/tls/development_certificate.ts", import.meta.url)}";
    const { cert, key, made } = await developmentMaterial({ folder: ${JSON.stringify(it.folder)} });
    console.log(JSON.stringify([cert + key, made]));`,
  );
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const starts = await Promise.all(Array.from({ length: 6 }, async () => {
    const args = ["run", "-A", "--config", config, "--frozen", script];
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    assertEquals(new TextDecoder().decode(stderr), "");
    return JSON.parse(new TextDecoder().decode(stdout)) as [pair: string, made: boolean];
  }));
  assertEquals(new Set(starts.map(([pair]) => pair)).size, 1);
  assertEquals(starts.filter(([, made]) => made).length, 1);
});

Deno.test("explains how to fix a folder that cannot be created", async () => {
  await using it = await scratch();
  await Deno.writeTextFile(it.folder, "a file");
  const error: StartError = await assertRejects(() => it.make(), StartError);
  assertStringIncludes(error.message, `Cannot make the development certificate in ${it.folder}: a file has that name`);
  assertStringIncludes(error.message, "--cert and --key");
});

Deno.test("works without permission for the host name, and reports a missing write permission", async () => {
  await using it = await scratch();
  const script = join(it.folder, "..", "start.ts");
  await Deno.writeTextFile(
    script,
    `import { developmentMaterial } from "${new URL("../../lib/tls/development_certificate.ts", import.meta.url)}";
    try {
      console.log((await developmentMaterial({ folder: ${JSON.stringify(it.folder)} })).names.join());
    } catch (error) { console.log(error.name, error.message); }`,
  );
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const run = async (...permissions: string[]) => {
    const args = ["run", "--no-prompt", "--config", config, ...permissions, script];
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  };
  const where = `StartError Cannot make the development certificate in ${it.folder}: `;
  assertStringIncludes(await run("--allow-read"), `${where}Deno was started without --allow-write=${it.folder}`);
  assertEquals(await run("--allow-read", `--allow-write=${it.folder}`), "localhost,127.0.0.1,::1\n");
  assertStringIncludes(await run(`--allow-write=${it.folder}`), "Deno was started without --allow-read=");
});

Deno.test("does not import the X.509 library if the certificate is usable", async () => {
  await using it = await scratch();
  await it.make();
  const script = `import { developmentMaterial } from "${new URL(
    "../../lib/tls/development_certificate.ts",
    import.meta.url,
  )}";
    await developmentMaterial({ folder: ${JSON.stringify(it.folder)}, hostname: "box" });
    console.log("getMetadata" in Reflect);`;
  const file = join(it.folder, "..", "start.ts");
  await Deno.writeTextFile(file, script);
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["run", "-A", "--no-config", file] }).output();
  assertEquals(new TextDecoder().decode(stdout), "false\n");
});
