/**
 * The nginx and Apache configurations of Workerman's page on wss, with what today's versions need in order to load
 * them: `listen … ssl` in place of `ssl on`, protocols and ciphers that OpenSSL 3 has. Path, headers and the rest as
 * they stand there: only X-Real-IP set, Host not forwarded, Connection a constant.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { type RunningProxy, startProxy } from "../support/proxies.ts";
import { connect, rawRequest } from "./client.ts";
import { openStage, type Stage } from "./stage.ts";
import { startUpstream, type Upstream } from "./upstream.ts";

function startNginx(stage: Stage, upstream: Upstream): Promise<RunningProxy> {
  return startProxy("nginx", (port) => `
    server {
      listen ${port} ssl;
      listen [::]:${port} ssl;
      server_name localhost;

      ssl_certificate ${join(stage.folder, "full.pem")};
      ssl_certificate_key ${join(stage.folder, "leaf.key")};
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

function startApache(stage: Stage, upstream: Upstream): Promise<RunningProxy> {
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
      SSLCertificateFile ${join(stage.folder, "leaf.pem")}
      SSLCertificateKeyFile ${join(stage.folder, "leaf.key")}
      SSLCertificateChainFile ${join(stage.folder, "middle.pem")}
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
  Deno.test(`model page, ${kind}: tom is answered with ok at wss://…/wss, and the client's address is known`, async () => {
    await using stage = await openStage(kind);
    if (stage === undefined) return;
    // Default paths: Apache's ProxyPass takes /wss off.
    await using upstream = await startUpstream({ path: ["/", "/wss"] });
    await using proxy = await start(stage, upstream);
    const client = await connect({ ca: stage.ca, port: proxy.port });
    client.send("tom");
    assertEquals(await client.next(), "ok");
    assertEquals(upstream.seen.at(-1)!.address, "::1");
    assertEquals(await client.close(), 1000);
    await upstream.opens(0);
  });

  Deno.test(`model page, ${kind}: a client that forges headers is not who it says it is`, async () => {
    await using stage = await openStage(kind);
    if (stage === undefined) return;
    const own = kind === "nginx" ? "x-real-ip" : "x-forwarded-for";
    for (const clientAddressHeader of ["auto", own] as const) {
      await using upstream = await startUpstream({
        path: ["/", "/wss"],
        clientAddressHeader,
        trustedProxy: ["127.0.0.1"],
      });
      await using proxy = await start(stage, upstream);
      const forged = ["X-Real-IP: 192.0.2.66", "X-Forwarded-For: 192.0.2.66", "Forwarded: for=192.0.2.66"];
      for (const header of forged) {
        assertMatch(await rawRequest(stage.ca, proxy.port, [...HANDSHAKE, header]), /^HTTP\/1\.1 101 /);
        // Without the pin, headers that contradict each other leave the proxy's own address.
        const mended = header.toLowerCase().startsWith(`${own}:`);
        const expected = clientAddressHeader === "auto" && !mended ? "127.0.0.1" : "::1";
        assertEquals(upstream.seen.at(-1)!.address, expected, `${clientAddressHeader}, ${header}`);
      }
      await upstream.opens(0);
    }
  });
}
