/**
 * Opens the broker of a target. Loads the client of NATS or Redis on demand.
 * @module
 */
import { messageOf, StartError } from "../../errors.ts";
import type { Broker, BrokerStart } from "../broker.ts";
import { openLocal } from "./local.ts";
import { type Connect, ReconnectingBroker } from "./reconnect.ts";
import type { BrokerTarget } from "./broker_url.ts";

/** Options for opening a broker. */
export interface OpenOptions {
  /** Certificates of authorities (PEM) to trust in addition to Deno's. */
  readonly ca?: readonly string[];
  /** Whether to start without the broker if it is unreachable. */
  readonly optional?: boolean;
}

type Sessions = (target: BrokerTarget, ca: readonly string[]) => Connect;

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
  try {
    return await ReconnectingBroker.open(sessions(target, ca), start, { optional });
  } catch (error) {
    throw new StartError(`Cannot use the broker ${shown}: ${messageOf(error)}`, { cause: error });
  }
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
