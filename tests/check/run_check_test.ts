/** Endpoints that are misused or cannot be reached, and the bound of the whole. */
import { assert, assertEquals } from "@std/assert";
import { runCheck } from "../../lib/check/run_check.ts";
import { echoService, firewalledPort, listenOnly, rawServer, rightAnswer } from "./laboratory.ts";
import { upgradeServer, writeAll } from "./laboratory.ts";
import { expectCodes, expectReport, urlOf } from "./expect.ts";
import { closedPort } from "../support/ports.ts";

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

  // Answers the upgrade after half of the time, and no ping.
  await using slow = upgradeServer(async (connection, request) => {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await writeAll(connection, await rightAnswer(request));
    await listenOnly(connection);
  });
  await expectCodes({ url: urlOf("ws", slow), timeout: 4000 }, ["time-ran-out"]);
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

/** Whether this machine has the IPv6 loopback address. */
function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch (error) {
    if (Deno.env.get("WSS_TEST_PEERS") === "required") throw error;
    // deno-lint-ignore no-console -- a skipped test has to be heard of
    console.warn("SKIPPED: no IPv6 here");
    return false;
  }
}

Deno.test({ name: "an IPv6 address", ignore: !hasIpv6() }, async () => {
  await using echo = echoService({ hostname: "::1" });
  await expectCodes({ url: urlOf("ws", echo, "/", "[::1]") }, []);
  await expectCodes({ url: "ws://name.invalid/", connectTo: { hostname: "::1", port: echo.port } }, []);
});

Deno.test("a browser's check sends an Origin", async () => {
  const origins: (string | null)[] = [];
  await using echo = echoService({
    onRequest(request) {
      if (request.headers.has("upgrade")) origins.push(request.headers.get("origin"));
      return undefined;
    },
  });
  const url = urlOf("ws", echo);
  await expectCodes({ url, for: "browser" }, []);
  await expectCodes({ url, for: "browser", origin: "https://page.example" }, []);
  await expectCodes({ url }, []);
  assertEquals(origins, [`http://127.0.0.1:${echo.port}`, "https://page.example", null]);
});
