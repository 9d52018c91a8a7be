import { assertEquals, assertMatch } from "@std/assert";
import { Client } from "../support/client.ts";
import { closedPort } from "../support/ports.ts";
import { reported } from "../../lib/cli/process_handover.ts";
import { childrenOf } from "../workers/workers.ts";
import { runProgram, startProgram } from "../support/program.ts";

Deno.test("handing over: a predecessor that has gone is no reason not to serve", async () => {
  const note = JSON.stringify({ reportTo: closedPort(), token: "x", port: 0 });
  await using program = await startProgram([], { env: { WSS_HANDOVER: note } });
  await program.stderr.until(/the process that handed over has gone/);
  await using client = await Client.open(program.url, { ca: program.ca });
  assertEquals(await client.ask("tom"), "ok");
});

Deno.test("handing over: a note that no predecessor wrote is a mistake", async () => {
  for (const note of ["junk", "null", "{}"]) {
    const { code, stderr } = await runProgram([], { env: { WSS_HANDOVER: note } });
    assertEquals(code, 2);
    assertMatch(stderr, /^wss: WSS_HANDOVER is what .*: unset it\n/);
  }
});

Deno.test("handing over: whoever holds the report port's connections open does not keep the successor's report out", async () => {
  using reports = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const token = crypto.randomUUID();
  const done = reported(reports, token);
  const dial = () => Deno.connect({ hostname: "127.0.0.1", port: reports.addr.port });
  const held = await Promise.all(Array.from({ length: 200 }, dial));
  // A token's length of something else, and a part of the token, are no report.
  await held[199]!.write(new TextEncoder().encode(crypto.randomUUID()));
  await held[198]!.write(new TextEncoder().encode(token.slice(0, 20)));
  using successor = await dial();
  await successor.write(new TextEncoder().encode(token.slice(0, 7)));
  await successor.write(new TextEncoder().encode(token.slice(7)));
  assertEquals(await successor.read(new Uint8Array(1)), 1);
  await done;
  for (const connection of held) connection.close();
});

const ignore = Deno.build.os !== "linux" || Deno.uid() !== 0;
const REFUSED = /"level":"error","message":"Cannot hand over: ([^"]*)--workers 1/;

Deno.test(
  "SIGUSR2 as process 1, and under an init that ends with it: refused with the reason",
  { ignore },
  async () => {
    const namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    const cases = [
      { wrapper: namespace, reason: /this is process 1/ },
      { wrapper: [...namespace, "/bin/sh", "-c", '"$@"; exit $?', "sh"], reason: /process 1 \(sh\) ends/ },
    ];
    for (const { wrapper, reason } of cases) {
      await using program = await startProgram([], { wrapper });
      const [init] = childrenOf(program.pid);
      Deno.kill(childrenOf(init!).at(-1) ?? init!, "SIGUSR2");
      assertMatch((await program.stderr.until(REFUSED))[1]!, reason);
      await using client = await Client.open(program.url, { ca: program.ca });
      assertEquals(await client.ask("tom"), "ok");
    }
  },
);

Deno.test("SIGUSR2 under systemd is refused with the reason", async () => {
  const wrapper = ["/bin/sh", "-c", 'SYSTEMD_EXEC_PID=$$ exec "$@"', "sh"];
  await using program = await startProgram([], { wrapper });
  program.signal("SIGUSR2");
  assertMatch((await program.stderr.until(REFUSED))[1]!, /systemd ends every process/);
  await using client = await Client.open(program.url, { ca: program.ca });
  assertEquals(await client.ask("tom"), "ok");
});
