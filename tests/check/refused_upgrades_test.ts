/**
 * Responses other than 101. Each case changes only the response of a correct endpoint. The bodies are quoted from
 * services, CDNs and platforms.
 */
import { assert, assertEquals } from "@std/assert";
import { runCheck } from "../../lib/check/run_check.ts";
import { echoService } from "./test_servers.ts";
import { urlOf } from "./expect.ts";

interface Case {
  readonly name: string;
  readonly status: number;
  readonly body?: string;
  readonly headers?: Record<string, string>;
  readonly code: string;
  /** Patterns that the fact and the remedy must contain. */
  readonly patterns: readonly RegExp[];
}

const html = (title: string, body = "") => `<!DOCTYPE html><html><head><title>${title}</title></head><body>${body}`;

const CASES: readonly Case[] = [
  {
    name: "a challenge page of Cloudflare",
    status: 403,
    headers: { server: "cloudflare", "cf-mitigated": "challenge" },
    body: html("Just a moment..."),
    code: "cdn-challenge",
    patterns: [/challenge/, /Exempt the WebSocket path/],
  },
  {
    name: "a challenge page with 503",
    status: 503,
    body: html("Just a moment...", "<h1>Checking your browser before accessing</h1>"),
    code: "cdn-challenge",
    patterns: [/challenge/],
  },
  ...([
    [520, /empty or invalid response/],
    [521, /origin server refuses/],
    [522, /TCP timeout/],
    [523, /no route/],
    [524, /no response .* within 100 s/],
    [525, /TLS connection to the origin/],
    [526, /origin server's certificate/],
    [530, /resolve/],
  ] as const).map(([status, patterns]): Case => ({
    name: `status ${status} of Cloudflare`,
    status,
    headers: { server: "cloudflare" },
    body: `error code: ${status === 530 ? 1016 : status}`,
    code: "cdn-origin-error",
    patterns: [/Cloudflare/, patterns],
  })),
  {
    name: "a block by Cloudflare's firewall",
    status: 403,
    headers: { server: "cloudflare" },
    body: html("Access denied | Cloudflare", "<h1>Error 1020</h1>") + "error code: 1020",
    code: "cdn-blocked",
    patterns: [/firewall/],
  },
  {
    name: "a block by Akamai",
    status: 403,
    headers: { server: "AkamaiGHost" },
    body: html("Access Denied", "<H1>Access Denied</H1> You don't have permission. Reference #18.2d351ab8.1557333295"),
    code: "cdn-blocked",
    patterns: [/CDN/],
  },
  {
    name: "a block by CloudFront",
    status: 403,
    headers: { server: "CloudFront" },
    body: html("ERROR: The request could not be satisfied", "<H1>403 ERROR</H1>"),
    code: "cdn-blocked",
    patterns: [/CloudFront/],
  },
  {
    name: "a domain without an ICP filing",
    status: 403,
    headers: { server: "Beaver" },
    body: html("TestPage184", "<p>Non-compliance ICP Filing</p>"),
    code: "cdn-blocked",
    patterns: [/ICP/],
  },
  {
    name: "Heroku without an app",
    status: 404,
    body: html("No such app"),
    code: "platform-not-found",
    patterns: [/no running service/],
  },
  {
    name: "Vercel without a deployment",
    status: 404,
    headers: { "x-vercel-error": "DEPLOYMENT_NOT_FOUND" },
    body: "The deployment could not be found on Vercel.",
    code: "platform-not-found",
    patterns: [/hosting/],
  },
  {
    name: "a captive portal by redirect",
    status: 302,
    headers: { location: "http://wifi.hotel.example/portal?continue=x" },
    code: "captive-portal",
    patterns: [/captive portal/, /log in/],
  },
  { name: "a captive portal by 511", status: 511, code: "captive-portal", patterns: [/login/, /another network/] },
  {
    name: "a captive portal by a page",
    status: 200,
    body: html("WiFi Login"),
    code: "captive-portal",
    patterns: [/captive portal/],
  },
  {
    name: "Socket.IO",
    status: 400,
    body: '{"code":0,"message":"Transport unknown"}',
    code: "engine-io",
    patterns: [/Socket\.IO/, /EIO=4&transport=websocket/],
  },
  {
    name: "Socket.IO of another version",
    status: 400,
    body: '{"code":5,"message":"Unsupported protocol version"}',
    code: "engine-io",
    patterns: [/Socket\.IO/],
  },
  {
    name: "a polling response of Engine.IO",
    status: 200,
    body: '0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000}',
    code: "engine-io",
    patterns: [/Socket\.IO/],
  },
  { name: "SockJS", status: 200, body: "Welcome to SockJS!\n", code: "sockjs", patterns: [/\/websocket/] },
  { name: "SignalR", status: 400, body: "Connection ID required", code: "signalr", patterns: [/SignalR client/] },
  {
    name: "Server-Sent Events",
    status: 200,
    headers: { "content-type": "text/event-stream" },
    body: "data: x\n\n",
    code: "event-stream",
    patterns: [/EventSource/],
  },
  {
    name: "a 426 that requires TLS",
    status: 426,
    headers: { upgrade: "TLS/1.2, HTTP/1.1" },
    body: "426 Upgrade Required\nAccording to the proxy, the client connected without TLS (X-Forwarded-Proto: http).\n",
    code: "upgrade-needs-tls",
    patterns: [/X-Forwarded-Proto: http\)/, /wss:\/\//],
  },
  {
    name: "a 426 with another version",
    status: 426,
    headers: { "sec-websocket-version": "8, 7" },
    code: "upgrade-version",
    patterns: [/"8, 7"/, /library/],
  },
  {
    name: "a 400 about the version",
    status: 400,
    body: "Missing or invalid Sec-WebSocket-Version header",
    code: "upgrade-version",
    patterns: [/Sec-WebSocket-Version/],
  },
  {
    name: "a 400 that requires a subprotocol",
    status: 400,
    body: "Failed to open a WebSocket connection: missing Sec-WebSocket-Protocol header.",
    code: "upgrade-subprotocol",
    patterns: [/--subprotocol/],
  },
  {
    name: "a Host that is not allowed",
    status: 400,
    body: html("DisallowedHost at /", "<p>Invalid HTTP_HOST header: you may need to add it to ALLOWED_HOSTS.</p>"),
    code: "upgrade-host",
    patterns: [/Host/],
  },
  {
    name: "an invalid Host",
    status: 403,
    body: "Invalid Host header",
    code: "upgrade-host",
    patterns: [/forward Host/],
  },
  {
    name: "a 400 about a token",
    status: 400,
    body: '{"error":"missing token"}',
    code: "upgrade-unauthorized",
    patterns: [/missing token/, /--header/],
  },
  {
    name: "a 403 about the Origin",
    status: 403,
    body: "Origin null is not in the list",
    code: "upgrade-forbidden",
    patterns: [/Origin null/, /--origin/],
  },
  {
    name: "a redirect to a login",
    status: 302,
    headers: { location: "/login?next=%2Fws" },
    code: "upgrade-unauthorized",
    patterns: [/login/, /Cookie/],
  },
  {
    name: "a 401 with a challenge whose body mentions an Origin",
    status: 401,
    headers: { "www-authenticate": 'Bearer realm="wss"' },
    body: "A token is required, for every Origin.",
    code: "upgrade-unauthorized",
    patterns: [/credentials are required/],
  },
  {
    name: "a 400 about another version",
    status: 400,
    body: "Unsupported API version",
    code: "upgrade-bad-request",
    patterns: [/did not recognise the upgrade/],
  },
  {
    name: "a number that only Cloudflare's pages use as an error code",
    status: 403,
    body: '{"message":"error code: 1006"}',
    code: "upgrade-forbidden",
    patterns: [/1006/],
  },
  {
    name: "a page of the service that mentions a hotspot",
    status: 404,
    body: html("Hotspot not found"),
    code: "upgrade-not-found",
    patterns: [/no WebSocket at this path/],
  },
  {
    name: "a client certificate that Apache requires",
    status: 403,
    body: html("403 Forbidden", "<p>Reason: Cannot perform Post-Handshake Authentication.<br /></p>"),
    code: "client-certificate-required",
    patterns: [/Turn off client certificates/],
  },
  { name: "496", status: 496, code: "client-certificate-required", patterns: [/"496"/] },
  { name: "402", status: 402, code: "upgrade-refused", patterns: [/suspended/] },
  { name: "407", status: 407, code: "upgrade-proxy-authentication", patterns: [/forward proxy/] },
  { name: "408", status: 408, code: "upgrade-request-timeout", patterns: [/complete request/] },
  { name: "410", status: 410, code: "upgrade-not-found", patterns: [/no longer exists/] },
  { name: "411", status: 411, code: "upgrade-length-required", patterns: [/Content-Length/] },
  { name: "413", status: 413, code: "upgrade-too-large", patterns: [/size limit/] },
  { name: "414", status: 414, code: "upgrade-too-large", patterns: [/URL is too long/] },
  { name: "421", status: 421, code: "upgrade-misdirected", patterns: [/SNI/] },
  { name: "431", status: 431, code: "upgrade-too-large", patterns: [/cookies/] },
  {
    name: "nginx's 400 about cookies",
    status: 400,
    body: html("400 Request Header Or Cookie Too Large"),
    code: "upgrade-too-large",
    patterns: [/cookies/],
  },
  { name: "451", status: 451, code: "upgrade-forbidden", patterns: [/legal/] },
  { name: "501", status: 501, code: "upgrade-not-implemented", patterns: [/not support WebSocket/] },
  { name: "505", status: 505, code: "upgrade-http-version", patterns: [/HTTP\/1\.1/] },
  {
    name: "a 503 with Retry-After",
    status: 503,
    headers: { "retry-after": "30" },
    body: "503 Service Unavailable\nConnection limit reached (100).\n",
    code: "upgrade-unavailable",
    patterns: [/limit reached \(100\)/, /Retry-After: "30"/],
  },
];

Deno.test("explains a response other than 101 by its status, headers and body", async (t) => {
  for (const { name, status, headers = {}, body, code, patterns } of CASES) {
    await t.step(name, async () => {
      await using server = echoService({
        onRequest: () => new Response(body ?? "", { status, headers }),
      });
      const report = await runCheck({ url: urlOf("ws", server, "/ws") });
      const first = report.first;
      assertEquals([first?.code, report.exit, report.verdict], [code, 1, "errors"], JSON.stringify(report));
      for (const pattern of patterns) assert(pattern.test(`${first?.fact} ${first?.remedy}`), JSON.stringify(first));
    });
  }
});

Deno.test("does not report changed bytes if only the service's path answers 400", async () => {
  await using server = echoService({
    onRequest: (request) => new Response(null, { status: new URL(request.url).pathname === "/ws" ? 400 : 404 }),
  });
  const { first } = await runCheck({ url: urlOf("ws", server, "/ws") });
  assertEquals(first?.code, "upgrade-bad-request", JSON.stringify(first));
});

Deno.test("quotes the body of a refusal in full", async () => {
  const reason = "The page's origin https://shop.example is not the service's own, and the request carries cookies. " +
    "Start the service with --origin https://shop.example to let its pages in, or send the request without cookies; " +
    "behind a proxy that does not forward Host, see the manual's page on proxies.";
  await using server = echoService({ onRequest: () => new Response(`403 Forbidden\n${reason}\n`, { status: 403 }) });
  const { first } = await runCheck({ url: urlOf("ws", server) });
  assert(first?.fact.includes(reason), first?.fact);
  assert(!first?.fact.includes('"403 Forbidden'), first?.fact);
});

Deno.test("reports whether a refused upgrade succeeds with another Origin", async (t) => {
  const ownOrigin = (request: Request) => `http://${request.headers.get("host")}`;
  await t.step("the Origin of the endpoint's own host is accepted", async () => {
    await using server = echoService({
      onRequest: (request) =>
        request.headers.get("origin") === ownOrigin(request) ? undefined : new Response("no", { status: 403 }),
    });
    const { first } = await runCheck({ url: urlOf("ws", server) });
    assertEquals(first?.code, "upgrade-forbidden");
    assert(first?.fact.includes(`accepts the Origin http://127.0.0.1:${server.port}`), first?.fact);
    assert(first?.remedy?.endsWith(`--origin http://127.0.0.1:${server.port}`), first?.remedy);
  });
  await t.step("no Origin is accepted", async () => {
    await using server = echoService({ onRequest: () => new Response("no", { status: 403 }) });
    const { first } = await runCheck({ url: urlOf("ws", server) });
    assert(first?.fact.includes("refuses the request, usually because of its Origin"), first?.fact);
  });
});
