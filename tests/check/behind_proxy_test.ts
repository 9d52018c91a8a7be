/** Checks endpoints behind real proxies. Each proxy is correct or has one misconfiguration. */
import { assertEquals } from "@std/assert";
import type { CheckOptions } from "../../lib/check/check_options.ts";
import { PROBES } from "../../lib/check/finding_codes.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { echoService, upgradeResponse, upgradeServer, writeAll } from "./test_servers.ts";
import { expectCodes, expectReport, identityOf, makeAuthorities, urlOf } from "./expect.ts";
import { apache, apacheTls, caddy, hasProgram, nginx, nginxTls, nginxUpgrade } from "./proxies.ts";
import { closedPort } from "../support/ports.ts";

const openssl = await hasOpenssl();

Deno.test({
  name: "reports the cause when nginx is misconfigured",
  ignore: !openssl || !await hasProgram("nginx", "-v"),
}, async (t) => {
  await using pki = await openPki();
  const { middle, sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService();
  const tls = nginxTls(full, sound.key);

  async function expectNginx(server: string, codes: readonly string[], more: Partial<CheckOptions> = {}) {
    await using proxy = await nginx(`${tls} ${server}`);
    await expectCodes({ url: urlOf("wss", proxy, "/wss", "localhost"), ca, ...more }, codes);
  }
  const correct = `location / { ${nginxUpgrade(echo.port)} }`;
  await t.step("Upgrade is not forwarded", () => {
    return expectNginx(`location / { proxy_pass http://127.0.0.1:${echo.port}; proxy_http_version 1.1; }`, [
      "upgrade-required",
    ]);
  });
  await t.step("the proxy uses HTTP/1.0", async () => {
    // Deno.serve also upgrades HTTP/1.0 requests (measured on Deno 2.9.6), so this service refuses them itself.
    await using strict = upgradeServer(async (connection, request) => {
      const right = request.includes(" HTTP/1.1\r\n");
      await writeAll(connection, right ? await upgradeResponse(request) : "HTTP/1.1 426 Upgrade Required\r\n\r\n");
    });
    const headers = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";';
    const location = `location / { proxy_pass http://127.0.0.1:${strict.port}; proxy_http_version 1.0; ${headers} }`;
    await expectNginx(location, ["upgrade-required"]);
  });
  await t.step("TLS on both hops", async () => {
    await using tlsEcho = echoService({ identity: await identityOf(full, sound.key) });
    await expectNginx(`location / { ${nginxUpgrade(tlsEcho.port)} }`, ["tls-on-both-hops"]);
    await using inner = await nginx(`${tls} ${correct}`);
    await expectNginx(`location / { ${nginxUpgrade(inner.port)} }`, ["tls-on-both-hops"]);
  });
  await t.step("the service is not running", () => {
    return expectNginx(`location / { ${nginxUpgrade(closedPort())} }`, ["upgrade-bad-gateway"]);
  });
  await t.step("the proxy answers 504", () => {
    return expectNginx(`location / { return 504; }`, ["upgrade-gateway-timeout"]);
  });
  await t.step("the service has another path", () => {
    return expectNginx(`location /other { ${nginxUpgrade(echo.port)} } location / { return 404; }`, [
      "upgrade-not-found",
    ]);
  });
  await t.step("the path serves a web page", () => {
    return expectNginx(`location / { default_type text/html; return 200 "<title>Welcome</title>"; }`, [
      "upgrade-ignored",
    ]);
  });
  await t.step("a login portal of the service, which is no captive portal", () => {
    return expectNginx("location / { return 302 https://portal.company.example/login; }", ["upgrade-unauthorized"]);
  });
  await t.step("a client certificate is required", async () => {
    const verify = `ssl_verify_client on; ssl_client_certificate ${middle.cert};`;
    await expectNginx(`${verify} ${correct}`, ["client-certificate-required"]);
  });
  await t.step("the read timeout is shorter than the hold", () => {
    return expectNginx(`location / { ${nginxUpgrade(echo.port)} proxy_read_timeout 6s; }`, ["hold-cut"], {
      hold: 20_000,
    });
  });
  await t.step("h2 in addition to http/1.1 is correct", async () => {
    await using proxy = await nginx(`${tls} ${correct}`, "ssl http2");
    await expectCodes({ url: urlOf("wss", proxy, "/", "localhost"), ca }, []);
  });
  await t.step("a ws URL with the TLS port", async () => {
    await using proxy = await nginx(`${tls} ${correct}`);
    await expectCodes({ url: urlOf("ws", proxy, "/", "localhost") }, ["protocol-tls"]);
  });
});

/** Runs every probe and expects no warning or error. */
async function expectSound(url: string, ca: readonly string[]): Promise<void> {
  const options = { url, ca, send: "tom", expect: "tom", hold: 500, subprotocols: ["a", "b"], for: "browser" } as const;
  const report = await expectReport(options, []);
  const { port } = new URL(url);
  assertEquals(
    [...new Set(report.observations.map(({ probe }) => probe))],
    PROBES.filter((probe) => probe !== "time" && probe !== "client"),
    port,
  );
}

Deno.test({ name: "reports no warning or error for correct endpoints", ignore: !openssl }, async (t) => {
  await using pki = await openPki();
  const { sound, full, ca } = await makeAuthorities(pki);
  await using echo = echoService();
  await t.step("Deno.serve with a certificate", async () => {
    await using direct = echoService({ identity: await identityOf(full, sound.key) });
    await expectSound(urlOf("wss", direct, "/", "localhost"), ca);
  });
  await t.step({
    name: "nginx",
    ignore: !await hasProgram("nginx", "-v"),
    fn: async () => {
      await using proxy = await nginx(
        `${nginxTls(full, sound.key)} location / { ${nginxUpgrade(echo.port)} }`,
      );
      await expectSound(urlOf("wss", proxy, "/", "localhost"), ca);
    },
  });
  await t.step({
    name: "Apache",
    ignore: !await hasProgram("apache2", "-v"),
    fn: async () => {
      await using proxy = await apache(
        `${apacheTls(full, sound.key)}
ProxyPass / http://127.0.0.1:${echo.port}/ upgrade=websocket`,
      );
      await expectSound(urlOf("wss", proxy, "/", "localhost"), ca);
    },
  });
  await t.step({
    name: "Apache that does not forward the upgrade",
    ignore: !await hasProgram("apache2", "-v"),
    fn: async () => {
      await using proxy = await apache(
        `${apacheTls(full, sound.key)}
ProxyPass / http://127.0.0.1:${echo.port}/`,
      );
      await expectCodes({ url: urlOf("wss", proxy, "/", "localhost"), ca }, ["upgrade-required"]);
    },
  });
  await t.step({
    name: "Caddy",
    ignore: !await hasProgram("caddy", "version"),
    fn: async () => {
      await using proxy = await caddy(`tls ${full} ${sound.key}\n reverse_proxy 127.0.0.1:${echo.port}`);
      await expectSound(urlOf("wss", proxy, "/", "localhost"), ca);
    },
  });
});
