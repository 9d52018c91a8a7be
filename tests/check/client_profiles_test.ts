/** What browsers and WeChat need on top. */
import { assertEquals } from "@std/assert";
import { judgeForBrowser, judgeForWechat, type Learnt } from "../../lib/check/client_profiles.ts";
import type { CheckOptions } from "../../lib/check/check_target.ts";
import { probeUrl } from "../../lib/check/probes/url.ts";

const targetOf = (url: string, more: Partial<CheckOptions> = {}) => probeUrl({ url, ...more }).target!;

Deno.test("browsers", () => {
  const cases: [url: string, codes: string[], more?: Partial<CheckOptions>][] = [
    ["wss://domain.example/", []],
    ["ws://localhost:8282/", []],
    ["ws://127.0.0.1:8282/", []],
    ["ws://domain.example/", ["browser-mixed-content"]],
    ["wss://domain.example:6667/", ["browser-port"]],
    ["wss://domain.example/", ["browser-header"], { headers: [["Authorization", "x"], ["Cookie", "a=b"]] }],
    ["wss://domain.example/", [], { headers: [["Cookie", "a=b"]] }],
  ];
  for (const [url, codes, more] of cases) {
    assertEquals(judgeForBrowser(targetOf(url, more)).map(({ code }) => code), codes, url);
  }
});

Deno.test("WeChat", () => {
  const sound: Learnt = { offered: ["TLS 1.2", "TLS 1.3"], chain: { findings: [], isPublic: true } };
  const incomplete = { code: "chain-incomplete", level: "warning", fact: "", remedy: "" } as const;
  const cases: [url: string, learnt: Learnt, codes: string[]][] = [
    ["wss://domain.example/", sound, []],
    ["wss://domain.example:8443/", sound, []],
    ["ws://domain.example/", {}, ["wechat-scheme"]],
    ["wss://192.0.2.7/", sound, ["wechat-domain"]],
    ["wss://localhost/", sound, ["wechat-domain"]],
    ["wss://domain.example/", { ...sound, offered: ["TLS 1.3"] }, ["wechat-tls"]],
    ["wss://domain.example/", { ...sound, chain: { findings: [], isPublic: false } }, ["wechat-authority"]],
    ["wss://domain.example/", { ...sound, chain: { findings: [incomplete], isPublic: false } }, ["wechat-chain"]],
    ["wss://domain.example/", {}, []],
  ];
  for (const [url, learnt, codes] of cases) {
    const findings = judgeForWechat(targetOf(url), learnt);
    assertEquals(findings.filter(({ level }) => level !== "note").map(({ code }) => code), codes, url);
    assertEquals(findings.slice(-2).map(({ code }) => code), ["wechat-port", "wechat-list"]);
  }
});

Deno.test("WeChat's port, as it has to stand on the list", () => {
  const fact = (url: string) => judgeForWechat(targetOf(url), {}).find(({ code }) => code === "wechat-port")?.fact;
  assertEquals(fact("wss://domain.example:8443/")?.includes(":8443"), true);
  assertEquals(fact("wss://domain.example/")?.includes("none"), true);
});
