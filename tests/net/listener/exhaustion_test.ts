import { assert, assertEquals } from "@std/assert";
import { dial, dialUpgraded, skip, tryWrite } from "../../support/raw.ts";
import { maskedFrame, Opcode } from "../../support/frames.ts";
import { ServerProcess } from "../process.ts";

const LIMIT = 160;
const RESERVE = new URL("../../../lib/net/listener/descriptor_reserve.ts", import.meta.url).href;

Deno.test("descriptorLimit returns the process's limit at its start", async () => {
  await using server = await ServerProcess.start({}, { limit: LIMIT });
  assertEquals(server.started.limit, LIMIT);
});

Deno.test("out of descriptors: open connections stay open, and new ones are accepted again later", async () => {
  await using server = await ServerProcess.start({}, { limit: LIMIT });
  const held: Deno.Conn[] = [];
  for (let count = 0; count < 20; count++) held.push(await dialUpgraded({ port: server.port }));
  async function echoAll() {
    await Promise.all(held.map(async (connection) => {
      assert(await tryWrite(connection, maskedFrame(Opcode.Text, new Uint8Array(2))));
      await skip(connection, 4);
    }));
  }
  // More connections than fit, which say nothing.
  const silent: Deno.Conn[] = [];
  let going = true;
  const connecting = (async () => {
    while (going) {
      await dial({ port: server.port }).then((connection) => silent.push(connection), () => {});
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  await server.until(() => server.log.some(({ message }) => /no longer accepts/.test(message)));
  const event = server.log.find(({ message }) => /no longer accepts/.test(message))!;
  assertEquals(event.level, "error");
  assertEquals(event.limit, LIMIT);
  assert(Number(event.descriptors) > LIMIT / 2, `${event.descriptors} descriptors`);
  for (let round = 0; round < 20; round++) await echoAll();
  going = false;
  await connecting;
  for (const connection of silent) connection.close();
  // 0.5 s at the most on a quiet machine.
  const deadline = performance.now() + 20_000;
  let connected: Deno.Conn | undefined;
  while (connected === undefined && performance.now() < deadline) {
    connected = await dialUpgraded({ port: server.port }).catch(() => undefined);
    if (connected === undefined) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert(connected !== undefined, "there is room, and nobody comes in");
  await echoAll();
  for (const connection of held) connection.close();
  connected?.close();
});

Deno.test("out of descriptors repeatedly: accepts again each time", async () => {
  await using server = await ServerProcess.start({}, { limit: LIMIT });
  const ended = () => server.log.filter(({ message }) => /no longer accepts/.test(message)).length;
  for (let turn = 0; turn < 3; turn++) {
    const before = ended();
    const silent: Deno.Conn[] = [];
    for (let attempt = 0; ended() === before; attempt++) {
      await dial({ port: server.port }).then((connection) => silent.push(connection), () => {});
      await new Promise((resolve) => setTimeout(resolve, 2));
      assert(attempt < 2_000, "the accept loop never ended, or the server has exited");
    }
    for (const connection of silent) connection.close();
    let connected: Deno.Conn | undefined;
    for (let attempt = 0; connected === undefined && attempt < 300; attempt++) {
      connected = await dialUpgraded({ port: server.port }).catch(() => undefined);
      if (connected === undefined) await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert(connected !== undefined);
    connected?.close();
  }
});

Deno.test("out of descriptors right after the start: Deno's own signal handling does not end the process", async () => {
  const program = `
    import { DescriptorReserve } from ${JSON.stringify(RESERVE)};
    new DescriptorReserve(undefined);
    const files = [];
    try {
      while (true) files.push(Deno.openSync("/dev/null"));
    } catch { /* No descriptor is left. */ }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    for (const file of files) file.close();
    console.log(files.length > 20 ? "alive" : "too few descriptors for this test");
  `;
  const { code, stdout } = await new Deno.Command("/bin/sh", {
    args: ["-c", `ulimit -n ${LIMIT}; exec "$0" eval --no-check "$1"`, Deno.execPath(), program],
  }).output();
  assertEquals([code, new TextDecoder().decode(stdout)], [0, "alive\n"]);
});
