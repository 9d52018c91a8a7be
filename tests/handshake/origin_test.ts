import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { Mode } from "../../lib/config/service_mode.ts";
import { type OriginFacts, originFacts, originRule, originWarnings } from "../../lib/handshake/origin.ts";
import { addressSet, LOOPBACK } from "../../lib/ip.ts";

/** A browser that asks a public service over TLS. */
const facts = (origin: string | null, change: Partial<OriginFacts> = {}): OriginFacts => ({
  origin,
  host: "example.com",
  hostKnown: true,
  secure: true,
  credentials: false,
  straight: true,
  rebound: false,
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

/** The facts of a request with these headers, which came from loopback. */
function read(mode: Mode, headers: Record<string, string>, port: number | null = 8282) {
  const host = headers.Host ?? "localhost";
  return originFacts(
    { headers: new Headers(headers), host, trustedProxy: mode.kind === "proxied" },
    mode,
    port ?? undefined,
  );
}

Deno.test("origin, automatic: no browser, and the own site's pages, are welcome with whatever they carry", () => {
  const rule = originRule(undefined, true);
  for (
    const [origin, host] of [
      [null, "example.com"],
      ["https://example.com", "example.com"],
      ["https://EXAMPLE.com", "example.com"],
      // Cookies do not tell ports apart, so the page of the site on 443 is welcome on any port, and the other way round.
      ["https://example.com", "example.com:8282"],
      ["https://example.com:8443", "example.com"],
      ["https://[2001:db8::1]:8080", "[2001:db8::1]:8282"],
      ["https://xn--bcher-kva.example", "bücher.example"],
    ] as const
  ) {
    assertEquals(rule(facts(origin, { host, credentials: true })), undefined, `${origin} ${host}`);
  }
});

Deno.test("origin, automatic: another site's page is refused with the user's cookies, and welcome without", () => {
  const rule = originRule(undefined, false);
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

Deno.test("origin, automatic: a page without TLS is not of the site of a service with TLS", () => {
  const rule = originRule(undefined, false);
  const page = (change: Partial<OriginFacts>) => rule(facts("http://example.com", { credentials: true, ...change }));
  assertMatch(
    page({})?.reason ?? "",
    /which came without TLS .* If that page is yours, allow it with --origin http:\/\/example\.com\.$/,
  );
  // The proxy does not say whether there is TLS.
  assertEquals(page({ secure: undefined }), undefined);
  assertEquals(page({ credentials: false }), undefined);
  const local = facts("http://localhost:5173", { host: "localhost:8282", credentials: true });
  assertEquals(originRule(undefined, true)(local)?.status, 403);
  assertEquals(originRule(undefined, true)({ ...local, credentials: false }), undefined);
});

Deno.test("origin, automatic: where the proxy keeps the host to itself, the browser's own word counts, or the refusal says what to do", () => {
  const rule = originRule(undefined, true);
  const ask = (origin: string, change: Partial<OriginFacts> = {}) =>
    rule(facts(origin, { host: "127.0.0.1:8282", hostKnown: false, straight: false, credentials: true, ...change }));
  const refusal = ask("https://example.com");
  assertMatch(
    refusal?.reason ?? "",
    /does not say which host it asked for \(Host: 127\.0\.0\.1:8282\).*proxy_set_header Host \$host; Apache: ProxyPreserveHost On\)\. If that page is yours, allow it with --origin https:\/\/example\.com\.$/,
  );
  assertEquals(refusal?.warning, refusal?.reason);
  assertEquals(ask("https://example.com", { fetchSite: "same-origin" }), undefined);
  for (const fetchSite of ["same-site", "cross-site", "none"]) {
    assertEquals(ask("https://example.com", { fetchSite })?.status, 403, fetchSite);
  }
  assertEquals(ask("https://example.com", { credentials: false }), undefined);
  // Where the host is known, what it says decides.
  assertEquals(
    ask("https://evil.example", { host: "example.com", hostKnown: true, fetchSite: "same-origin" })?.status,
    403,
  );
});

Deno.test("origin, automatic on loopback: a page from elsewhere is refused, one of this machine is welcome", () => {
  const rule = originRule(undefined, true);
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
    assertMatch(ask(origin)?.reason ?? "", /reaches into this machine/);
    // What a proxy passed on did not come from a browser on this machine.
    assertEquals(ask(origin, { straight: false }), undefined, origin);
  }
  const rebound = rule(
    facts("http://evil.example:8282", { host: "evil.example:8282", secure: undefined, rebound: true }),
  );
  assertMatch(rebound?.reason ?? "", /under the name evil\.example, and .* \(DNS rebinding\)/);
});

Deno.test("origin: what a request says of its way, read from its headers", () => {
  const known = ({ straight, hostKnown, rebound, secure, host }: OriginFacts) => ({
    straight,
    hostKnown,
    rebound,
    secure,
    host,
  });
  const client = { straight: true, hostKnown: true, rebound: false };
  assertEquals(known(read(DIRECT, { Host: "localhost:8282" })), { ...client, secure: true, host: "localhost:8282" });
  // A page that reaches a proxied service past its proxy, under this machine's name or one of its own.
  const host = "localhost:8282";
  assertEquals(known(read(PROXIED, { Host: host })), { ...client, secure: undefined, host });
  const evil = "evil.example:8282";
  assertEquals(known(read(PROXIED, { Host: evil })), { ...client, rebound: true, secure: undefined, host: evil });
  // The manual's nginx: X-Real-IP and the service's own address as Host.
  assertEquals(known(read(PROXIED, { Host: host, "X-Real-IP": "192.0.2.1" })), {
    straight: false,
    hostKnown: false,
    rebound: false,
    secure: undefined,
    host,
  });
  // Ours, and one that forwards Host alone.
  const forwarded = { "X-Forwarded-Host": "example.com", "X-Forwarded-Proto": "https" };
  const through = { straight: false, hostKnown: true, rebound: false };
  assertEquals(known(read(PROXIED, { Host: "wss", ...forwarded })), { ...through, secure: true, host: "example.com" });
  assertEquals(known(read(PROXIED, { Host: "example.com" })), { ...through, secure: undefined, host: "example.com" });
  // A unix socket has no port, and no browser comes to it.
  assertEquals(known(read(PROXIED, { Host: "localhost" }, null)), {
    ...through,
    hostKnown: false,
    secure: undefined,
    host: "localhost",
  });
  const odd = read(PROXIED, { Host: "%2Frun%2Fwss.sock", Origin: "https://evil.example", Cookie: "a=1" }, null);
  assertEquals([odd.hostKnown, originRule(undefined, false)(odd)?.status], [false, 403]);
  // What is forwarded by somebody who is not trusted counts for nothing.
  const stranger = originFacts(
    { headers: new Headers(forwarded), host: "example.com", trustedProxy: false },
    PROXIED,
    8282,
  );
  assertEquals([stranger.host, stranger.secure, stranger.straight], ["example.com", undefined, true]);
});

Deno.test("origin: cookies, Basic, Digest, Negotiate, NTLM and client certificates are ambient; a Bearer token is not", () => {
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

Deno.test("origin, a list: only its origins and what is no browser, with cookies or without", () => {
  const rule = originRule([
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
    originRule(["https://example.com", "null"], true)(facts("https://other.example"))?.reason,
    "Pages of https://other.example may not connect: --origin allows https://example.com, null. " +
      "If that page is yours, allow it with --origin https://other.example.",
  );
});

Deno.test("origin: the advice of a 403 can be followed to the letter, whatever the client sent", () => {
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
    for (const rule of [originRule(["https://mine.example"], false), originRule(undefined, false)]) {
      const reason = rule(facts(origin, { credentials: true }))?.reason ?? "";
      const quoted = /--origin ('(?:[^']|'\\'')*'|[^\s']+?)[.;](?:\s|$)/.exec(reason)?.[1];
      if (quoted === undefined) {
        assertMatch(reason, /no --origin names it[.;]/, origin);
        continue;
      }
      const entry = quoted.startsWith("'") ? quoted.slice(1, -1).replaceAll("'\\''", "'") : quoted;
      assertEquals(originRule([entry], false)(facts(origin, { credentials: true })), undefined, `${origin}: ${reason}`);
    }
  }
});

Deno.test("origin: a host without a scheme is taken, with a warning that says what browsers send", () => {
  assertEquals(originRule(["example.com"], false)(facts("example.com")), undefined);
  assertEquals(originWarnings(["example.com", "localhost:3000", "bare", "null", "app://x.y", "https://example.com"]), [
    "--origin example.com is no page of a browser, which sends https://example.com: that needs an entry of its own",
    "--origin localhost:3000 is no page of a browser, which sends https://localhost:3000: that needs an entry of its own",
  ]);
  assertEquals(originWarnings(undefined), []);
});

Deno.test("origin, *: anybody, with cookies too; an empty list is automatic", () => {
  assertEquals(originRule(["*"], true)(facts("https://evil.example", { credentials: true })), undefined);
  assertEquals(originRule([], false)(facts("https://evil.example", { credentials: true }))?.status, 403);
  assertThrows(() => originRule(["*", "https://a.example"], false), RangeError, "choose one: * is any site");
});

Deno.test("origin: an entry that no client sends is refused at the start, by name, with what would be right", () => {
  for (
    const [entry, message] of [
      ["https://example.com/path", ": an origin has scheme, host and port only: https://example.com"],
      ["https://a@example.com", ": an origin has scheme, host and port only: https://example.com"],
      ["https://*.example.com", ": an origin is scheme, host and port (https://example.com), or * alone"],
      ["https://", ": an origin is scheme, host and port (https://example.com), or * alone"],
      ["*.example.com", ": * stands alone, for any site; name each origin"],
      ["", " is no origin"],
      [" https://example.com", " is no origin"],
    ] as const
  ) {
    assertThrows(
      () => originRule(["https://fine.example", entry], false),
      RangeError,
      `${JSON.stringify(entry)}${message}`,
    );
  }
});
