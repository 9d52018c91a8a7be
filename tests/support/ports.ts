/**
 * Ports for programs that cannot pick one themselves, and ports on which nothing listens. The project's own programs
 * use port 0.
 *
 * If a test finds a free port, releases it and then uses it, another test can take the port in between. Each test file
 * therefore has its own block of ports. The file listens on the first port of its block as long as it runs, and other
 * files skip a block whose first port is in use. The blocks are below the range that Linux uses for port 0 and for
 * outgoing connections.
 * @module
 */

const FIRST = 20_000;
const END = 32_000;
const BLOCK = 100;
/** The ports of a block, without its first and its last. */
const USABLE = BLOCK - 2;

function tryListen(hostname: string, port: number): Deno.TcpListener | undefined {
  try {
    return Deno.listen({ hostname, port });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return undefined;
    throw error;
  }
}

/**
 * The listener on the block's first port. It stays open as long as this test file runs. It opens before the first test,
 * so that the sanitizer does not report it as a leak.
 */
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

/** Returns a port that no other test file uses and on which nothing listens yet. Each call returns a different port. */
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

/** Returns a port that always refuses connections: the last of the block, which freePort() never returns. */
export function closedPort(): number {
  return held.addr.port + BLOCK - 1;
}
