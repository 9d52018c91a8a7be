import { assert, assertEquals } from "@std/assert";
import { testAuthority } from "../certificates.ts";
import { python, ServerProcess, WATCHDOG } from "../process.ts";

const { issue } = await testAuthority();
const tls = await issue("1a00");

for (const mode of ["plain", "tls"] as const) {
  Deno.test(`5,000 upgrades aborted by close and by reset (${mode}) leave neither descriptors nor memory behind`, async () => {
    await using server = await ServerProcess.start({ tls: mode === "tls" ? tls : undefined, watchdog: WATCHDOG });
    const abort = (how: string, path: string, count: number) =>
      python("./abort.py", server.port, mode, how, path, count, path === "/slow" ? 0.01 : 0);
    const start = await server.stat();
    // The first thousand bring the process to its working size.
    for (const how of ["close", "reset"]) for (const path of ["/", "/slow"]) await abort(how, path, 250);
    const idle = ({ opened, closed }: { opened: number; closed: number }) => opened === closed;
    const before = await server.settle((stat) => idle(stat) && stat.fds <= start.fds + 4);
    for (const how of ["close", "reset"]) for (const path of ["/", "/slow"]) await abort(how, path, 1_250);
    const after = await server.settle((stat) => idle(stat) && stat.fds <= start.fds + 4);
    // A leaked upgrade keeps its descriptor. Deno itself opens one or two when it first needs them.
    assert(after.fds <= start.fds + 4, `${start.fds} descriptors became ${after.fds}`);
    // A leaked upgrade holds 20 KiB. Without one the process grows in steps to some 155 MB by 20,000, and stays there.
    assert(after.rss - before.rss < 5_000 * 10_000, `${before.rss} became ${after.rss}`);
    assert(after.watchdog!.abandonedUpgrades > 0, "no client had gone before its upgrade: nothing was tested");
    assertEquals(after.watchdog!.ended.upgrade, 0);
  });
}
