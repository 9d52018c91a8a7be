import { assertEquals, assertMatch } from "@std/assert";
import { Client } from "../support/client.ts";
import { closedPort } from "../support/ports.ts";
import { waitForReport } from "../../lib/cli/process_handover.ts";
import { childrenOf } from "../workers/workers.ts";
import { runProgram, startProgram } from "../support/program.ts";

Deno.test("handover: a successor serves even if its predecessor has exited", async () => {
  const note = JSON.stringify({ reportTo: closedPort(), token: "x", port: 0 });
  await using program = await startProgram([], { env: { WSS_HANDOVER: note } });
  await program.stderr.until(/the previous process has exited/);
  await using client = await Client.open(program.url, { ca: program.ca });
  assertEquals(await client.ask("tom"), "ok");
});

Deno.test("handover: WSS_HANDOVER with an invalid value is an error", async () => {
  for (const note of ["junk", "null", "{}"]) {
    const { code, stderr } = await runProgram([], { env: { WSS_HANDOVER: note } });
    assertEquals(code, 2);
    assertMatch(stderr, /^wss: Cannot use WSS_HANDOVER: .*; unset it\n/);
  }
});

Deno.test("handover: 200 open connections to the report port do not block the successor's report", async () => {
  using reports = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const token = crypto.randomUUID();
  const done = waitForReport(reports, token);
  const dial = () => Deno.connect({ hostname: "127.0.0.1", port: reports.addr.port });
  const held = await Promise.all(Array.from({ length: 200 }, dial));
  // Another token of the same length and a part of the token are not accepted.
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
  "SIGUSR2 is refused if the service is process 1, or if its init process exits with it",
  { ignore },
  async () => {
    const namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    const cases = [
      { wrapper: namespace, reason: /this is process 1/ },
      { wrapper: [...namespace, "/bin/sh", "-c", '"$@"; exit $?', "sh"], reason: /process 1 \(sh\) exits/ },
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

Deno.test("SIGUSR2 is refused under systemd", async () => {
  const wrapper = ["/bin/sh", "-c", 'SYSTEMD_EXEC_PID=$$ exec "$@"', "sh"];
  await using program = await startProgram([], { wrapper });
  program.signal("SIGUSR2");
  assertMatch((await program.stderr.until(REFUSED))[1]!, /systemd ends every process/);
  await using client = await Client.open(program.url, { ca: program.ca });
  assertEquals(await client.ask("tom"), "ok");
});
