/**
 * A client in another network namespace, as a process: connects to the URL in its first argument and stays. Says `open`,
 * then what came. `reading`: Deno's own WebSocket, which answers pings; `stuck`: one that never reads, and has itself
 * fed as the third argument says: so many times 64 KiB.
 */
import { Client } from "../support/client.ts";
import { textFrame } from "../support/frames.ts";
import { RawPeer } from "../support/raw_peer.ts";

const [url = "", kind = "reading", times = "0"] = Deno.args;

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

if (kind === "reading") {
  const client = await Client.open(url);
  say("open");
  client.closed.then(({ code }) => say(`closed ${code}`));
} else {
  const { hostname, port, searchParams } = new URL(url);
  const service = { port: Number(port), ca: undefined };
  const peer = await RawPeer.open(service, { hostname, name: searchParams.get("name")!, reading: false });
  for (let time = 0; time < Number(times); time++) await peer.send(textFrame("!feed 65536"));
  say("open");
}
await new Promise((resolve) => setTimeout(resolve, 120_000));
