import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { type OriginFacts, originRule } from "../../lib/handshake/origin.ts";

const facts = (origin: string | null, change: Partial<OriginFacts> = {}): OriginFacts => ({
  origin,
  host: "example.com",
  credentials: false,
  ...change,
});

Deno.test("origin, automatic: no browser, and the service's own pages, are welcome with whatever they carry", () => {
  const rule = originRule(undefined, true);
  for (
    const [origin, host] of [
      [null, "example.com"],
      ["https://example.com", "example.com"],
      ["https://EXAMPLE.com", "example.com"],
      ["https://example.com", "example.com:443"],
      ["https://example.com:8443", "example.com:8443"],
      // A proxy that forwards Host without its port.
      ["https://example.com:8443", "example.com"],
      ["http://[2001:db8::1]:8080", "[2001:db8::1]:8080"],
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
      "https://example.com:8443",
      "https://evilexample.com",
      "https://evil.example/example.com",
      "https://user@evil.example",
      "null",
      "",
      "example.com",
      "chrome-extension://abcdef",
    ]
  ) {
    const host = origin.endsWith(":8443") ? "example.com:443" : "example.com";
    const refusal = rule(facts(origin, { host, credentials: true }));
    assertEquals(refusal?.status, 403, origin);
    assertMatch(
      refusal?.reason ?? "",
      /cross-site WebSocket hijacking\. If that page is yours, allow it with --origin /,
    );
    assertEquals(rule(facts(origin, { host })), undefined, origin);
  }
});

Deno.test("origin, automatic on loopback: a page from elsewhere is refused, one of this machine is welcome", () => {
  const rule = originRule(undefined, true);
  const ask = (origin: string) => rule(facts(origin, { host: "localhost:8282" }));
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
  }
});

Deno.test("origin, a list: only its origins and what is no browser, with cookies or without", () => {
  const rule = originRule(["https://example.com", "http://localhost:3000/", "https://a.example:443", "null"], true);
  for (
    const origin of [
      null,
      "https://example.com",
      "https://EXAMPLE.com",
      "http://localhost:3000",
      "https://a.example",
      "null",
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
      "",
    ]
  ) {
    const refusal = rule(facts(origin));
    assertEquals(refusal?.status, 403, origin);
    assertEquals(
      refusal?.reason,
      `Pages of ${origin} may not connect: --origin allows https://example.com, http://localhost:3000, https://a.example, null.`,
    );
  }
});

Deno.test("origin, *: anybody, with cookies too; an empty list is automatic", () => {
  assertEquals(originRule(["*"], true)(facts("https://evil.example", { credentials: true })), undefined);
  assertEquals(originRule([], false)(facts("https://evil.example", { credentials: true }))?.status, 403);
});

Deno.test("origin: an entry that is no origin is refused at the start, by name", () => {
  for (
    const entry of [
      "example.com",
      "https://example.com/path",
      "https://a@example.com",
      "https://*.example.com?",
      "",
      "file:///x",
    ]
  ) {
    assertThrows(() => originRule(["https://fine.example", entry], false), RangeError, `not "${entry}"`, entry);
  }
});
