/**
 * Ports for programs that cannot pick one themselves, and ports on which nothing listens. Anything of ours takes port 0.
 *
 * A port that is looked for, given up and then used can be taken by another test meanwhile. So each test file has a
 * block of ports of its own: it listens on the block's first port as long as it runs, and no other file takes a block
 * whose first port is in use. The blocks lie under the range from which Linux takes port 0 and the ports of outgoing
 * connections.
 * @module
 */

const FIRST = 20_000;
const END = 32_000;
const BLOCK = 100;
/** All but the first and the last of a block. */
const USABLE = BLOCK - 2;

function tryListen(hostname: string, port: number): Deno.TcpListener | undefined {
  try {
    return Deno.listen({ hostname, port });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return undefined;
    throw error;
  }
}

/** The block's first port, held as long as this file runs: before a test begins, so it is no leak of that test. */
const held = takeBlock();
let used = 0;

function takeBlock(): Deno.TcpListener {
  const blocks = (END - FIRST) / BLOCK;
  const start = Math.floor(Math.random() * blocks);
  for (let i = 0; i < blocks; i++) {
    const listener = tryListen("127.0.0.1", FIRST + (start + i) % blocks * BLOCK);
    if (listener !== undefined) return listener;
  }
  throw new Error(`Cannot take a block of ports: each one from ${FIRST} to ${END} is in use`);
}

/** A port that no other test file uses, and that nothing listens on yet; another one each time. */
export function freePort(): number {
  for (let tries = 0; tries < USABLE; tries++) {
    const port = held.addr.port + 1 + used++ % USABLE;
    const listener = tryListen("::", port);
    if (listener === undefined) continue;
    listener.close();
    return port;
  }
  throw new Error(`Cannot find a free port: the ${USABLE} after ${held.addr.port} are in use`);
}

/** A port that refuses connections, and goes on refusing them: the block's last, which freePort() never gives. */
export function closedPort(): number {
  return held.addr.port + BLOCK - 1;
}
