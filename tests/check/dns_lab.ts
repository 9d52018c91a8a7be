/**
 * Runs a name server on 127.0.0.1:53 whose answer depends on the queried name, and probes each name. Must run in a
 * separate network namespace whose resolv.conf contains that server. Prints codes and facts by name as one JSON object.
 */
import { createSocket } from "node:dgram";
import { Buffer } from "node:buffer";
import { probeDns } from "../../lib/check/probes/dns.ts";

const ADDRESSES: Readonly<Record<string, readonly number[]>> = {
  zero: [0, 0, 0, 0],
  private: [10, 1, 2, 3],
  loop: [127, 0, 0, 1],
  slow: [192, 0, 2, 7],
  good: [192, 0, 2, 7],
};
const CODES: Readonly<Record<string, number>> = { servfail: 2, nxdomain: 3, refused: 5 };

/** The delay of the answer to `slow`, in milliseconds. */
const SLOW = 1500;

const server = createSocket("udp4");
server.on("message", (query: Uint8Array, from: { port: number; address: string }) => {
  const first = new TextDecoder().decode(query.subarray(13, 13 + query[12]!));
  let end = 12;
  while (query[end] !== 0) end += query[end]! + 1;
  end += 5;
  const type = (query[end - 4]! << 8) | query[end - 3]!;
  const address = type === 1 ? ADDRESSES[first] : undefined;
  const reply = [
    ...query.subarray(0, 2),
    0x81,
    0x80 | (CODES[first] ?? 0),
    ...[0, 1, 0, address ? 1 : 0, 0, 0, 0, 0],
    ...query.subarray(12, end),
    // A pointer to the name, type A, class IN, a TTL of 60 s.
    ...(address ? [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address] : []),
  ];
  if (first === "silent") return;
  setTimeout(
    () => server.send(Buffer.from(reply), from.port, from.address),
    first === "slow" && address !== undefined ? SLOW : 0,
  );
});
await new Promise<void>((resolve) => server.bind(53, "127.0.0.1", () => resolve()));

const outcome: Record<string, { codes: string[]; facts: string[] }> = {};
for (const name of [...Object.keys(ADDRESSES), ...Object.keys(CODES), "empty", "silent"]) {
  const { findings } = await probeDns(`${name}.example.test`, new AbortController().signal);
  outcome[name] = { codes: findings.map(({ code }) => code), facts: findings.map(({ fact }) => fact) };
}
await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(outcome)));
server.close();
Deno.exit();
