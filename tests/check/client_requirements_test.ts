/** Requirements of particular clients. */
import { assertEquals } from "@std/assert";
import { checkClientProfile } from "../../lib/check/client_requirements.ts";
import type { CheckOptions, ClientName } from "../../lib/check/check_options.ts";
import type { Evidence } from "../../lib/check/probe_target.ts";
import type { Code, Observation } from "../../lib/check/finding_codes.ts";
import { probeUrl } from "../../lib/check/probes/url.ts";

function findingsFor(
  client: ClientName,
  url: string,
  { options = {}, evidence = {}, codes = [] }: {
    options?: Partial<CheckOptions>;
    evidence?: Evidence;
    codes?: readonly Code[];
  } = {},
) {
  const observations = codes.map((code): Observation => ({ probe: "chain", code, level: "warning", fact: "" }));
  return checkClientProfile(client, probeUrl({ url, ...options }).target!, evidence, observations);
}

const PRIVATE: Evidence = { versions: ["TLS 1.2"], chain: { findings: [], certificates: [], isPublic: false } };
const PUBLIC: Evidence = { versions: ["TLS 1.2"], chain: { findings: [], certificates: [], isPublic: true } };

Deno.test("reports each requirement of a client that the endpoint does not meet", () => {
  const cases: [ClientName, string, Parameters<typeof findingsFor>[2], string[]][] = [
    ["browser", "wss://domain.example/", {}, []],
    ["browser", "ws://localhost:8282/", {}, []],
    ["browser", "ws://127.0.0.1:8282/", {}, []],
    ["browser", "ws://domain.example/", {}, ["browser-mixed-content"]],
    ["browser", "wss://domain.example:6667/", {}, ["browser-port"]],
    [
      "browser",
      "wss://domain.example/",
      { options: { headers: [["Authorization", "x"], ["Cookie", "a=b"]] } },
      ["browser-header"],
    ],
    ["browser", "wss://domain.example/", { options: { headers: [["Cookie", "a=b"]] } }, []],
    ["browser", "wss://domain.example/", { codes: ["usage-no-signature"] }, ["browser-certificate"]],
    ["wechat", "wss://domain.example/", { evidence: PUBLIC }, []],
    ["wechat", "wss://domain.example:8443/", { evidence: PUBLIC }, []],
    ["wechat", "ws://domain.example/", {}, ["wechat-scheme"]],
    ["wechat", "wss://192.0.2.7/", { evidence: PUBLIC }, ["wechat-domain"]],
    ["wechat", "wss://localhost/", { evidence: PUBLIC }, ["wechat-domain"]],
    ["wechat", "wss://domain.example/", { evidence: { ...PUBLIC, versions: ["TLS 1.3"] } }, ["wechat-tls"]],
    ["wechat", "wss://domain.example/", { evidence: PRIVATE }, ["wechat-authority"]],
    ["wechat", "wss://domain.example/", { evidence: PRIVATE, codes: ["chain-incomplete"] }, ["wechat-chain"]],
    ["wechat", "wss://domain.example/", {}, []],
    ["android", "wss://domain.example/", { evidence: PUBLIC }, []],
    ["android", "ws://localhost/", {}, ["android-cleartext"]],
    ["android", "wss://domain.example/", { evidence: PRIVATE }, ["android-authority"]],
    ["android", "wss://domain.example/", { evidence: PRIVATE, codes: ["chain-incomplete"] }, ["android-chain"]],
    ["android", "wss://domain.example/", { evidence: { ...PUBLIC, versions: ["TLS 1.3"] } }, ["android-tls"]],
    ["android", "wss://domain.example/", { evidence: PUBLIC, codes: ["key-unusual"] }, ["android-certificate"]],
    ["java", "wss://domain.example/", { evidence: PUBLIC }, []],
    ["java", "wss://domain.example/", { evidence: { ...PUBLIC, contentLengthRefused: true } }, ["java-content-length"]],
    ["java", "wss://domain.example/", { evidence: PRIVATE }, ["java-authority"]],
    ["java", "wss://domain.example/", { codes: ["chain-incomplete"] }, ["java-chain"]],
    ["java", "wss://domain.example/", { evidence: { ...PUBLIC, versions: ["TLS 1.3"] } }, ["java-tls"]],
    ["nodejs", "wss://domain.example/", { evidence: PUBLIC }, []],
    ["nodejs", "wss://domain.example/", { evidence: PRIVATE }, ["nodejs-authority"]],
    ["nodejs", "wss://domain.example/", { codes: ["chain-incomplete"] }, ["nodejs-chain"]],
    ["python", "wss://domain.example/", { evidence: PUBLIC }, []],
    ["python", "wss://domain.example/", { evidence: PRIVATE }, ["python-authority"]],
    ["python", "wss://domain.example/", { codes: ["chain-incomplete"] }, ["python-chain"]],
    ["python", "ws://domain.example/", { evidence: { pingUnanswered: true } }, ["python-ping"]],
  ];
  for (const [client, url, given, codes] of cases) {
    const findings = findingsFor(client, url, given).filter(({ code }) => !/^wechat-(port|list)$/.test(code));
    assertEquals(findings.map(({ code }) => code), codes, `${client} ${url} ${JSON.stringify(given)}`);
  }
});

Deno.test("reports a private authority as a note if it is given with --ca", () => {
  const levels = findingsFor("nodejs", "wss://domain.example/", { evidence: PRIVATE, options: { ca: ["PEM"] } });
  assertEquals(levels.map(({ code, level }) => [code, level]), [["nodejs-authority", "note"]]);
});

Deno.test("reports the port that WeChat's list must contain", () => {
  const fact = (url: string) => findingsFor("wechat", url).find(({ code }) => code === "wechat-port")?.fact;
  assertEquals(fact("wss://domain.example:8443/")?.includes(":8443"), true);
  assertEquals(fact("wss://domain.example/")?.includes("none"), true);
});
