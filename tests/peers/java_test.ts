/**
 * Java's own WebSocket client (JDK 17), without and with the `Content-Length: 0` that earlier releases sent. Deno's
 * HTTP parser answers this header with 400, and each generated proxy configuration removes it.
 */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KINDS, openGeneratedProxies } from "../proxy/generated_proxies.ts";
import { startUpstream } from "../proxy/upstream.ts";
import { startProgram } from "../support/program.ts";
import { peerTest } from "./require.ts";

const SOURCE = fileURLToPath(new URL("JavaClient.java", import.meta.url));

/** Runs the client, and returns the line that it prints for each URL. */
async function java(ca: string, urls: readonly string[], contentLength: boolean): Promise<string[]> {
  const args = [
    // Only the compiler's first level: a run of one second does not repay optimisation.
    "-XX:TieredStopAtLevel=1",
    ...(contentLength ? ["-DcontentLength=true", "-Djdk.httpclient.allowRestrictedHeaders=content-length"] : []),
    SOURCE,
    ca,
    ...urls,
  ];
  const { success, stdout, stderr } = await new Deno.Command("java", { args, stdin: "null" }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim().split("\n");
}

for (const kind of KINDS) {
  const program = kind === "apache" ? "apache2" : kind;
  peerTest(["java", "openssl", program], `Java's client, through ${kind}`, async () => {
    await using proxies = (await openGeneratedProxies(kind))!;
    await using upstream = await startUpstream({ strictProxy: true });
    await using proxy = await proxies.start(kind, "--upstream", upstream.address);
    const ca = join(proxies.folder, "root.pem");
    const urls = [`wss://localhost:${proxy.port}/wss`];
    assertEquals(await java(ca, urls, true), ["ok 1000"]);
    assertEquals(await java(ca, urls, false), ["ok 1000"]);
    await upstream.waitForOpen(0);
  });
}

peerTest("java", "Java's client, direct", async () => {
  await using program = await startProgram();
  assertEquals(await java(program.ca, [program.url], false), ["ok 1000"]);
  assertEquals(await java(program.ca, [program.url], true), ["refused 400"], "as the README says of Deno");
});
