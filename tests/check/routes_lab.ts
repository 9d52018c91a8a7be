/**
 * Connects to addresses for which this machine has a route, and to others. Must run in a separate network namespace,
 * because it changes the routes. Prints the findings of each case as one JSON object.
 */
import type { Finding } from "../../lib/diagnostic_finding.ts";
import { runCheck } from "../../lib/check/run_check.ts";
import { probeTcp } from "../../lib/check/probes/tcp.ts";
import { echoService } from "./test_servers.ts";

function run(command: string): void {
  const { success, stderr } = new Deno.Command("sh", { args: ["-ec", command] }).outputSync();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
}

const outcome: Record<string, unknown> = {};
const { signal } = new AbortController();
const show = (findings: readonly Finding[]) => findings.map(({ code, level, fact }) => [code, level, fact]);
async function connect(name: string, addresses: string[], port: number): Promise<void> {
  const { findings, address } = await probeTcp(addresses, port, signal);
  outcome[name] = { findings: show(findings), address };
}

run("ip address add 192.0.2.1/24 dev lo");
await using echo = echoService({ hostname: "192.0.2.1" });
const { port } = echo;
const V6 = "2001:db8::7";
await connect("no IPv6 route", ["192.0.2.1", V6], port);
await connect("no route at all", [V6, "198.51.100.7"], port);
await connect("refused, and no IPv6 route", ["192.0.2.2", V6], port);
await connect("another address of the family accepts", ["192.0.2.1", "198.51.100.7"], port);
run("ip route add prohibit 203.0.113.0/24; ip route add unreachable 198.18.0.0/24");
await connect("prohibited", ["203.0.113.7"], port);
await connect("reported as unreachable", ["198.18.0.7"], port);
// The machine has a unique local address and a default route whose router does not reach the internet.
run("ip -6 address add fd00::2/64 dev lo nodad; ip -6 route add unreachable default metric 1");
await connect("only a unique local IPv6 address", ["192.0.2.1", V6], port);
run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
await connect("IPv6 is disabled", ["192.0.2.1", V6], port);

const url = `ws://192.0.2.1:${port}/`;
const lost = await runCheck({ url }, {
  onObservation: ({ probe }) => probe === "protocol" && run("ip address delete 192.0.2.1/24 dev lo"),
});
outcome["the network is lost"] = { ...lost, findings: show(lost.observations) };
run("ip address add 192.0.2.1/24 dev lo");
const forbidden = await runCheck({ url }, {
  onObservation: ({ probe }) => probe === "protocol" && Deno.permissions.revokeSync({ name: "net" }),
});
outcome["the permission is revoked"] = { ...forbidden, findings: show(forbidden.observations) };

await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(outcome)));
Deno.exit();
