import { assertEquals, assertMatch } from "@std/assert";
import { load } from "../../lib/config/load_settings.ts";
import { type Mode, selectMode } from "../../lib/config/service_mode.ts";
import type { ServiceOptions } from "../../lib/config/serve_options_type.ts";
import { SERVICE_OPTIONS } from "../../lib/config/service_options.ts";
import { UsageError } from "../../lib/errors.ts";

function modeOf(options: ServiceOptions): Mode {
  const { settings, given } = load(SERVICE_OPTIONS, { object: { values: options } });
  return selectMode(settings, given);
}

function problemsOf(options: ServiceOptions): readonly string[] {
  try {
    modeOf(options);
  } catch (error) {
    if (error instanceof UsageError) return error.problems;
    throw error;
  }
  throw new Error("nothing was wrong");
}

Deno.test("mode: direct on loopback with the development certificate, on every address with one of yours", () => {
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

Deno.test("mode: proxied on loopback, or on a unix socket; trusted proxies, header, strictness and least TLS with it", () => {
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

Deno.test("mode: proxied with a certificate is a choice to make, and the message names every option of it", () => {
  const [one, ...more] = problemsOf({ mode: "proxied", cert: "c.pem" });
  assertEquals(more, []);
  assertMatch(one!, /^choose one: mode proxied leaves TLS to the proxy in front, cert asks for TLS here; drop it /);
  const [all] = problemsOf({ mode: "proxied", cert: "c", key: "k", chain: "ch", keyPassphraseFile: "p" });
  assertMatch(all!, /, cert, key, chain, keyPassphraseFile ask for TLS here; drop them /);
  assertMatch(all!, /or use mode direct$/);
});

Deno.test("mode: a unix socket and a port are a choice to make", () => {
  assertEquals(problemsOf({ mode: "proxied", unix: "/s", host: "::1", port: 1 }), [
    "choose one: unix listens on a socket file, host, port on the network",
  ]);
});

Deno.test("mode: what belongs to a proxy is refused in direct mode, all of it", () => {
  const problems = problemsOf({
    unix: "/s",
    trustedProxy: ["10.0.0.0/8"],
    clientAddressHeader: "auto",
    strictProxy: true,
  });
  assertEquals(problems.length, 4);
  for (const [index, name] of ["unix", "trustedProxy", "clientAddressHeader", "strictProxy"].entries()) {
    assertEquals(problems[index], `${name} is for --mode proxied; in direct mode there is no proxy in front`);
  }
});

Deno.test("mode: TLS 1.3 alone needs a proxy", () => {
  assertEquals(problemsOf({ minTls: "1.3" }), [
    "minTls 1.3 needs --mode proxied: Deno's TLS always offers 1.2 too, so only a proxy can refuse it",
  ]);
});

Deno.test("mode: certificate and key come together, and what goes with them not without them", () => {
  assertEquals(problemsOf({ cert: "c" }), [
    "cert is given without --key: a certificate serves only with its private key",
  ]);
  assertEquals(problemsOf({ key: "k" }), ["key is given without --cert: a key serves only with its certificate"]);
  assertEquals(problemsOf({ chain: "ch", keyPassphraseFile: "p" }), [
    "chain is given without --cert and --key",
    "keyPassphraseFile is given without --cert and --key",
  ]);
  assertEquals(problemsOf({ cert: "c", key: "k", keyPassphraseFile: "p", keyPassphrase: "x" }), [
    "choose one: keyPassphraseFile or keyPassphrase",
  ]);
});
