/** TLS versions and cipher suites of real nginx and openssl. Raw servers offer those that OpenSSL 3 lacks. */
import { assertEquals, assertMatch } from "@std/assert";
import { sendClientHello } from "../../../lib/check/probes/server_hello.ts";
import type { CheckOptions } from "../../../lib/check/check_options.ts";
import { hasOpenssl, openPki } from "../../support/openssl.ts";
import { echoService, helloServer, rawServer, type Server, writeAll } from "../test_servers.ts";
import { expectCodes, expectReport, identityOf, makeAuthorities, urlOf } from "../expect.ts";
import { hasProgram, nginx, nginxUpgrade } from "../proxies.ts";
import { freePort } from "../../support/ports.ts";

const openssl = await hasOpenssl();
const peers = openssl && await hasProgram("nginx", "-v");

Deno.test({ name: "reports SSLv3 and RC4", ignore: !openssl }, async (t) => {
  await using pki = await openPki();
  const { sound, full, ca } = await makeAuthorities(pki);
  await using tls = echoService({ identity: await identityOf(full, sound.key) });
  await t.step("a server with SSLv3", async () => {
    await using server = helloServer(tls, ({ version }) => version === 0x0300);
    await expectCodes({ url: urlOf("wss", server, "/", "localhost"), ca }, ["ssl3-offered"]);
  });
  await t.step("a server with RC4", async () => {
    await using server = helloServer(tls, ({ version, suites }) => {
      return version === 0x0303 && suites.includes(0x0005) && !suites.includes(0xc02f);
    });
    await expectCodes({ url: urlOf("wss", server, "/", "localhost"), ca }, ["rc4-offered"]);
  });
});

Deno.test({ name: "reports the TLS versions and suites of nginx", ignore: !peers }, async (t) => {
  await using pki = await openPki();
  const { middle, sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService();
  const location = `location / { ${nginxUpgrade(echo.port)} }`;

  async function expectNginx(settings: string, codes: readonly string[], more: Partial<CheckOptions> = {}, own = true) {
    const files = own ? `ssl_certificate ${full}; ssl_certificate_key ${sound.key};` : "";
    await using proxy = await nginx(`${files} ${settings} ${location}`);
    await expectCodes({ url: urlOf("wss", proxy, "/", "localhost"), ca, ...more }, codes);
  }
  async function withLeaf(name: string, options: Parameters<typeof pki.leaf>[1]): Promise<string> {
    const leaf = await pki.leaf(name, { issuer: middle, ...options });
    const cert = await pki.bundle(`${name}-full.pem`, leaf.cert, middle.cert);
    return `ssl_certificate ${cert}; ssl_certificate_key ${leaf.key};`;
  }
  const allSuites = "ssl_ciphers ALL:@SECLEVEL=0;";

  await t.step("TLS 1.2 and 1.3", () => expectNginx("ssl_protocols TLSv1.2 TLSv1.3;", []));
  await t.step("TLS 1.2 only: a note", () => expectNginx("ssl_protocols TLSv1.2;", []));
  await t.step("TLS 1.3 only: a note", () => expectNginx("ssl_protocols TLSv1.3;", []));
  await t.step("TLS 1.0 only", () => expectNginx(`ssl_protocols TLSv1; ${allSuites}`, ["tls-too-old"]));
  await t.step("TLS 1.0 and 1.1 in addition to 1.2", () => {
    return expectNginx(`ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ${allSuites}`, ["tls-old-offered"]);
  });
  await t.step("two faults: TLS 1.0 only, expired", async () => {
    const files = await withLeaf("expired", { from: -20, to: -10 });
    const codes = ["tls-too-old", "certificate-expired"];
    await expectNginx(`${files} ssl_protocols TLSv1; ${allSuites}`, codes, {}, false);
  });
  await t.step("a short key, which Deno's TLS refuses", async () => {
    const files = await withLeaf("short", { key: "rsa1024" });
    await expectNginx(`${files} ssl_protocols TLSv1.2; ${allSuites}`, ["key-too-short"], {}, false);
  });
  await t.step("only suites without forward secrecy", async () => {
    const files = await withLeaf("rsa", { key: "rsa2048" });
    await expectNginx(`${files} ssl_protocols TLSv1.2; ssl_ciphers AES128-SHA;`, ["suites-old"], {}, false);
  });
  await t.step("for WeChat: TLS 1.3 only is an error", () => {
    const codes = ["wechat-domain", "wechat-tls", "wechat-authority"];
    return expectNginx("ssl_protocols TLSv1.3;", codes, { for: "wechat" });
  });
  await t.step("a server name that nginx refuses", () => expectNginx("ssl_reject_handshake on;", ["tls-name-refused"]));
  await t.step("no session resumption: a note", async () => {
    await using proxy = await nginx(
      `ssl_certificate ${full}; ssl_certificate_key ${sound.key}; ssl_session_tickets off; ssl_session_cache off;
       ssl_protocols TLSv1.2 TLSv1.3; ${location}`,
    );
    const report = await expectReport({ url: urlOf("wss", proxy, "/", "localhost"), ca }, []);
    const [resumption] = report.observations.filter(({ probe }) => probe === "resumption");
    assertEquals(resumption?.code, "resumption-missing");
  });
});

Deno.test("reports a server that refuses every version", async () => {
  // Fatal alerts: handshake_failure, and internal_error, with which Caddy answers for a name without a certificate.
  for (const alert of [40, 80]) {
    await using server = rawServer(async (connection) => {
      await connection.read(new Uint8Array(4096));
      await writeAll(connection, new Uint8Array([21, 3, 3, 0, 2, 2, alert]));
    });
    const report = await expectReport({ url: urlOf("wss", server) }, ["tls-none"]);
    assertEquals(report.observations.at(-1)?.code, "upgrade-not-tried");
    assertMatch(report.first?.remedy ?? "", /certificate for this name.*--sni/);
  }
});

Deno.test({ name: "parses the reply of openssl to the ClientHello of each version", ignore: !openssl }, async (t) => {
  await using pki = await openPki();
  const leaf = await pki.leaf("leaf", { key: "rsa2048" });
  const flags = { "TLS 1.0": "-tls1", "TLS 1.1": "-tls1_1", "TLS 1.2": "-tls1_2", "TLS 1.3": "-tls1_3" } as const;
  for (const version of Object.keys(flags) as (keyof typeof flags)[]) {
    await t.step(version, async () => {
      const cipher = version === "TLS 1.3" ? [] : ["-cipher", "ALL:@SECLEVEL=0"];
      await using server = await startOpensslServer("-cert", leaf.cert, "-key", leaf.key, flags[version], ...cipher);
      const options = { version, serverName: "localhost", certificates: true };
      const answer = await sendClientHello(
        { hostname: "127.0.0.1", port: server.port },
        options,
        AbortSignal.timeout(10_000),
      );
      assertEquals(answer.kind === "hello" && answer.version, version);
      // From TLS 1.3 on, the certificates are encrypted.
      assertEquals(answer.kind === "hello" && answer.chain.length, version === "TLS 1.3" ? 0 : 1);
    });
  }
});

Deno.test({ name: "reports a failed handshake when TLS 1.3 encrypts the cause", ignore: !openssl }, async () => {
  await using pki = await openPki();
  const leaf = await pki.leaf("leaf", { key: "rsa1024" });
  await using server = await startOpensslServer(
    "-cert",
    leaf.cert,
    "-key",
    leaf.key,
    "-tls1_3",
    "-cipher",
    "ALL:@SECLEVEL=0",
  );
  const report = await expectReport({ url: urlOf("wss", server, "/", "localhost") }, ["handshake-failed"]);
  const codes = report.observations.map(({ code }) => code);
  assertEquals(codes.filter((code) => ["tls12-missing", "chain-unread", "upgrade-not-tried"].includes(code)).length, 3);
});

/** Starts `openssl s_server` on a free port and waits until it listens. */
async function startOpensslServer(...args: string[]): Promise<Server> {
  const port = freePort();
  const child = new Deno.Command("openssl", {
    args: ["s_server", "-accept", `127.0.0.1:${port}`, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.getReader();
  // It prints ACCEPT when it listens.
  for (let output = ""; !output.includes("ACCEPT");) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`openssl s_server ${args.join(" ")} did not start`);
    output += new TextDecoder().decode(value);
  }
  return {
    port,
    async [Symbol.asyncDispose]() {
      child.kill();
      await Promise.all([child.stdin.close().catch(() => {}), reader.cancel(), child.status]);
    },
  };
}
