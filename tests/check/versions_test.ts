/** Protocol versions and suites: real nginx and openssl where they still have them, by hand where not. */
import { assertEquals } from "@std/assert";
import { greet } from "../../lib/check/server_hello.ts";
import type { CheckOptions } from "../../lib/check/target.ts";
import { hasOpenssl, openPki } from "../openssl.ts";
import { closedPort, echoService, helloServer } from "./laboratory.ts";
import { expectCodes, expectReport, identityOf, makeAuthorities, urlOf } from "./expect.ts";
import { hasProgram, nginx, nginxUpgrade } from "./proxies.ts";

const openssl = await hasOpenssl();
const peers = openssl && await hasProgram("nginx", "-v");

Deno.test({ name: "SSLv3 and RC4, which no program here still has", ignore: !openssl }, async (t) => {
  await using pki = await openPki();
  const { sound, full, ca } = await makeAuthorities(pki);
  await using tls = echoService({ identity: await identityOf(full, sound.key) });
  await t.step("SSLv3 left on", async () => {
    await using server = helloServer(tls, ({ version }) => version === 0x0300);
    await expectCodes({ url: urlOf("wss", server, "/", "localhost"), ca }, ["ssl3-offered"]);
  });
  await t.step("RC4 left on", async () => {
    await using server = helloServer(tls, ({ version, suites }) => {
      return version === 0x0303 && suites.includes(0x0005) && !suites.includes(0xc02f);
    });
    await expectCodes({ url: urlOf("wss", server, "/", "localhost"), ca }, ["rc4-offered"]);
  });
});

Deno.test({ name: "TLS versions of nginx", ignore: !peers }, async (t) => {
  await using pki = await openPki();
  const { middle, sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService();
  const location = `location / { ${nginxUpgrade(echo.port)} }`;

  async function expectOf(settings: string, codes: readonly string[], more: Partial<CheckOptions> = {}, own = true) {
    const files = own ? `ssl_certificate ${full}; ssl_certificate_key ${sound.key};` : "";
    await using proxy = await nginx(`${files} ${settings} ${location}`);
    await expectCodes({ url: urlOf("wss", proxy, "/", "localhost"), ca, ...more }, codes);
  }
  async function withLeaf(name: string, options: Parameters<typeof pki.leaf>[1]): Promise<string> {
    const leaf = await pki.leaf(name, { issuer: middle, ...options });
    const cert = await pki.bundle(`${name}-full.pem`, leaf.cert, middle.cert);
    return `ssl_certificate ${cert}; ssl_certificate_key ${leaf.key};`;
  }
  const lowered = "ssl_ciphers ALL:@SECLEVEL=0;";

  await t.step("TLS 1.2 and 1.3", () => expectOf("ssl_protocols TLSv1.2 TLSv1.3;", []));
  await t.step("TLS 1.2 alone is a note", () => expectOf("ssl_protocols TLSv1.2;", []));
  await t.step("TLS 1.3 alone is a note", () => expectOf("ssl_protocols TLSv1.3;", []));
  await t.step("TLS 1.0 only", () => expectOf(`ssl_protocols TLSv1; ${lowered}`, ["tls-too-old"]));
  await t.step("TLS 1.0 and 1.1 left on", () => {
    return expectOf(`ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ${lowered}`, ["tls-old-offered"]);
  });
  await t.step("two at once: TLS 1.0 only and expired", async () => {
    const files = await withLeaf("expired", { from: -20, to: -10 });
    const codes = ["tls-too-old", "certificate-expired"];
    await expectOf(`${files} ssl_protocols TLSv1; ${lowered}`, codes, {}, false);
  });
  await t.step("a short key, which TLS here does not take", async () => {
    const files = await withLeaf("short", { key: "rsa1024" });
    await expectOf(`${files} ssl_protocols TLSv1.2; ${lowered}`, ["key-too-short"], {}, false);
  });
  await t.step("no suite of today", async () => {
    const files = await withLeaf("rsa", { key: "rsa2048" });
    await expectOf(`${files} ssl_protocols TLSv1.2; ssl_ciphers AES128-SHA;`, ["suites-old"], {}, false);
  });
  await t.step("TLS 1.2 missing, for WeChat", () => {
    const codes = ["wechat-domain", "wechat-tls", "wechat-authority"];
    return expectOf("ssl_protocols TLSv1.3;", codes, { for: "wechat" });
  });
  await t.step("a name that is refused", () => expectOf("ssl_reject_handshake on;", ["tls-name-refused"]));
  await t.step("no session is resumed: a note", async () => {
    await using proxy = await nginx(
      `ssl_certificate ${full}; ssl_certificate_key ${sound.key}; ssl_session_tickets off; ssl_session_cache off;
       ssl_protocols TLSv1.2 TLSv1.3; ${location}`,
    );
    const report = await expectReport({ url: urlOf("wss", proxy, "/", "localhost"), ca }, []);
    const [resumption] = report.observations.filter(({ probe }) => probe === "resumption");
    assertEquals(resumption?.code, "resumption-missing");
  });
});

Deno.test({ name: "each ClientHello is taken by openssl, and its answer read", ignore: !openssl }, async (t) => {
  await using pki = await openPki();
  const leaf = await pki.leaf("leaf", { key: "rsa2048" });
  const flags = { "TLS 1.0": "-tls1", "TLS 1.1": "-tls1_1", "TLS 1.2": "-tls1_2", "TLS 1.3": "-tls1_3" } as const;
  for (const version of Object.keys(flags) as (keyof typeof flags)[]) {
    await t.step(version, async () => {
      const port = closedPort();
      const args = ["s_server", "-accept", `127.0.0.1:${port}`, "-cert", leaf.cert, "-key", leaf.key, flags[version]];
      const cipher = version === "TLS 1.3" ? [] : ["-cipher", "ALL:@SECLEVEL=0"];
      const child = new Deno.Command("openssl", { args: [...args, ...cipher], stdin: "piped", stdout: "piped" })
        .spawn();
      const reader = child.stdout.getReader();
      // It says ACCEPT once it listens.
      for (let said = ""; !said.includes("ACCEPT");) said += new TextDecoder().decode((await reader.read()).value);
      const endpoint = { hostname: "127.0.0.1", port };
      const options = { version, serverName: "localhost", certificates: true };
      const answer = await greet(endpoint, options, AbortSignal.timeout(10_000));
      child.kill();
      await Promise.all([child.stdin.close().catch(() => {}), reader.cancel(), child.status]);
      assertEquals(answer.kind === "hello" && answer.version, version);
      // From TLS 1.3 on the certificates are encrypted.
      assertEquals(answer.kind === "hello" && answer.chain.length, version === "TLS 1.3" ? 0 : 1);
    });
  }
});
