/** Findings from the URL alone. */
import { assertEquals } from "@std/assert";
import { probeUrl } from "../../../lib/check/probes/url.ts";

Deno.test("reports faults of the URL", () => {
  const cases: [url: string, codes: string[], probed: boolean][] = [
    ["wss://domain.example/wss", ["url-ok"], true],
    ["ws://127.0.0.1:8282/", ["url-ok"], true],
    ["wss://[::1]:8282/", ["url-ok"], true],
    ["wss://192.0.2.7/", ["url-ip"], true],
    ["wss://user:secret@domain.example/", ["url-credentials"], true],
    ["wss://domain.example/#", ["url-fragment"], true],
    ["wss://domain.example/#here", ["url-fragment"], true],
    ["wss://domain.example:80/", ["url-port"], true],
    ["ws://domain.example:443/", ["url-port"], true],
    ["wss://domain.example:0/", ["url-port"], false],
    ["https://domain.example/", ["url-scheme"], false],
    ["domain.example:8282/wss", ["url-invalid"], false],
    ["domain.example", ["url-invalid"], false],
    ["wss://", ["url-invalid"], false],
    ["wss://domain.example:99999/", ["url-invalid"], false],
  ];
  for (const [url, codes, probed] of cases) {
    const { findings, target } = probeUrl({ url });
    assertEquals(findings.map(({ code }) => code), codes, url);
    assertEquals(target !== undefined, probed, url);
  }
});

Deno.test("suggests a corrected URL for a wrong or missing scheme", () => {
  assertEquals(
    probeUrl({ url: "https://domain.example/wss?a=1" }).findings[0]?.remedy,
    "Write wss://domain.example/wss?a=1",
  );
  assertEquals(probeUrl({ url: "http://domain.example/" }).findings[0]?.remedy, "Write ws://domain.example/");
  assertEquals(
    probeUrl({ url: "domain.example:8282" }).findings[0]?.remedy,
    "Add the scheme: wss://domain.example:8282",
  );
});

Deno.test("never prints a password of the URL in a finding", () => {
  for (const { fact, remedy } of probeUrl({ url: "wss://user:secret@domain.example/" }).findings) {
    assertEquals(`${fact} ${remedy}`.includes("secret"), false);
  }
});

Deno.test("derives host, port and server name from the URL and the options", () => {
  assertEquals(probeUrl({ url: "wss://domain.example/" }).target?.endpoint, { hostname: "domain.example", port: 443 });
  assertEquals(probeUrl({ url: "ws://[::1]/" }).target?.endpoint, { hostname: "::1", port: 80 });
  const connectTo = { hostname: "192.0.2.7", port: 8443 };
  const moved = probeUrl({ url: "wss://domain.example/", connectTo, sni: "other.example" }).target;
  assertEquals(moved?.endpoint, connectTo);
  assertEquals(moved?.name, "other.example");
  assertEquals(moved?.port, 443);
});
