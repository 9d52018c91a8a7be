/**
 * A worker program for tests of the supervisor: the real link and the real service. It reports to the test over TCP what a
 * worker experiences before it has reported that it listens, and then serves as the real program does.
 *
 * Arguments: the port of the test, and `pause` if the worker must report that it listens only after it is stopped.
 * @module
 */
import echo from "../../lib/apps/echo.ts";
import { connectSupervisor, serveAsWorker } from "../../lib/cli/serve_as_worker.ts";
import { loadSettings } from "../../lib/config/load_settings.ts";
import { SERVICE_OPTIONS } from "../../lib/config/service_options.ts";
import { silent } from "../../lib/log.ts";
import { startService } from "../../lib/service/serve.ts";
import { validateSettings } from "../../lib/service/validate_settings.ts";

const [port, pause] = Deno.args;
const link = (await connectSupervisor())!;
const test = await Deno.connect({ port: Number(port) });
const report = (fact: object) => test.write(new TextEncoder().encode(JSON.stringify(fact) + "\n"));
const values = { mode: "proxied", host: "127.0.0.1", port: 0, drainTimeout: 0 };
const loaded = loadSettings(SERVICE_OPTIONS, { object: { values } }, [], validateSettings);
const service = await startService(echo, loaded, { worker: link });
link.onCounts = (counts) => void report({ worker: link.index, counts });
// The service listens: clients may already have connected.
link.reportCounts({ total: 3, addresses: { "192.0.2.1": 3 }, users: { anna: 3 } });
setTimeout(() => link.reportCounts({ total: 4, addresses: { "192.0.2.2": 1 }, users: { ben: 1 } }), 100);
if (pause === "pause") {
  await report({ worker: link.index, paused: true });
  if (!link.stopped.aborted) await new Promise((resolve) => link.stopped.addEventListener("abort", resolve));
}
const settings = { ...loaded.settings, workerTimeout: 30_000 };
Deno.exit(await serveAsWorker(service, link, settings, silent));
