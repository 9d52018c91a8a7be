import { assertEquals, assertMatch } from "@std/assert";
import { addressSet, LOOPBACK } from "../../lib/ip.ts";
import {
  type AddressRules,
  checkProxyTls,
  readForwardedHost,
  resolveClientAddress,
} from "../../lib/handshake/proxy_headers.ts";
import { parseForwarded } from "../../lib/handshake/forwarded_header.ts";

const PROXY = "127.0.0.1";
const trusted = addressSet([...LOOPBACK, "10.0.0.0/8"]);

function address(
  headers: Record<string, string>,
  rules: Partial<AddressRules> = {},
  remote: string | undefined = PROXY,
) {
  return resolveClientAddress(new Headers(headers), remote, { trusted, ...rules }).address;
}

Deno.test("client address: ignores every header of an untrusted peer, and names the ignored one", () => {
  const headers = new Headers({
    "x-real-ip": "192.0.2.1",
    "x-forwarded-for": "192.0.2.1",
    forwarded: "for=192.0.2.1",
    "x-forwarded-proto": "http",
  });
  for (const header of ["auto", "x-real-ip", "x-forwarded-for", "forwarded", "none"] as const) {
    const seen = resolveClientAddress(headers, "203.0.113.7", { trusted, header });
    assertEquals(seen, { address: "203.0.113.7", trustedProxy: false, ignored: "X-Real-IP" });
  }
  const [forwarded, none] = [
    new Headers({ Forwarded: "for=192.0.2.1" }),
    new Headers({ "X-Forwarded-Proto": "https" }),
  ];
  assertEquals(resolveClientAddress(forwarded, "203.0.113.7", { trusted }).ignored, "Forwarded");
  assertEquals(resolveClientAddress(none, "203.0.113.7", { trusted }).ignored, undefined);
});

Deno.test("client address: uses each of the three headers from a trusted peer", () => {
  assertEquals(resolveClientAddress(new Headers({ "x-real-ip": "192.0.2.1" }), PROXY, { trusted }), {
    address: "192.0.2.1",
    trustedProxy: true,
  });
  assertEquals(address({ "x-forwarded-for": "192.0.2.1" }), "192.0.2.1");
  assertEquals(address({ forwarded: "for=192.0.2.1" }), "192.0.2.1");
  assertEquals(address({}), PROXY);
  assertEquals(address({ "x-real-ip": "192.0.2.1" }, { header: "none" }), PROXY);
});

Deno.test("client address: trusts the peer of a unix socket; without a header the address is undefined", () => {
  const rules = { trusted };
  assertEquals(resolveClientAddress(new Headers(), undefined, rules), { address: undefined, trustedProxy: true });
  assertEquals(resolveClientAddress(new Headers({ "x-real-ip": "192.0.2.1" }), undefined, rules).address, "192.0.2.1");
  assertEquals(resolveClientAddress(new Headers({ "x-real-ip": "unix:" }), undefined, rules).address, undefined);
});

Deno.test("client address: follows the list from the right through trusted hops", () => {
  for (
    const [list, expected] of [
      ["192.0.2.66, 192.0.2.1", "192.0.2.1"],
      ["192.0.2.66, 192.0.2.1, 10.0.0.5", "192.0.2.1"],
      ["192.0.2.66,192.0.2.1,10.0.0.5,127.0.0.1", "192.0.2.1"],
      ["10.0.0.6, 10.0.0.5", "10.0.0.6"],
      ["::ffff:10.0.0.5", "10.0.0.5"],
      ["192.0.2.1, ::ffff:a00:5", "192.0.2.1"],
      // An invalid hop ends the search: the last valid address is used.
      ["192.0.2.1, unknown, 10.0.0.5", "10.0.0.5"],
      ["192.0.2.1, unknown", PROXY],
      ["192.0.2.1, _hidden", PROXY],
      ["192.0.2.1,", PROXY],
      ["192.0.2.1,,10.0.0.5", "10.0.0.5"],
      ["", PROXY],
    ]
  ) {
    assertEquals(address({ "x-forwarded-for": list! }), expected, list);
  }
});

Deno.test("client address: parses ports, brackets and IPv4-mapped addresses, and rejects anything else", () => {
  for (
    const [hop, expected] of [
      ["192.0.2.1:4711", "192.0.2.1"],
      ["2001:DB8:0::1", "2001:db8::1"],
      ["[2001:db8::1]", "2001:db8::1"],
      ["[2001:db8::1]:443", "2001:db8::1"],
      ["::ffff:192.0.2.1", "192.0.2.1"],
      ["[::ffff:192.0.2.1]:9", "192.0.2.1"],
      ["192.0.2.1:65536", PROXY],
      ["192.0.2.1:", PROXY],
      ["[192.0.2.1]", PROXY],
      ["0x10.0.0.1", PROXY],
      ["010.0.0.1", PROXY],
      ["192.0.2.256", PROXY],
      ["fe80::1%eth0", PROXY],
      ["[2001:db8::1", PROXY],
      ["192.0.2.1 192.0.2.2", PROXY],
      ["localhost", PROXY],
      ["192.0.2.1\t:80", PROXY],
    ]
  ) {
    assertEquals(address({ "x-forwarded-for": hop! }), expected, hop);
    assertEquals(address({ "x-real-ip": hop! }), expected, hop);
  }
  assertEquals(address({ "x-real-ip": "192.0.2.1, 192.0.2.2" }), PROXY, "X-Real-IP is not a list");
});

Deno.test("client address: ignores a Forwarded header that violates RFC 7239's grammar", () => {
  for (
    const [text, expected] of [
      ["for=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"],
      ['For="192.0.2.1:4711"', "192.0.2.1"],
      ['for="[2001:db8::1]"', "2001:db8::1"],
      ['for="[2001:db8::1]:4711"', "2001:db8::1"],
      ['for="[2001:db8::1]:_port"', "2001:db8::1"],
      ['for="192.0.2.\\1"', "192.0.2.1"],
      ["for=192.0.2.66, for=192.0.2.1, for=10.0.0.5", "192.0.2.1"],
      ["for=192.0.2.66,for=192.0.2.1;proto=https", "192.0.2.1"],
      ['for=192.0.2.66;host="a,for=192.0.2.7", for=192.0.2.1', "192.0.2.1"],
      ["for=192.0.2.1, for=_hidden, for=10.0.0.5", "10.0.0.5"],
      ["for=192.0.2.1, for=unknown", PROXY],
      ["for=192.0.2.1, proto=https", PROXY],
      ["for=[2001:db8::1]", PROXY],
      ['for="2001:db8::1"', PROXY],
      ["for=192.0.2.1:80", PROXY],
      ["for=192.0.2.1;for=192.0.2.2", PROXY],
      ["for=192.0.2.1 for=192.0.2.2", PROXY],
      ["for =192.0.2.1", PROXY],
      ["for=192.0.2.1,", PROXY],
      ["for=192.0.2.1;", PROXY],
      ["192.0.2.1", PROXY],
      // The client omits a closing quote to hide the element that the proxy appends.
      ['for=192.0.2.66;x=", for=192.0.2.1', PROXY],
      ['for=192.0.2.66;x=", for="[2001:db8::1]"', PROXY],
      ['for=192.0.2.66;x=", for=192.0.2.1;by="[2001:db8::1]"', PROXY],
    ]
  ) {
    assertEquals(address({ forwarded: text! }), expected, text);
  }
});

Deno.test("client address: auto ignores headers that contradict each other", () => {
  // nginx sets only X-Real-IP, and Apache only X-Forwarded-For. The client may have forged the other header.
  const real = { "x-real-ip": "192.0.2.1", "x-forwarded-for": "192.0.2.66" };
  const seen = resolveClientAddress(new Headers(real), PROXY, { trusted });
  assertEquals([seen.address, seen.trustedProxy], [PROXY, true]);
  assertMatch(
    seen.conflict!,
    /X-Real-IP contains 192.0.2.1, X-Forwarded-For contains 192.0.2.66.*--client-address-header/,
  );
  assertEquals(address({ "x-real-ip": "192.0.2.1", forwarded: "for=192.0.2.66" }), PROXY);
  assertEquals(address({ "x-forwarded-for": "192.0.2.1", forwarded: "for=192.0.2.66" }), PROXY);
  assertEquals(address({ "x-forwarded-for": "192.0.2.1", forwarded: '"' }), PROXY);
  assertEquals(address({ "x-real-ip": "192.0.2.1", "x-forwarded-for": "unknown" }), PROXY);
  assertEquals(address({ "x-real-ip": "unix:", "x-forwarded-for": "192.0.2.66" }), PROXY);
  assertEquals(resolveClientAddress(new Headers(real), undefined, { trusted }).address, undefined);
});

Deno.test("client address: auto uses headers that agree", () => {
  const three = { "x-real-ip": "192.0.2.1", "x-forwarded-for": "192.0.2.66, 192.0.2.1", forwarded: "for=192.0.2.1" };
  assertEquals(resolveClientAddress(new Headers(three), PROXY, { trusted }), {
    address: "192.0.2.1",
    trustedProxy: true,
  });
  // Two proxies in a row: X-Real-IP of the inner proxy is the outer proxy, which is also in the list.
  const chain = { "x-real-ip": "10.0.0.5", "x-forwarded-for": "192.0.2.66, 192.0.2.1, 10.0.0.5" };
  assertEquals(address(chain), "192.0.2.1");
  assertEquals(address({ ...chain, "x-real-ip": "10.0.0.6" }), PROXY);
});

Deno.test("client address: reads only the header selected by the option", () => {
  const headers = { "x-real-ip": "192.0.2.1", "x-forwarded-for": "192.0.2.2", forwarded: "for=192.0.2.3" };
  assertEquals(address(headers, { header: "x-real-ip" }), "192.0.2.1");
  assertEquals(address(headers, { header: "x-forwarded-for" }), "192.0.2.2");
  assertEquals(address(headers, { header: "forwarded" }), "192.0.2.3");
  assertEquals(address({ "x-forwarded-for": "192.0.2.2" }, { header: "x-real-ip" }), PROXY);
});

Deno.test("client address: handles a list of 30,000 hops", () => {
  const list = "10.0.0.5," + "_,".repeat(30_000) + "192.0.2.1";
  assertEquals(address({ "x-forwarded-for": list }), "192.0.2.1");
});

Deno.test("parseForwarded: returns elements in order, names in lower case, values unquoted", () => {
  const elements = parseForwarded('For="_a\\"b";Proto=https ,\thost="a.example:1"')!;
  assertEquals(elements.map((element) => [...element]), [[["for", '_a"b'], ["proto", "https"]], [[
    "host",
    "a.example:1",
  ]]]);
  assertEquals(parseForwarded(""), undefined);
});

function tls(headers: Record<string, string>, strict = false, minTls: "1.2" | "1.3" = "1.2", trustedProxy = true) {
  return checkProxyTls(new Headers(headers), trustedProxy, { minTls, strict });
}

Deno.test("proxy TLS: refuses a client without TLS and quotes the proxy's header", () => {
  assertEquals(tls({}), undefined);
  for (const proto of ["https", "wss", "HTTPS", "https, wss"]) {
    assertEquals(tls({ "x-forwarded-proto": proto }), undefined);
  }
  for (const proto of ["http", "ws", "HTTP", "https, http", "http, https"]) {
    assertMatch(tls({ "x-forwarded-proto": proto })!, /without TLS \(X-Forwarded-Proto: (http|ws)\)/, proto);
  }
  assertMatch(tls({ forwarded: "for=192.0.2.1;proto=http" })!, /without TLS \(Forwarded: proto=http\)/);
  assertEquals(tls({ forwarded: "for=192.0.2.1;proto=https" }), undefined);
  assertEquals(tls({ "x-forwarded-proto": "http" }, false, "1.2", false), undefined, "the header of an untrusted peer");
});

Deno.test("proxy TLS: refuses a version below minTls and names it", () => {
  for (const version of ["TLSv1.2", "TLSv1.3", "tls1.2", "TLS 1.3", "TLSv1.3, TLSv1.2"]) {
    assertEquals(tls({ "x-ssl-protocol": version }), undefined, version);
  }
  for (const version of ["TLSv1.1", "TLSv1", "SSLv3", "(null)", "-", "TLSv1.3, TLSv1.1", "1.3"]) {
    assertMatch(tls({ "x-ssl-protocol": version })!, /^TLS 1\.2 or later is required/, version);
  }
  assertMatch(tls({ "x-ssl-protocol": "TLSv1.2" }, false, "1.3")!, /^TLS 1\.3 or later.*X-SSL-Protocol: tlsv1\.2$/);
  assertEquals(tls({ "x-ssl-protocol": "TLSv1.3" }, false, "1.3"), undefined);
  assertEquals(tls({ "x-ssl-protocol": "" }), undefined, "nginx's empty variable");
});

Deno.test("proxy TLS: strict requires proof of TLS from a trusted proxy", () => {
  assertEquals(tls({ "x-forwarded-proto": "https" }, true), undefined);
  assertEquals(tls({ "x-ssl-protocol": "TLSv1.2" }, true), undefined);
  assertMatch(tls({}, true)!, /^strict-proxy: the proxy does not prove TLS/);
  assertMatch(tls({ "x-forwarded-proto": "https, quic" }, true)!, /^strict-proxy/);
  assertMatch(tls({ forwarded: "proto=https" }, true)!, /^strict-proxy/);
  const withoutVersion: Record<string, string>[] = [
    { "x-forwarded-proto": "https" },
    { "x-forwarded-proto": "https", "x-ssl-protocol": "" },
    {},
  ];
  for (const headers of withoutVersion) {
    assertMatch(tls(headers, true, "1.3")!, /^strict-proxy: --min-tls 1\.3 requires .*X-SSL-Protocol: TLSv1\.3/);
  }
  assertEquals(tls({ "x-ssl-protocol": "TLSv1.3" }, true, "1.3"), undefined);
  assertEquals(tls({ "x-forwarded-proto": "https" }, false, "1.3"), undefined, "not strict");
  assertMatch(tls({ "x-forwarded-proto": "https" }, true, "1.2", false)!, /does not come from a trusted proxy/);
});

Deno.test("forwarded host: uses the first proxy's value if it is a valid host", () => {
  const host = (headers: Record<string, string>) => readForwardedHost(new Headers(headers));
  assertEquals(host({}), undefined);
  assertEquals(host({ "x-forwarded-host": "Example.COM:8443" }), "example.com:8443");
  assertEquals(host({ "x-forwarded-host": "example.com, inner" }), "example.com");
  assertEquals(host({ "x-forwarded-host": "[2001:db8::1]:443" }), "[2001:db8::1]:443");
  assertEquals(host({ forwarded: 'for=192.0.2.1;host="example.com:8443", host=inner' }), "example.com:8443");
  for (const bad of ["a b", "exa/mple", "user@example.com", "", "example.com:port"]) {
    assertEquals(host({ "x-forwarded-host": bad }), undefined, bad);
  }
});
