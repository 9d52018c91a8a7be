/**
 * Opens the broker of a target. Loads the client of NATS or Redis on demand.
 * @module
 */
import { messageOf, StartError } from "../../errors.ts";
import type { Broker, BrokerStart } from "../broker.ts";
import { openLocal } from "./local.ts";
import { type Connect, ReconnectingBroker } from "./reconnect.ts";
import { type BrokerServer, type BrokerTarget, hostAndPort } from "./broker_url.ts";

/** Options for opening a broker. */
export interface OpenOptions {
  /** Certificates of authorities (PEM) to trust in addition to Deno's. */
  readonly ca?: readonly string[];
  /** Whether to start without the broker if it is unreachable. */
  readonly optional?: boolean;
}

type Sessions = (server: BrokerServer, target: BrokerTarget, ca: readonly string[]) => Connect;

/**
 * Opens a broker.
 * @throws {StartError} if the broker cannot be used (unreachable, authentication, TLS) and is not optional
 */
export async function openBroker(
  target: BrokerTarget,
  start: BrokerStart,
  { ca = [], optional = false }: OpenOptions = {},
): Promise<Broker> {
  const { kind, shown } = target;
  if (kind === "local") return openLocal(shown);
  const sessions = await load(kind);
  // In random order, so that the nodes of a service are spread over the members of a NATS cluster.
  const servers = kind === "nats" ? shuffled(target.servers) : target.servers;
  const connectable = servers.map((server) => ({ name: hostAndPort(server), connect: sessions(server, target, ca) }));
  try {
    return await ReconnectingBroker.open(connectable, start, { optional });
  } catch (error) {
    throw new StartError(`Cannot use the broker ${shown}: ${messageOf(error)}`, { cause: error });
  }
}

function shuffled<T>(values: readonly T[]): T[] {
  return values.map((value) => ({ value, key: Math.random() })).sort((a, b) => a.key - b.key).map(({ value }) => value);
}

/**
 * Imports a client by a computed name. With a literal name Deno would download the client at the first start of every
 * service.
 */
async function load(kind: "nats" | "redis"): Promise<Sessions> {
  const module = new URL(`./${kind}.ts`, import.meta.url).href;
  try {
    const loaded = await import(module);
    return kind === "nats" ? loaded.natsSessions : loaded.redisSessions;
  } catch (error) {
    throw new StartError(`Cannot load the client of the broker (${kind}): ${messageOf(error)}`, { cause: error });
  }
}
