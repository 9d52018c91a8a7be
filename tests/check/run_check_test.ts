/** Invalid URLs, unreachable endpoints, the timeout and cancellation of a check. */
import { assert, assertEquals } from "@std/assert";
import { runCheck } from "../../lib/check/run_check.ts";
import {
  echoService,
  firewalledPort,
  listenOnly,
  rawServer,
  readRequest,
  upgradeResponse,
  writeAll,
} from "./test_servers.ts";
import { expectCodes, expectReport, urlOf } from "./expect.ts";
import { closedPort } from "../support/ports.ts";

Deno.test("returns exit code 2 for invalid URLs and unreachable endpoints", async (t) => {
  const cases: [name: string, url: string, codes: string[]][] = [
    ["an https URL", "https://localhost/", ["url-scheme"]],
    ["a URL without a scheme", "localhost:8282/wss", ["url-invalid"]],
    ["port 0", "wss://localhost:0/", ["url-port"]],
    ["a closed port", `ws://127.0.0.1:${closedPort()}/`, ["tcp-refused"]],
  ];
  for (const [name, url, codes] of cases) await t.step(name, () => expectCodes({ url }, codes, 2));

  await t.step("a name that does not exist", async () => {
    const report = await runCheck({ url: "wss://name.invalid/" });
    // Without a name server, the reason is unknown.
    assert(["dns-nxdomain", "dns-no-answer"].includes(report.first?.code ?? ""), JSON.stringify(report));
    assertEquals(report.exit, 2);
  });
  await t.step("a firewall", async () => {
    await using port = await firewalledPort();
    await expectCodes({ url: `ws://127.0.0.1:${port.port}/`, timeout: 1500 }, ["tcp-timeout"], 2);
  });
});

Deno.test("reports the first error before warnings, and the probe of each observation", async () => {
  await using plain = echoService();
  const report = await expectReport({ url: urlOf("wss", plain) + "#fragment" }, ["url-fragment", "protocol-plain"]);
  assertEquals(report.first?.code, "protocol-plain");
  assertEquals(report.observations.map(({ probe }) => probe), ["url", "tcp", "protocol"]);
});

/** The steps of a complete check of a ws URL, in order. */
const STEPS = ["tcp", "protocol", "upgrade", "message", "ping", "close"];

Deno.test("lists the steps that were not done when the check times out", async (t) => {
  /** A server that answers correctly up to a step and then sends nothing. */
  const serverUpTo = (upTo: "tcp" | "protocol" | "upgrade") =>
    rawServer(async (connection) => {
      if (upTo === "tcp") return await listenOnly(connection);
      const request = await readRequest(connection);
      if (!/^upgrade: websocket\r$/im.test(request)) {
        await writeAll(connection, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
      } else if (upTo === "upgrade") await writeAll(connection, await upgradeResponse(request));
      await listenOnly(connection);
    });
  const cases: [name: string, upTo: Parameters<typeof serverUpTo>[0], scheme: "ws" | "wss", unfinished: string[]][] = [
    ["a silent TLS port", "tcp", "wss", [
      "protocol",
      "versions",
      "chain",
      "alpn",
      "resumption",
      ...STEPS.slice(2),
    ]],
    ["no answer to the upgrade", "protocol", "ws", STEPS.slice(2)],
    ["no pong", "upgrade", "ws", ["ping", "close"]],
  ];
  for (const [name, upTo, scheme, unfinished] of cases) {
    await t.step(name, async () => {
      await using server = serverUpTo(upTo);
      const report = await expectReport({ url: urlOf(scheme, server), timeout: 600 }, ["time-ran-out"], 2);
      assertEquals(report.verdict, "unfinished");
      // On a busy machine the time may end before a step that the server would have answered.
      assertEquals(report.unfinished.slice(-unfinished.length), unfinished);
      const done = report.observations.map(({ probe }) => `${probe}`);
      assertEquals(report.unfinished.filter((probe) => done.includes(probe)), []);
      for (const probe of report.unfinished) assert(report.first?.fact.includes(probe), report.first?.fact);
      assert(report.first?.remedy?.includes("--timeout"), report.first?.remedy);
      assert(report.ms < 20_000, `${report.ms} ms`);
    });
  }
  await t.step("a very short timeout is not reported as a firewall", async () => {
    await using port = await firewalledPort();
    const report = await expectReport({ url: `ws://127.0.0.1:${port.port}/`, timeout: 7 }, ["time-ran-out"], 2);
    assertEquals(report.unfinished, STEPS);
    assert(report.first?.fact.includes("7ms"), report.first?.fact);
  });
  await t.step("the early end is reported before a warning", async () => {
    await using server = serverUpTo("tcp");
    const report = await runCheck({ url: `${urlOf("wss", server)}#here`, timeout: 300 });
    assertEquals([report.verdict, report.exit, report.first?.code], ["unfinished", 2, "time-ran-out"]);
  });
});

Deno.test("reports a server that stays silent", async () => {
  await using silent = rawServer(listenOnly);
  await expectCodes({ url: urlOf("wss", silent), timeout: 10_000 }, ["protocol-silent"]);
  await expectCodes({ url: urlOf("ws", silent), timeout: 10_000 }, ["upgrade-timeout"]);
});

Deno.test("ends at once with check-stopped when the signal aborts", async () => {
  await using silent = rawServer(listenOnly);
  const controller = new AbortController();
  const start = performance.now();
  const report = await runCheck({ url: urlOf("ws", silent), timeout: 60_000 }, {
    signal: controller.signal,
    onObservation: ({ probe }) => probe === "tcp" && controller.abort(),
  });
  assert(performance.now() - start < 10_000);
  assertEquals([report.exit, report.first?.code], [2, "check-stopped"]);
});

/** Whether this machine has the IPv6 loopback address. */
function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch (error) {
    if (Deno.env.get("WSS_TEST_PEERS") === "required") throw error;
    // deno-lint-ignore no-console -- a skipped test must be visible
    console.warn("SKIPPED: this machine has no IPv6");
    return false;
  }
}

Deno.test({ name: "checks an endpoint at an IPv6 address", ignore: !hasIpv6() }, async () => {
  await using echo = echoService({ hostname: "::1" });
  await expectCodes({ url: urlOf("ws", echo, "/", "[::1]") }, []);
  await expectCodes({ url: "ws://name.invalid/", connectTo: { hostname: "::1", port: echo.port } }, []);
});

Deno.test("sends an Origin with --for browser", async () => {
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
