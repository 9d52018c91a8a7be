/** Endpoints that are misused or cannot be reached, and the bound of the whole. */
import { assert, assertEquals } from "@std/assert";
import { runCheck } from "../../lib/check/run_check.ts";
import {
  echoService,
  firewalledPort,
  listenOnly,
  rawServer,
  readRequest,
  rightAnswer,
  writeAll,
} from "./test_servers.ts";
import { expectCodes, expectReport, urlOf } from "./expect.ts";
import { closedPort } from "../support/ports.ts";

Deno.test("misuse and unreachable endpoints end with exit code 2", async (t) => {
  const cases: [name: string, url: string, codes: string[]][] = [
    ["another scheme", "https://localhost/", ["url-scheme"]],
    ["no scheme", "localhost:8282/wss", ["url-invalid"]],
    ["port 0", "wss://localhost:0/", ["url-port"]],
    ["a closed port", `ws://127.0.0.1:${closedPort()}/`, ["tcp-refused"]],
  ];
  for (const [name, url, codes] of cases) await t.step(name, () => expectCodes({ url }, codes, 2));

  await t.step("a name that does not exist", async () => {
    const report = await runCheck({ url: "wss://name.invalid/" });
    // Where no name server answers, the reason is not known.
    assert(["dns-nxdomain", "dns-no-answer"].includes(report.first?.code ?? ""), JSON.stringify(report));
    assertEquals(report.exit, 2);
  });
  await t.step("a firewall", async () => {
    await using port = await firewalledPort();
    await expectCodes({ url: `ws://127.0.0.1:${port.port}/`, timeout: 1500 }, ["tcp-timeout"], 2);
  });
});

Deno.test("the first error is named as what to mend, and everything has a probe", async () => {
  await using plain = echoService();
  const report = await expectReport({ url: urlOf("wss", plain) + "#fragment" }, ["url-fragment", "protocol-plain"]);
  assertEquals(report.first?.code, "protocol-plain");
  assertEquals(report.observations.map(({ probe }) => probe), ["url", "tcp", "protocol"]);
});

/** The steps of a check that finishes, in their order. */
const STEPS = ["tcp", "protocol", "upgrade", "message", "ping", "close"];

Deno.test("a check that did not finish is never sound: it names what it did not get to", async (t) => {
  /** Sound up to a point, and silent from there on. */
  const answers = (upTo: "tcp" | "protocol" | "upgrade") =>
    rawServer(async (connection) => {
      if (upTo === "tcp") return await listenOnly(connection);
      const request = await readRequest(connection);
      if (!/^upgrade: websocket\r$/im.test(request)) {
        await writeAll(connection, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
      } else if (upTo === "upgrade") await writeAll(connection, await rightAnswer(request));
      await listenOnly(connection);
    });
  const cases: [name: string, upTo: Parameters<typeof answers>[0], scheme: "ws" | "wss", unfinished: string[]][] = [
    ["no word from a TLS port", "tcp", "wss", [
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
      await using server = answers(upTo);
      const report = await expectReport({ url: urlOf(scheme, server), timeout: 600 }, ["time-ran-out"], 2);
      assertEquals(report.verdict, "unfinished");
      assertEquals(report.unfinished, unfinished);
      for (const probe of unfinished) assert(report.first?.fact.includes(probe), report.first?.fact);
      assert(report.first?.remedy?.includes("--timeout"), report.first?.remedy);
      assert(report.ms < 6000, `${report.ms} ms`);
    });
  }
  await t.step("too short a time is no firewall", async () => {
    await using port = await firewalledPort();
    const report = await expectReport({ url: `ws://127.0.0.1:${port.port}/`, timeout: 7 }, ["time-ran-out"], 2);
    assertEquals(report.unfinished, STEPS);
    assert(report.first?.fact.includes("7ms"), report.first?.fact);
  });
  await t.step("a warning that was found comes after what was not done", async () => {
    await using server = answers("tcp");
    const report = await runCheck({ url: `${urlOf("wss", server)}#here`, timeout: 300 });
    assertEquals([report.verdict, report.exit, report.first?.code], ["unfinished", 2, "time-ran-out"]);
  });
});

Deno.test("silence that lasts is the server's", async () => {
  await using silent = rawServer(listenOnly);
  await expectCodes({ url: urlOf("wss", silent), timeout: 4000 }, ["protocol-silent"]);
  await expectCodes({ url: urlOf("ws", silent), timeout: 4000 }, ["upgrade-timeout"]);
});

Deno.test("a check that is stopped ends at once, and says so", async () => {
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
