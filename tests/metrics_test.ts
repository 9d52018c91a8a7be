/** `/metrics`: the checker of Prometheus accepts it, and the values match the events of the test. */
import { assert, assertEquals } from "@std/assert";
import { METRICS } from "../lib/metrics.ts";
import { peerTest } from "./peers/require.ts";
import { type Served, serving } from "./support/serving.ts";
import { adminOf, adminUrl, value as valueAt } from "./admin/admin.ts";
import { maskedFrame, Opcode } from "./support/frames.ts";
import { startProgram } from "./support/program.ts";
import { dial, dialUpgraded, writeAll } from "./support/raw.ts";

async function scrape({ service }: Served): Promise<string> {
  const response = await fetch(`${adminUrl(service)}/metrics`);
  assertEquals(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  return await response.text();
}

/** Returns the value of a series. */
function value(text: string, series: string): number {
  const line = text.split("\n").find((each) => each.startsWith(`${series} `));
  if (line === undefined) throw new Error(`no ${series} in\n${text}`);
  return Number(line.slice(series.length + 1));
}

peerTest("promtool", "promtool accepts the metrics", async () => {
  await using served = await serving({ message() {} }, {
    admin: "127.0.0.1:0",
    broker: `local:${crypto.randomUUID()}`,
  });
  const text = await scrape(served);
  const names = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  assertEquals([...names].sort(), Object.keys(METRICS).sort());
  const child = new Deno.Command("promtool", {
    args: ["check", "metrics"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  assertEquals([code, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr)], [0, ""]);
});

Deno.test("the metrics count connections, messages and refusals", async () => {
  await using served = await serving({
    upgrade: (request) => {
      if (request.url.endsWith("?no")) return new Response(null, { status: 403 });
      return { user: "tom" };
    },
    message: (peer, message) => {
      if (message.text() === "fail") throw new Error("on purpose");
      peer.subscribe("news");
      peer.send(message.text());
    },
  }, { admin: "127.0.0.1:0" });
  assertEquals(value(await scrape(served), "wss_connections"), 0);
  await using client = await served.connect();
  for (let at = 0; at < 128; at++) assertEquals(await client.ask("abc"), "abc");
  const text = await scrape(served);
  const expected: Record<string, number> = {
    wss_connections: 1,
    wss_connections_opened_total: 1,
    'wss_messages_total{direction="received"}': 128,
    'wss_messages_total{direction="sent"}': 128,
    'wss_message_bytes_total{direction="received"}': 384,
    'wss_message_bytes_total{direction="sent"}': 384,
    wss_subscriptions: 1,
    wss_topics: 1,
    wss_users: 1,
    wss_nodes: 1,
    'wss_hook_duration_seconds_count{hook="message"}': 2,
    'wss_hook_duration_seconds_bucket{hook="message",le="+Inf"}': 2,
    'wss_hook_duration_seconds_count{hook="upgrade"}': 1,
    'wss_reloads_total{result="success"}': 0,
  };
  for (const [series, count] of Object.entries(expected)) assertEquals(value(text, series), count, series);
  const expiry = value(text, "wss_certificate_expiry_timestamp_seconds");
  assertEquals(expiry, Math.floor(served.service.material!.notAfter.getTime() / 1000));
  const begun = value(text, "process_start_time_seconds");
  assert(begun > Date.now() / 1000 - 3600 && begun <= Date.now() / 1000);
  assert(value(text, "process_resident_memory_bytes") > 1024 ** 2);
  assert(value(text, "process_cpu_seconds_total") > 0);

  client.send("fail");
  assertEquals((await client.closed).code, 1011);
  for (const path of ["/?no", "/nowhere"]) {
    await served.connect({ path }).then(() => assert(false, "it connected"), () => {});
  }
  await using leaving = await served.connect();
  await leaving.close(4999);
  await served.service.reload();
  // The clients detect the end of their connections before the service does.
  let after: string;
  const until = Date.now() + 10_000;
  do after = await scrape(served); while (value(after, "wss_connections") > 0 && Date.now() < until);
  const changed: Record<string, number> = {
    'wss_connections_closed_total{code="1011"}': 1,
    'wss_connections_closed_total{code="other"}': 1,
    'wss_hook_errors_total{hook="message"}': 1,
    'wss_handshakes_refused_total{reason="app"}': 1,
    'wss_handshakes_refused_total{reason="path"}': 1,
    'wss_reloads_total{result="success"}': 1,
    wss_connections: 0,
  };
  for (const [series, count] of Object.entries(changed)) assertEquals(value(after, series), count, series);
  assertEquals(after.includes('code="4999"'), false, "a client's code is a label");
});

Deno.test("a blocking hook shows as event loop lag", async () => {
  await using served = await serving({
    message(peer) {
      for (const until = performance.now() + 700; performance.now() < until;);
      peer.send("done");
    },
  }, { admin: "127.0.0.1:0" });
  await using client = await served.connect();
  assertEquals(await client.ask("freeze"), "done");
  // The lag is measured on a later turn of the event loop.
  for (const until = Date.now() + 8_000; value(await scrape(served), "wss_event_loop_lag_seconds") < 0.5;) {
    assert(Date.now() < until, "no lag was reported");
  }
});

Deno.test("the metrics report unsent bytes, and connections closed by the watchdog", async () => {
  await using served = await serving({
    message(peer) {
      for (let at = 0; at < 32; at++) peer.send(new Uint8Array(1024 * 1024));
    },
  }, { admin: "127.0.0.1:0", handshakeTimeout: "4s", maxBackpressure: "64MiB" });
  const until = async (series: string, reached: (count: number) => boolean) => {
    const deadline = performance.now() + 20_000;
    while (!reached(value(await scrape(served), series))) assert(performance.now() < deadline, series);
  };
  const unsent = "wss_send_buffer_bytes";
  const ended = 'wss_watchdog_ended_total{reason="handshake"}';
  const before = await scrape(served);
  assertEquals([value(before, unsent), value(before, ended)], [0, 0]);

  const slow = await dialUpgraded(served.raw);
  await writeAll(slow, maskedFrame(Opcode.Text, new TextEncoder().encode("go")));
  await until(unsent, (bytes) => bytes > 1024 * 1024);
  slow.close();
  await until(unsent, (bytes) => bytes === 0);

  const silent: Deno.Conn[] = [];
  for (let at = 0; at < 20; at++) silent.push(await dial(served.raw));
  await until(ended, (count) => count === silent.length);
  for (const connection of silent) connection.close();
});

Deno.test("the metrics report open descriptors", async () => {
  // In a process of its own, because other test files open and close descriptors, too.
  await using program = await startProgram(["--mode", "proxied", "--admin", "127.0.0.1:0"]);
  const admin = await adminOf(program);
  const before = await valueAt(admin, "process_open_fds");
  const idle: Deno.Conn[] = [];
  for (let at = 0; at < 40; at++) idle.push(await dialUpgraded({ port: program.port }));
  const open = await valueAt(admin, "process_open_fds");
  // Others of the process may be closed meanwhile.
  assert(open >= before + 30, `${before}, then ${open}`);
  for (const connection of idle) connection.close();
});
