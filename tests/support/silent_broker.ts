/**
 * A broker that accepts connections and never answers. With `--broker-optional` a service waits some seconds for it while
 * it starts, and has loaded its certificate before.
 * @module
 */

/** A silent broker. */
export interface SilentBroker extends AsyncDisposable {
  /** The value of `--broker`. */
  readonly url: string;
  /** Keeps connections from now on. Before that they are closed at once, and a start does not wait. */
  hold(): void;
  /** Closes all connections, so that the services that wait continue to start. */
  release(): void;
  /** Resolves when the first connection is kept. */
  readonly waiting: Promise<void>;
}

/** Opens a silent broker. */
export function openSilentBroker(): SilentBroker {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const kept: Deno.Conn[] = [];
  const waiting = Promise.withResolvers<void>();
  let holding = false;
  const release = () => {
    holding = false;
    for (const connection of kept.splice(0)) connection.close();
  };
  const accepting = (async () => {
    for await (const connection of listener) {
      kept.push(connection);
      if (holding) waiting.resolve();
      else release();
    }
  })();
  return {
    url: `nats://127.0.0.1:${listener.addr.port}`,
    hold: () => void (holding = true),
    release,
    waiting: waiting.promise,
    async [Symbol.asyncDispose]() {
      release();
      listener.close();
      await accepting;
    },
  };
}
