/** The library in another project, whose deno.json has no `unstable` entry. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import project from "../deno.json" with { type: "json" };
import { developmentMaterial } from "../lib/tls/development_certificate.ts";
import { makeFolder, ROOT } from "./support/program.ts";

/** Serves with certificate files, renews them, and prints the replies to a client from before and one from after. */
const PROGRAM = `
import { createLogger, flushLog, serve } from "@wss/wss";

const options = { port: 0, host: "127.0.0.1", cert: "cert.pem", key: "key.pem" };
const upgrade = async () => { await new Promise((resolve) => setTimeout(resolve, 1)); };
const app = { upgrade, message: (peer, message) => void peer.send(message.text()) };
const service = await serve(app, options, { log: createLogger({ format: "json" }) });

async function connect(ca) {
  const client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(ca)] });
  const socket = new WebSocket("wss://localhost:" + service.addr.port, { client });
  await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  return socket;
}
async function ask(socket) {
  socket.send("tom");
  return await new Promise((resolve) => socket.onmessage = ({ data }) => resolve(data));
}
const before = await connect("ca.pem");
await Deno.copyFile("next/cert.pem", "cert.pem");
await Deno.copyFile("next/key.pem", "key.pem");
await service.reload();
const after = await connect("next/ca.pem");
console.log(await ask(before), await ask(after));
await service.stop();
await flushLog();
Deno.exit(0);
`;

Deno.test("a program without unstable entries serves, renews its certificate and stops, and Deno prints nothing", async () => {
  const folder = await makeFolder({ "main.ts": PROGRAM });
  try {
    await developmentMaterial({ folder });
    await Deno.mkdir(join(folder, "next"));
    await developmentMaterial({ folder: join(folder, "next") });
    const imports = Object.fromEntries(
      Object.entries(project.imports).map(([name, target]) => [name, target.replace(/^\.\//, ROOT)]),
    );
    await Deno.writeTextFile(join(folder, "deno.json"), JSON.stringify({ imports, nodeModulesDir: "none" }));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-lock", "main.ts"],
      cwd: folder,
      env: { NO_COLOR: "1" },
    }).output();
    const log = new TextDecoder().decode(stderr);
    assertEquals([code, new TextDecoder().decode(stdout)], [0, "tom tom\n"], log);
    const lines = log.trimEnd().split("\n").map((line) => JSON.parse(line) as { level: string; message: string });
    const lost = lines.filter(({ message }) => message.includes("unstable"));
    assertEquals(lost.length, 1, log);
    assertMatch(lost[0]!.message, /^Without "unstable": \["net", "no-legacy-abort"\] in deno.json/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
