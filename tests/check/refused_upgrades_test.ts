/** Responses other than 101. Each case changes only the response of a correct endpoint. */
import { assert, assertEquals } from "@std/assert";
import { runCheck } from "../../lib/check/run_check.ts";
import { echoService } from "./test_servers.ts";
import { urlOf } from "./expect.ts";
import { REFUSAL_CASES } from "./refusal_cases.ts";

Deno.test("explains a response other than 101 by its status, headers and body", async (t) => {
  for (const { name, path = "/ws", status, headers = {}, body, code, patterns } of REFUSAL_CASES) {
    await t.step(name, async () => {
      await using server = echoService({
        onRequest: () => new Response(body ?? "", { status, headers }),
      });
      const report = await runCheck({ url: urlOf("ws", server, path) });
      const first = report.first;
      assertEquals([first?.code, report.exit, report.verdict], [code, 1, "errors"], JSON.stringify(report));
      for (const pattern of patterns) assert(pattern.test(`${first?.fact} ${first?.remedy}`), JSON.stringify(first));
    });
  }
});

Deno.test("does not report changed bytes if only the service's path answers 400", async () => {
  await using server = echoService({
    onRequest: (request) => new Response(null, { status: new URL(request.url).pathname === "/ws" ? 400 : 404 }),
  });
  const { first } = await runCheck({ url: urlOf("ws", server, "/ws") });
  assertEquals(first?.code, "upgrade-bad-request", JSON.stringify(first));
});

Deno.test("quotes the body of a refusal in full", async () => {
  const reason = "The page's origin https://shop.example is not the service's own, and the request carries cookies. " +
    "Start the service with --origin https://shop.example to let its pages in, or send the request without cookies; " +
    "behind a proxy that does not forward Host, see the manual's page on proxies.";
  await using server = echoService({ onRequest: () => new Response(`403 Forbidden\n${reason}\n`, { status: 403 }) });
  const { first } = await runCheck({ url: urlOf("ws", server) });
  assert(first?.fact.includes(reason), first?.fact);
  assert(!first?.fact.includes('"403 Forbidden'), first?.fact);
});

Deno.test("reports whether a refused upgrade succeeds with another Origin", async (t) => {
  const ownOrigin = (request: Request) => `http://${request.headers.get("host")}`;
  await t.step("the Origin of the endpoint's own host is accepted", async () => {
    await using server = echoService({
      onRequest: (request) =>
        request.headers.get("origin") === ownOrigin(request) ? undefined : new Response("no", { status: 403 }),
    });
    const { first } = await runCheck({ url: urlOf("ws", server) });
    assertEquals(first?.code, "upgrade-forbidden");
    assert(first?.fact.includes(`accepts the Origin http://127.0.0.1:${server.port}`), first?.fact);
    assert(first?.remedy?.endsWith(`--origin http://127.0.0.1:${server.port}`), first?.remedy);
  });
  await t.step("no Origin is accepted", async () => {
    await using server = echoService({ onRequest: () => new Response("no", { status: 403 }) });
    const { first } = await runCheck({ url: urlOf("ws", server) });
    assert(first?.fact.includes("refuses the request, usually because of its Origin"), first?.fact);
  });
});
