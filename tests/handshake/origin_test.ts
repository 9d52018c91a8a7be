import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { Mode } from "../../lib/config/service_mode.ts";
import { compileOriginRule, type OriginFacts, readOriginFacts, warnAboutOrigins } from "../../lib/handshake/origin.ts";
import { addressSet, LOOPBACK } from "../../lib/ip.ts";

/** The facts of a request that a browser sends to a public service over TLS. */
const facts = (origin: string | null, change: Partial<OriginFacts> = {}): OriginFacts => ({
  origin,
  host: "example.com",
  hostKnown: true,
  secure: true,
  credentials: false,
  unproxied: true,
  possibleRebinding: false,
  fetchSite: null,
  ...change,
});

const DIRECT: Mode = {
  kind: "direct",
  address: { transport: "tcp", hostname: "127.0.0.1", port: 8282 },
  certificate: { kind: "development" },
};
const PROXIED: Mode = {
  kind: "proxied",
  address: { transport: "tcp", hostname: "127.0.0.1", port: 8282 },
  trusted: addressSet(LOOPBACK),
  header: "auto",
  strict: false,
  minTls: "1.2",
};

/** The facts of a request from loopback with these headers. */
function read(mode: Mode, headers: Record<string, string>, port: number | null = 8282) {
  const host = headers.Host ?? "localhost";
  return readOriginFacts(
    { headers: new Headers(headers), host, trustedProxy: mode.kind === "proxied" },
    mode,
    port ?? undefined,
  );
}

Deno.test("automatic origin rule: allows clients without Origin and pages of the same site, with credentials too", () => {
  const rule = compileOriginRule(undefined, true);
  for (
    const [origin, host] of [
      [null, "example.com"],
      ["https://example.com", "example.com"],
      ["https://EXAMPLE.com", "example.com"],
      // Cookies are shared between ports, so a page on any port may connect to a service on any port.
      ["https://example.com", "example.com:8282"],
      ["https://example.com:8443", "example.com"],
      ["https://[2001:db8::1]:8080", "[2001:db8::1]:8282"],
      ["https://xn--bcher-kva.example", "bücher.example"],
    ] as const
  ) {
    assertEquals(rule(facts(origin, { host, credentials: true })), undefined, `${origin} ${host}`);
  }
});

Deno.test("automatic origin rule: refuses another site's page with credentials, and allows it without", () => {
  const rule = compileOriginRule(undefined, false);
  for (
    const origin of [
      "https://evil.example",
      "https://example.com.evil.example",
      "https://sub.example.com",
      "https://evilexample.com",
      "https://evil.example/example.com",
      "https://user@evil.example",
      "null",
      "example.com",
      "chrome-extension://abcdef",
      "app://example.com",
    ]
  ) {
    const refusal = rule(facts(origin, { credentials: true }));
    assertEquals(refusal?.status, 403, origin);
    assertMatch(
      refusal?.reason ?? "",
      /cross-site WebSocket hijacking\. If that page is yours, allow it with --origin /,
    );
    assertEquals(rule(facts(origin)), undefined, origin);
  }
});

Deno.test("automatic origin rule: treats a page without TLS as another site if the service has TLS", () => {
  const rule = compileOriginRule(undefined, false);
  const page = (change: Partial<OriginFacts>) => rule(facts("http://example.com", { credentials: true, ...change }));
  assertMatch(
    page({})?.reason ?? "",
    /The page was loaded without TLS, .* If that page is yours, allow it with --origin http:\/\/example\.com\.$/,
  );
  // The proxy does not report whether the client uses TLS.
  assertEquals(page({ secure: undefined }), undefined);
  assertEquals(page({ credentials: false }), undefined);
  const local = facts("http://localhost:5173", { host: "localhost:8282", credentials: true });
  assertEquals(compileOriginRule(undefined, true)(local)?.status, 403);
  assertEquals(compileOriginRule(undefined, true)({ ...local, credentials: false }), undefined);
});

Deno.test("automatic origin rule: uses Sec-Fetch-Site if the proxy does not forward the host; without it the refusal explains the fix", () => {
  const rule = compileOriginRule(undefined, true);
  const ask = (origin: string, change: Partial<OriginFacts> = {}) =>
    rule(facts(origin, { host: "127.0.0.1:8282", hostKnown: false, unproxied: false, credentials: true, ...change }));
  const refusal = ask("https://example.com");
  assertMatch(
    refusal?.reason ?? "",
    /does not forward the requested host \(Host: 127\.0\.0\.1:8282\).*proxy_set_header Host \$host; Apache: ProxyPreserveHost On\)\. If that page is yours, allow it with --origin https:\/\/example\.com\.$/,
  );
  assertEquals(refusal?.warning, refusal?.reason);
  assertEquals(ask("https://example.com", { fetchSite: "same-origin" }), undefined);
  for (const fetchSite of ["same-site", "cross-site", "none"]) {
    assertEquals(ask("https://example.com", { fetchSite })?.status, 403, fetchSite);
  }
  assertEquals(ask("https://example.com", { credentials: false }), undefined);
  // If the host is known, Sec-Fetch-Site is ignored.
  assertEquals(
    ask("https://evil.example", { host: "example.com", hostKnown: true, fetchSite: "same-origin" })?.status,
    403,
  );
});

Deno.test("automatic origin rule on loopback: allows only pages of this machine", () => {
  const rule = compileOriginRule(undefined, true);
  const ask = (origin: string, change: Partial<OriginFacts> = {}) =>
    rule(facts(origin, { host: "localhost:8282", ...change }));
  for (
    const origin of [
      "http://localhost:3000",
      "https://app.localhost",
      "http://127.0.0.1:5173",
      "http://127.9.9.9",
      "http://[::1]:3000",
      "http://[::ffff:127.0.0.1]",
    ]
  ) assertEquals(ask(origin), undefined, origin);
  for (
    const origin of [
      "https://evil.example",
      "http://localhost.evil.example",
      "http://127.0.0.1.evil.example",
      "http://notlocalhost",
      "http://192.168.1.2",
      "null",
      "file://",
    ]
  ) {
    assertEquals(ask(origin)?.status, 403, origin);
    assertMatch(ask(origin)?.reason ?? "", /listens on loopback and accepts only pages of this machine/);
    // A request that a proxy forwarded did not come from a browser on this machine.
    assertEquals(ask(origin, { unproxied: false }), undefined, origin);
  }
  const rebound = rule(
    facts("http://evil.example:8282", { host: "evil.example:8282", secure: undefined, possibleRebinding: true }),
  );
  assertMatch(rebound?.reason ?? "", /by the name evil\.example, but .* \(DNS rebinding\)/);
});

Deno.test("readOriginFacts: finds host, TLS and proxy from the request's headers", () => {
  const known = ({ unproxied, hostKnown, possibleRebinding, secure, host }: OriginFacts) => ({
    unproxied,
    hostKnown,
    possibleRebinding,
    secure,
    host,
  });
  const client = { unproxied: true, hostKnown: true, possibleRebinding: false };
  assertEquals(known(read(DIRECT, { Host: "localhost:8282" })), { ...client, secure: true, host: "localhost:8282" });
  // A page that bypasses the proxy, first with a name of this machine, then with a foreign name.
  const host = "localhost:8282";
  assertEquals(known(read(PROXIED, { Host: host })), { ...client, secure: undefined, host });
  const evil = "evil.example:8282";
  assertEquals(known(read(PROXIED, { Host: evil })), {
    ...client,
    possibleRebinding: true,
    secure: undefined,
    host: evil,
  });
  // nginx as in its manual: X-Real-IP, and the service's own address as Host.
  assertEquals(known(read(PROXIED, { Host: host, "X-Real-IP": "192.0.2.1" })), {
    unproxied: false,
    hostKnown: false,
    possibleRebinding: false,
    secure: undefined,
    host,
  });
  // The generated configuration, and a proxy that forwards only Host.
  const forwarded = { "X-Forwarded-Host": "example.com", "X-Forwarded-Proto": "https" };
  const through = { unproxied: false, hostKnown: true, possibleRebinding: false };
  assertEquals(known(read(PROXIED, { Host: "wss", ...forwarded })), { ...through, secure: true, host: "example.com" });
  assertEquals(known(read(PROXIED, { Host: "example.com" })), { ...through, secure: undefined, host: "example.com" });
  // A unix socket has no port, and no browser can connect to it.
  assertEquals(known(read(PROXIED, { Host: "localhost" }, null)), {
    ...through,
    hostKnown: false,
    secure: undefined,
    host: "localhost",
  });
  const odd = read(PROXIED, { Host: "%2Frun%2Fwss.sock", Origin: "https://evil.example", Cookie: "a=1" }, null);
  assertEquals([odd.hostKnown, compileOriginRule(undefined, false)(odd)?.status], [false, 403]);
  // Forwarding headers of an untrusted peer are ignored.
  const stranger = readOriginFacts(
    { headers: new Headers(forwarded), host: "example.com", trustedProxy: false },
    PROXIED,
    8282,
  );
  assertEquals([stranger.host, stranger.secure, stranger.unproxied], ["example.com", undefined, true]);
});

Deno.test("readOriginFacts: counts cookies, HTTP authentication and client certificates as credentials, but not a Bearer token", () => {
  for (
    const [name, value, ambient] of [
      ["Cookie", "a=1", true],
      ["Authorization", "Basic dG9tOnRvbQ==", true],
      ["Authorization", 'Digest username="tom"', true],
      ["Authorization", "negotiate YII=", true],
      ["Authorization", "NTLM TlRM", true],
      ["Client-Cert", ":MIIB:", true],
      ["X-Forwarded-Client-Cert", "Hash=abc", true],
      ["Authorization", "Bearer 0123456789abcdef", false],
      ["Authorization", "bearer 0123456789abcdef", false],
      ["Authorization", "ApiKey 1", false],
      ["X-Cookie", "a=1", false],
    ] as const
  ) assertEquals(read(DIRECT, { [name]: value }).credentials, ambient, `${name}: ${value}`);
});

Deno.test("origin list: allows its origins and clients without Origin, and refuses all others", () => {
  const rule = compileOriginRule([
    ...["https://example.com", "http://localhost:3000/", "https://a.example:443", "null", "file://"],
    ...["app://localhost", "Bare-Word", "https://bücher.example", "wss://meant.example"],
  ], true);
  for (
    const origin of [
      null,
      "https://example.com",
      "https://EXAMPLE.com",
      "https://example.com:443",
      "http://localhost:3000",
      "https://a.example",
      "https://xn--bcher-kva.example",
      "null",
      "file://",
      "FILE://",
      "app://localhost",
      "app://localhost/",
      "bare-word",
      "https://meant.example",
    ]
  ) {
    assertEquals(rule(facts(origin, { credentials: true })), undefined, String(origin));
  }
  for (
    const origin of [
      "http://example.com",
      "https://example.com:8443",
      "https://sub.example.com",
      "http://localhost",
      "app://other",
      "",
    ]
  ) assertEquals(rule(facts(origin))?.status, 403, origin);
  assertEquals(
    compileOriginRule(["https://example.com", "null"], true)(facts("https://other.example"))?.reason,
    "Pages of https://other.example may not connect: --origin allows https://example.com, null. " +
      "If that page is yours, allow it with --origin https://other.example.",
  );
});

Deno.test("origin: the option that a 403 recommends allows the page, for any Origin", () => {
  for (
    const origin of [
      "https://other.example",
      "https://OTHER.example:443/",
      "https://other.example/path",
      "https://other.example, https://evil.example",
      "file://",
      "null",
      "app://localhost",
      "a bare word",
      "it's",
      "chrome-extension://abcdef",
      "wss://other.example",
      "ionic://localhost/",
      "https://",
      "*bad*",
    ]
  ) {
    for (const rule of [compileOriginRule(["https://mine.example"], false), compileOriginRule(undefined, false)]) {
      const reason = rule(facts(origin, { credentials: true }))?.reason ?? "";
      const quoted = /--origin ('(?:[^']|'\\'')*'|[^\s']+?)[.;](?:\s|$)/.exec(reason)?.[1];
      if (quoted === undefined) {
        assertMatch(reason, /--origin cannot allow it\./, origin);
        continue;
      }
      const entry = quoted.startsWith("'") ? quoted.slice(1, -1).replaceAll("'\\''", "'") : quoted;
      assertEquals(
        compileOriginRule([entry], false)(facts(origin, { credentials: true })),
        undefined,
        `${origin}: ${reason}`,
      );
    }
  }
});

Deno.test("origin: accepts a host without a scheme, with a warning that names what browsers send", () => {
  assertEquals(compileOriginRule(["example.com"], false)(facts("example.com")), undefined);
  assertEquals(
    warnAboutOrigins(["example.com", "localhost:3000", "bare", "null", "app://x.y", "https://example.com"]),
    [
      "--origin example.com matches no page in a browser: browsers send https://example.com, which needs its own --origin",
      "--origin localhost:3000 matches no page in a browser: browsers send https://localhost:3000, which needs its own --origin",
    ],
  );
  assertEquals(warnAboutOrigins(undefined), []);
});

Deno.test("origin *: allows any site, with credentials too; an empty list means the automatic rule", () => {
  assertEquals(compileOriginRule(["*"], true)(facts("https://evil.example", { credentials: true })), undefined);
  assertEquals(compileOriginRule([], false)(facts("https://evil.example", { credentials: true }))?.status, 403);
  assertThrows(
    () => compileOriginRule(["*", "https://a.example"], false),
    RangeError,
    "* allows any site and cannot be combined with https://a.example",
  );
});

Deno.test("origin: rejects an entry that no client sends, and explains the valid form", () => {
  for (
    const [entry, message] of [
      ["https://example.com/path", ": an origin has scheme, host and port only: https://example.com"],
      ["https://a@example.com", ": an origin has scheme, host and port only: https://example.com"],
      ["https://*.example.com", ": an origin is scheme, host and port (https://example.com), or * for any"],
      ["https://", ": an origin is scheme, host and port (https://example.com), or * for any"],
      ["*.example.com", ": list each origin; * cannot be part of an origin"],
      ["", " is not an origin"],
      [" https://example.com", " is not an origin"],
    ] as const
  ) {
    assertThrows(
      () => compileOriginRule(["https://fine.example", entry], false),
      RangeError,
      `${JSON.stringify(entry)}${message}`,
    );
  }
});
