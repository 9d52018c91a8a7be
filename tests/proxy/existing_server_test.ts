/** A part for an existing server leaves the other sites of that server as they were. */
import { assertEquals } from "@std/assert";
import { generateProxyConfiguration, proxyCommand } from "../../lib/cli/proxy.ts";
import { parseFlags } from "../../lib/config/command_line.ts";
import { isLoopback } from "../../lib/ip.ts";
import { Client } from "../support/client.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { hasProxy, startProxy } from "../support/proxies.ts";
import { rawResponse } from "../support/raw.ts";
import { KINDS, putIntoServer } from "./generated_proxies.ts";
import { startUpstream } from "./upstream.ts";

for (const kind of KINDS) {
  Deno.test(`${kind}: the part for an existing server does not change requests to its other apps`, async () => {
    if (!await hasProxy(kind) || !await hasOpenssl()) return;
    await using pki = await openPki();
    const { cert, key } = await pki.leaf("leaf");
    const bundle = await pki.bundle("bundle.pem", cert, key);
    const ca = await Deno.readTextFile(cert);
    await using upstream = await startUpstream();
    await using other = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      return Response.json(Object.fromEntries(request.headers));
    });
    const app = `127.0.0.1:${other.addr.port}`;
    const words = [kind, "--upstream", upstream.address, "--path", "/wss"];
    const { values, positionals, problems } = parseFlags(words, proxyCommand.options);
    const { text } = generateProxyConfiguration({ flags: values, positionals, problems }, {});
    const request = "GET /app HTTP/1.1\r\nHost: localhost\r\nX-Real-IP: 192.0.2.7\r\nX-Forwarded-For: 192.0.2.7\r\n" +
      "Forwarded: for=192.0.2.7;proto=https\r\nX-SSL-Protocol: TLSv1.3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const headersWith = async (part: string, use: (port: number) => Promise<void>) => {
      await using proxy = await startProxy(kind, (port) => putIntoServer(kind, part, { port, cert, key, bundle, app }));
      const { body } = await rawResponse({ port: proxy.port, ca }, request);
      await use(proxy.port);
      return JSON.parse(/\{.*\}/s.exec(body)![0]);
    };
    const before = await headersWith("", () => Promise.resolve());
    const after = await headersWith(text, async (port) => {
      await using client = await Client.open(`wss://localhost:${port}/wss`, { ca: cert });
      assertEquals(await client.ask("tom"), "ok");
      assertEquals(upstream.seen.map(({ address }) => isLoopback(address ?? "")), [true]);
    });
    assertEquals(after, before);
  });
}
