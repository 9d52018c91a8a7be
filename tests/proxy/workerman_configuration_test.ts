/**
 * The nginx and Apache configurations in Workerman's documentation of wss, with the changes that current versions need:
 * `listen … ssl` instead of `ssl on`, and protocols and ciphers of OpenSSL 3. Path and headers are unchanged: X-Real-IP is
 * set, Host is not forwarded, and Connection is constant.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { type RunningProxy, startProxy } from "../support/proxies.ts";
import { type GeneratedProxies, openGeneratedProxies } from "./generated_proxies.ts";
import { startUpstream, type Upstream } from "./upstream.ts";
import { ask } from "../support/raw.ts";
import { connect } from "./ws_client.ts";

function startNginx(proxies: GeneratedProxies, upstream: Upstream): Promise<RunningProxy> {
  return startProxy("nginx", (port) => `
    server {
      listen ${port} ssl;
      listen [::]:${port} ssl;
      server_name localhost;

      ssl_certificate ${join(proxies.folder, "full.pem")};
      ssl_certificate_key ${join(proxies.folder, "leaf.key")};
      ssl_session_timeout 5m;
      ssl_session_cache shared:SSL:50m;
      ssl_protocols TLSv1.2 TLSv1.3;
      ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256:ECDHE:ECDH:AES:HIGH:!NULL:!aNULL:!MD5:!ADH:!RC4;

      location /wss {
        proxy_pass http://${upstream.address};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "Upgrade";
        proxy_set_header X-Real-IP $remote_addr;
      }
    }`);
}

function startApache(proxies: GeneratedProxies, upstream: Upstream): Promise<RunningProxy> {
  return startProxy("apache", (port) => `
    Listen ${port}
    <VirtualHost *:${port}>
      ServerName localhost

      SSLEngine on
      SSLProxyEngine on
      ProxyRequests Off
      ProxyPass /wss ws://${upstream.address}
      ProxyPassReverse /wss ws://${upstream.address}

      SSLProtocol all -SSLv2 -SSLv3 -TLSv1 -TLSv1.1
      SSLCipherSuite HIGH:!RC4:!MD5:!aNULL:!eNULL:!NULL:!DH:!EDH:!EXP:+MEDIUM
      SSLHonorCipherOrder on
      SSLCertificateFile ${join(proxies.folder, "leaf.pem")}
      SSLCertificateKeyFile ${join(proxies.folder, "leaf.key")}
      SSLCertificateChainFile ${join(proxies.folder, "middle.pem")}
    </VirtualHost>`);
}

const HANDSHAKE = [
  "GET /wss HTTP/1.1",
  "Host: localhost",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

for (const [kind, start] of [["nginx", startNginx], ["apache", startApache]] as const) {
  Deno.test(`Workerman's ${kind} configuration: exchanges messages at /wss and forwards the client's address`, async () => {
    await using proxies = await openGeneratedProxies(kind);
    if (proxies === undefined) return;
    // The default paths, because Apache's ProxyPass removes /wss.
    await using upstream = await startUpstream({ path: ["/", "/wss"] });
    await using proxy = await start(proxies, upstream);
    const client = await connect({ ca: proxies.ca, port: proxy.port });
    client.send("tom");
    assertEquals(await client.next(), "ok");
    assertEquals(upstream.seen.at(-1)!.address, "::1");
    assertEquals(await client.close(), 1000);
    await upstream.waitForOpen(0);
  });

  Deno.test(`Workerman's ${kind} configuration: a client cannot forge its address`, async () => {
    await using proxies = await openGeneratedProxies(kind);
    if (proxies === undefined) return;
    const headerName = kind === "nginx" ? "x-real-ip" : "x-forwarded-for";
    for (const clientAddressHeader of ["auto", headerName] as const) {
      await using upstream = await startUpstream({
        path: ["/", "/wss"],
        clientAddressHeader,
        trustedProxy: ["127.0.0.1"],
      });
      await using proxy = await start(proxies, upstream);
      const forged = ["X-Real-IP: 192.0.2.66", "X-Forwarded-For: 192.0.2.66", "Forwarded: for=192.0.2.66"];
      for (const header of forged) {
        assertMatch(
          await ask({ port: proxy.port, ca: proxies.ca, hostname: "::1" }, [...HANDSHAKE, header, "", ""].join("\r\n")),
          /^HTTP\/1\.1 101 /,
        );
        // With auto, contradictory headers result in the proxy's own address.
        const isOverwritten = header.toLowerCase().startsWith(`${headerName}:`);
        const expected = clientAddressHeader === "auto" && !isOverwritten ? "127.0.0.1" : "::1";
        assertEquals(upstream.seen.at(-1)!.address, expected, `${clientAddressHeader}, ${header}`);
      }
      await upstream.waitForOpen(0);
    }
  });
}
