import { assertEquals, assertRejects } from "@std/assert";
import { defineApp, serve, StartError, UsageError } from "../../lib/mod.ts";
import { natsServer } from "../hub/engines.ts";
import "../support/preload_ffi.ts";
import { peerTest } from "../peers/require.ts";
import { serving } from "../support/serving.ts";
import { until } from "../support/until.ts";

const app = defineApp({ open() {} });
const base = { mode: "proxied", port: 0 } as const;

Deno.test("broker options: reports invalid combinations before connecting", async () => {
  const problems = async (options: Parameters<typeof serve>[1]) =>
    (await assertRejects(() => serve(app, { ...base, ...options }), UsageError)).problems;
  assertEquals(await problems({ brokerOptional: true, brokerPrefix: "x" }), [
    "brokerPrefix requires --broker",
    "brokerOptional requires --broker",
  ]);
  const [mistake] = await problems({ broker: "amqp://localhost" });
  assertEquals(mistake?.startsWith("broker: Cannot use the broker: a URL that begins with nats://"), true);
  assertEquals(await problems({ broker: "nats://u:p@localhost", brokerCredentialsFile: "f" }), [
    "brokerCredentialsFile cannot be combined with credentials in the URL of broker",
  ]);
  assertEquals(await problems({ broker: "nats://localhost", brokerPrefix: "a b" }), [
    'brokerPrefix: must consist of letters, digits, _ and -, with up to three dots between them, not "a b"',
  ]);
});

Deno.test("broker options: reports a file that cannot be read", async () => {
  for (const key of ["brokerCredentialsFile", "brokerCa"]) {
    const options = { ...base, broker: "nats://localhost", [key]: "/no/such/file" };
    const { message } = await assertRejects(() => serve(app, options), StartError);
    assertEquals(
      /^Cannot read the (?:credentials|CA certificates) of the broker \(\/no\/such\/file\): there is no such file$/
        .test(
          message,
        ),
      true,
    );
  }
});

peerTest(
  "nats-server",
  "a maxPayload above the broker's limit fails the start; its default causes only a warning",
  async () => {
    await using server = await natsServer({ config: "max_payload: 100000" });
    const options = { ...base, broker: server.url };
    const { message } = await assertRejects(() => serve(app, { ...options, maxPayload: "200KiB" }), StartError);
    assertEquals(
      /^Cannot use the broker nats:\/\/\S+ with maxPayload \S+: it carries messages of up to 99969 bytes; /.test(
        message,
      ),
      true,
      message,
    );
    const warned: string[] = [];
    const none = () => {};
    const log = {
      enabled: () => true,
      error: none,
      info: none,
      debug: none,
      warn: (line: string) => void warned.push(line),
    };
    await using service = await serve(app, options, { log });
    assertEquals(warned, ["clients may send longer messages than the broker can relay to other nodes"]);
    assertEquals((await service.nodes()).nodes.length, 1);
  },
);

peerTest(
  "nats-server",
  "brokerOptional: logs the connection only once it is established, and then checks the broker's limit",
  async () => {
    await using server = await natsServer({ config: "max_payload: 100000" });
    await server.kill();
    const broker = { broker: server.url, brokerOptional: true };
    await using served = await serving(app, { mode: "proxied", ...broker });
    assertEquals(brokerLines(), ["broker unreachable; messages reach only this node's own peers"]);
    await server.restart();
    const warning = "clients may send longer messages than the broker can relay to other nodes";
    await until(() => served.logged(warning).length > 0);
    assertEquals(brokerLines(), [
      "broker unreachable; messages reach only this node's own peers",
      "connected to the broker",
      warning,
    ]);
    await server.kill();
    await until(() => served.logged("broker unreachable").length === 2);
    await server.restart();
    await until(() => served.logged("broker connection restored").length === 1);
    assertEquals(served.logged("connected to the broker").length, 1);

    function brokerLines(): string[] {
      return served.lines.map(({ message }) => message).filter((message) => message.includes("broker"));
    }
  },
);
