/** Endpoints that are misused or cannot be reached, and the bound of the whole. */
import { assert, assertEquals } from "@std/assert";
import { runCheck } from "../../lib/check/run.ts";
import { closedPort, echoService, firewalledPort, listenOnly, rawServer } from "./laboratory.ts";
import { expectCodes, expectReport, urlOf } from "./expect.ts";

Deno.test("misuse and unreachable endpoints end with exit code 2", async (t) => {
  const cases: [name: string, url: string, codes: string[]][] = [
    ["another scheme", "https://localhost/", ["url-scheme"]],
    ["no scheme", "localhost:8282/wss", ["url-invalid"]],
    ["port 0", "wss://localhost:0/", ["url-port"]],
    ["a name without an address", "wss://name.invalid/", ["dns-no-answer"]],
    ["a closed port", `ws://127.0.0.1:${closedPort()}/`, ["tcp-refused"]],
  ];
  for (const [name, url, codes] of cases) await t.step(name, () => expectCodes({ url }, codes, 2));

  await t.step("a firewall", async () => {
    await using port = await firewalledPort();
    await expectCodes({ url: `ws://127.0.0.1:${port.port}/`, timeout: 1500 }, ["tcp-timeout"], 2);
  });
});

Deno.test("the first error is named as what to mend, and everything has a probe", async () => {
  await using plain = echoService();
  const report = await expectReport({ url: urlOf("wss", plain) + "#fragment" }, ["url-fragment", "speaks-plain"]);
  assertEquals(report.first?.code, "speaks-plain");
  assertEquals(report.observations.map(({ probe }) => probe), ["url", "tcp", "speaks"]);
});

Deno.test("the time is bound, and running out of it is said", async () => {
  await using silent = rawServer(listenOnly);
  const start = performance.now();
  await expectCodes({ url: urlOf("wss", silent), timeout: 800 }, ["speaks-nothing"]);
  assert(performance.now() - start < 6000);

  await using echo = echoService();
  await expectCodes({ url: urlOf("ws", echo), timeout: 100 }, ["time-ran-out"]);
});

Deno.test("a check that is stopped ends at once", async () => {
  await using silent = rawServer(listenOnly);
  const controller = new AbortController();
  const start = performance.now();
  const running = runCheck({ url: urlOf("ws", silent), timeout: 60_000 }, {
    signal: controller.signal,
    seen: ({ probe }) => probe === "tcp" && controller.abort(),
  });
  await running;
  assert(performance.now() - start < 10_000);
});
