import { assertEquals, assertMatch } from "@std/assert";
import { loadSettings } from "../../lib/config/load_settings.ts";
import { type Mode, selectMode } from "../../lib/config/service_mode.ts";
import type { ServiceOptions } from "../../lib/config/service_options_type.ts";
import { SERVICE_OPTIONS } from "../../lib/config/service_options.ts";
import { UsageError } from "../../lib/errors.ts";

function modeOf(options: ServiceOptions): Mode {
  const { settings, given } = loadSettings(SERVICE_OPTIONS, { object: { values: options } });
  return selectMode(settings, given);
}

function problemsOf(options: ServiceOptions): readonly string[] {
  try {
    modeOf(options);
  } catch (error) {
    if (error instanceof UsageError) return error.problems;
    throw error;
  }
  throw new Error("no problem was reported");
}

Deno.test("selectMode: direct mode binds loopback with the development certificate, all addresses with --cert", () => {
  assertEquals(modeOf({}), {
    kind: "direct",
    address: { transport: "tcp", hostname: "127.0.0.1", port: 8282 },
    certificate: { kind: "development" },
  });
  const own = modeOf({ cert: "c.pem", key: "k.pem", chain: "ch.pem", keyPassphraseFile: "p" });
  assertEquals(own, {
    kind: "direct",
    address: { transport: "tcp", hostname: "0.0.0.0", port: 8282 },
    certificate: {
      kind: "files",
      files: { cert: "c.pem", key: "k.pem", chain: "ch.pem", keyPassphraseFile: "p", keyPassphrase: undefined },
    },
  });
  assertEquals(modeOf({ host: "::", port: 0 }).address, { transport: "tcp", hostname: "::", port: 0 });
});

Deno.test("selectMode: proxied mode binds loopback or a unix socket and keeps the proxy settings", () => {
  const mode = modeOf({ mode: "proxied", minTls: "1.3", strictProxy: true, clientAddressHeader: "forwarded" });
  if (mode.kind !== "proxied") throw new Error(mode.kind);
  assertEquals(mode.address, { transport: "tcp", hostname: "127.0.0.1", port: 8282 });
  assertEquals([mode.minTls, mode.strict, mode.header], ["1.3", true, "forwarded"]);
  assertEquals(["127.0.0.1", "::1", "10.0.0.1"].map((address) => mode.trusted.has(address)), [true, true, false]);
  assertEquals(modeOf({ mode: "proxied", unix: "/run/wss.sock" }).address, {
    transport: "unix",
    path: "/run/wss.sock",
    mode: 0o660,
  });
});

Deno.test("selectMode rejects proxied mode with a certificate and names all options for TLS", () => {
  const [one, ...more] = problemsOf({ mode: "proxied", cert: "c.pem" });
  assertEquals(more, []);
  assertMatch(one!, /^mode proxied cannot be combined with cert: the proxy in front terminates TLS; /);
  const [all] = problemsOf({ mode: "proxied", cert: "c", key: "k", chain: "ch", keyPassphraseFile: "p" });
  assertMatch(all!, / cert, key, chain, keyPassphraseFile: /);
  assertMatch(all!, /or use mode direct$/);
});

Deno.test("selectMode rejects a unix socket with a host and a port", () => {
  assertEquals(problemsOf({ mode: "proxied", unix: "/s", host: "::1", port: 1 }), [
    "unix cannot be combined with host, port: the service listens on a unix socket or on TCP",
  ]);
});

Deno.test("selectMode rejects every option for proxied mode in direct mode", () => {
  const problems = problemsOf({
    unix: "/s",
    trustedProxy: ["10.0.0.0/8"],
    clientAddressHeader: "auto",
    strictProxy: true,
  });
  assertEquals(problems.length, 4);
  for (const [index, name] of ["unix", "trustedProxy", "clientAddressHeader", "strictProxy"].entries()) {
    assertEquals(problems[index], `${name} requires --mode proxied: in direct mode there is no proxy in front`);
  }
});

Deno.test("selectMode rejects a minimum of TLS 1.3 in direct mode", () => {
  assertEquals(problemsOf({ minTls: "1.3" }), [
    "minTls 1.3 requires --mode proxied: Deno always accepts TLS 1.2 too, so only a proxy can refuse it",
  ]);
});

Deno.test("selectMode rejects a certificate without its key, and a chain or a passphrase without both", () => {
  assertEquals(problemsOf({ cert: "c" }), [
    "cert requires --key: a certificate needs its private key",
  ]);
  assertEquals(problemsOf({ key: "k" }), ["key requires --cert: a private key needs its certificate"]);
  assertEquals(problemsOf({ chain: "ch", keyPassphraseFile: "p" }), [
    "chain requires --cert and --key",
    "keyPassphraseFile requires --cert and --key",
  ]);
  assertEquals(problemsOf({ cert: "c", key: "k", keyPassphraseFile: "p", keyPassphrase: "x" }), [
    "choose one: keyPassphraseFile or keyPassphrase",
  ]);
});
