/**
 * Opens the broker that a target names. The clients of NATS and Redis are loaded here, and only then.
 * @module
 */
import { messageOf, StartError } from "../../errors.ts";
import type { Broker, BrokerStart } from "../broker.ts";
import { openLocal } from "./local.ts";
import { type Connect, ReconnectingBroker } from "./reconnect.ts";
import type { BrokerTarget } from "./broker_url.ts";

/** How a broker is opened. */
export interface OpenOptions {
  /** Certificates of authorities, PEM, beside those that Deno trusts. */
  readonly ca?: readonly string[];
  /** Start without the broker where it is away. */
  readonly optional?: boolean;
}

type Sessions = (target: BrokerTarget, ca: readonly string[], start: BrokerStart) => Connect;

/**
 * Opens a broker.
 * @throws {StartError} when it cannot be used: unreachable, authentication, TLS; not where it is optional
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
    return await ReconnectingBroker.open(sessions(target, ca, start), start.listener, { optional });
  } catch (error) {
    throw new StartError(`Cannot use the broker ${shown}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * A name that Deno finds only when it gets here: a client that is named in an import would be downloaded with the first
 * start of any service.
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
