/** Names whose validation fails, and the explanations. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { StartError } from "../../../lib/errors.ts";
import { HttpChallenges, UNKNOWN_TOKEN } from "../../../lib/tls/acme/http_challenges.ts";
import { inspectReach, type ReachabilityOptions } from "../../../lib/tls/acme/check_reachability.ts";
import { peerTest } from "../../peers/require.ts";
import { type Pebble, startPebble } from "./pebble.ts";
import { acmeSource, type SourceOptions, temporaryFolder } from "./source.ts";

async function refusal(pebble: Pebble, options: SourceOptions): Promise<string> {
  await using folder = await temporaryFolder();
  await using test = acmeSource(pebble, folder.path, options);
  const { message } = await assertRejects(() => test.source.load(), StartError);
  assertEquals(test.source.status.failed, 1);
  const retry = JSON.parse(await Deno.readTextFile(join(folder.path, "pebble/a.example/retry.json")));
  assertEquals([retry.failures, retry.demanded], [1, false]);
  return message;
}

peerTest("pebble", "acme: explains a failed challenge, with a check of the name from this machine", async (t) => {
  await using pebble = await startPebble();
  await t.step("another server answers with other content", async () => {
    const message = await refusal(pebble, { handler: () => new Response("<html>welcome to nginx</html>") });
    assertMatch(
      message,
      /^a\.example: .*belongs to this machine \(unauthorized\); .*; make sure that the name's A and AAAA/m,
    );
    assertMatch(message, /^From this machine: /m);
  });
  await t.step("another server answers 404", async () => {
    const message = await refusal(pebble, { handler: () => new Response("no", { status: 404 }) });
    assertMatch(message, /^a\.example: .*\(unauthorized\); .*404/m);
  });
  await t.step("nothing listens", async () => {
    const message = await refusal(pebble, { listen: false });
    assertMatch(
      message,
      /^a\.example: the authority could not connect \(connection\); .*refused; port 80 of the name/m,
    );
  });
  await t.step("the name has no address", async () => {
    await pebble.failLookup("a.example");
    const message = await refusal(pebble, {});
    assertMatch(message, /^a\.example: .*\((dns|unauthorized|connection)\); /m);
  });
});

peerTest("pebble", "acme: reports each name whose validation fails, and no other", async () => {
  await using pebble = await startPebble();
  for (const name of ["bad.example", "worse.example"]) await pebble.failLookup(name);
  const names = ["a.example", "bad.example", "good.example", "worse.example"];
  const message = await refusal(pebble, { names });
  const told = message.split("\n").filter((line) => !line.startsWith("From this machine"));
  // Sorted, because the authority decides the order.
  assertEquals(told.map((line) => line.split(":")[0]).sort(), [
    ...["Cannot obtain a certificate for a.example, bad.example, good.example, worse.example from pebble"],
    ...["bad.example", "worse.example"],
  ]);
});

const ANSWERING = ["one.example", "2001:db8::1"];

Deno.test("acme: answers challenges, refuses unknown tokens, and redirects other requests to a name of the service", async () => {
  const challenges = new HttpChallenges(ANSWERING);
  const get = (url: string) => challenges.handle(new Request(url));
  assertEquals(get("http://one.example/").status, 503);
  const remove = challenges.respond("token", "token.thumbprint");
  const answer = get("http://one.example/.well-known/acme-challenge/token");
  assertEquals([answer.status, await answer.text()], [200, "token.thumbprint"]);
  remove();
  const unknown = get("http://one.example/.well-known/acme-challenge/token");
  assertEquals([unknown.status, await unknown.text()], [404, UNKNOWN_TOKEN]);

  challenges.redirectTo(443);
  const location = (url: string) => {
    const response = get(url);
    assertEquals(response.status, 308);
    return response.headers.get("location");
  };
  assertEquals(location("http://one.example/chat?a=b"), "https://one.example/chat?a=b");
  assertEquals(location("http://evil.example/chat"), "https://one.example/chat");
  assertEquals(location("http://one.example:8080//evil.example/"), "https://one.example//evil.example/");
  assertEquals(location("http://[2001:db8::1]/"), "https://[2001:db8::1]/");
  challenges.redirectTo(8443);
  assertEquals(location("http://one.example/"), "https://one.example:8443/");
});

peerTest(
  "pebble",
  "acme: checks whether a name reaches this process, another server, a closed port or nothing",
  async () => {
    await using pebble = await startPebble();
    const challenges = new HttpChallenges(["a.example"]);
    await using server = Deno.serve({ hostname: pebble.address, port: 0, onListen() {} }, challenges.handle);
    const { port } = server.addr;
    const inspect = async (name: string, more: Partial<ReachabilityOptions> = {}) => {
      const options = { respond: challenges.respond, port, nameServer: pebble.nameServer, timeout: 20_000, ...more };
      return (await inspectReach(name, options)).map(({ code, level, fact, remedy }) => {
        assert(level === "ok" || remedy !== undefined, code);
        return [code, level, fact];
      });
    };
    const there = `a.example (${pebble.address}), port ${port}`;
    assertEquals(await inspect("a.example"), [["acme-reachable", "ok", `${there} reaches this service.`]]);
    assertEquals(await inspect(pebble.address), [
      ["acme-reachable", "ok", `${pebble.address} (${pebble.address}), port ${port} reaches this service.`],
    ]);
    const deaf = { respond: () => () => {} };
    assertEquals(await inspect("a.example", deaf), [
      ["acme-other-server", "warning", `${there}: another server answers.`],
    ]);
    // Nothing listens on Pebble's challenge port 5002 here.
    assertEquals(await inspect("a.example", { port: pebble.httpPort }), [
      ["acme-refused", "warning", `a.example (${pebble.address}), port 5002: connection refused.`],
    ]);
    await pebble.failLookup("broken.example");
    assertEquals(await inspect("broken.example"), [
      ["acme-no-address", "error", "No address is found for the name broken.example (A or AAAA record)."],
    ]);
    const silent = Deno.listenDatagram({ transport: "udp", hostname: pebble.address, port: 0 });
    const nameServer = { ipAddr: pebble.address, port: (silent.addr as Deno.NetAddr).port };
    const [unanswered] = await inspect("a.example", { nameServer, timeout: 300 });
    silent.close();
    assertEquals(unanswered![0], "acme-lookup-failed");
  },
);
