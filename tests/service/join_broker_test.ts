import { assertEquals, assertRejects } from "@std/assert";
import { defineApp, serve, StartError, UsageError } from "../../lib/mod.ts";
import { natsServer } from "../hub/engines.ts";
import "../support/preload_ffi.ts";
import { peerTest } from "../peers/require.ts";

const app = defineApp({ open() {} });
const base = { mode: "proxied", port: 0 } as const;

Deno.test("broker options: what does not go together is told at once", async () => {
  const problems = async (options: Parameters<typeof serve>[1]) =>
    (await assertRejects(() => serve(app, { ...base, ...options }), UsageError)).problems;
  assertEquals(await problems({ brokerOptional: true, brokerPrefix: "x" }), [
    "brokerPrefix needs a broker: --broker",
    "brokerOptional needs a broker: --broker",
  ]);
  const [mistake] = await problems({ broker: "amqp://localhost" });
  assertEquals(mistake?.startsWith("broker: Cannot use the broker: a URL that begins with nats://"), true);
  assertEquals(await problems({ broker: "nats://u:p@localhost", brokerCredentialsFile: "f" }), [
    "choose one: credentials in the URL of broker, or brokerCredentialsFile",
  ]);
  assertEquals(await problems({ broker: "nats://localhost", brokerPrefix: "a b" }), [
    'brokerPrefix: letters, digits, _ and - are required, and up to three dots between them, not "a b"',
  ]);
});

Deno.test("broker options: a file that cannot be read is one clear error", async () => {
  for (const key of ["brokerCredentialsFile", "brokerCa"]) {
    const options = { ...base, broker: "nats://localhost", [key]: "/no/such/file" };
    const { message } = await assertRejects(() => serve(app, options), StartError);
    assertEquals(
      /^Cannot read the (?:credentials|authorities) of the broker \(\/no\/such\/file\): there is no such file$/.test(
        message,
      ),
      true,
    );
  }
});

peerTest(
  "nats-server",
  "a maxPayload that the broker cannot carry is refused; its default is only warned of",
  async () => {
    await using server = await natsServer({ config: "max_payload: 100000" });
    const options = { ...base, broker: server.url };
    const { message } = await assertRejects(() => serve(app, { ...options, maxPayload: "200KiB" }), StartError);
    assertEquals(
      /^Cannot use the broker nats:\/\/\S+ with maxPayload \S+: it carries messages of 99969 bytes at the most/.test(
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
    assertEquals(warned, ["clients may send longer messages than the broker carries to other nodes"]);
    assertEquals((await service.nodes()).nodes.length, 1);
  },
);
