/**
 * A client process for another network namespace. It connects to the URL in its first argument and stays connected. It
 * prints `open` once it is connected. The second argument is its kind. `reading` is Deno's own WebSocket, which answers
 * pings; it also prints the close code. `stuck` never reads, and requests 64 KiB as often as the third argument says.
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
