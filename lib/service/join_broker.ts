/**
 * Connects the hub according to `--broker` and its related options.
 * @module
 */
import { flagOf } from "../config/option_table.ts";
import type { Settings } from "../config/service_options.ts";
import { formatSize } from "../duration_and_size.ts";
import { decodeText } from "../text_file.ts";
import { messageOf, readFailure, StartError, UsageError } from "../errors.ts";
import type { Broker, BrokerStart } from "../hub/broker.ts";
import { type BrokerTarget, parseBroker, parseCredentials } from "../hub/brokers/broker_url.ts";
import { LONGEST_HEADER } from "../hub/node_frame.ts";
import type { Hub } from "../hub/hub.ts";
import type { Logger } from "../log.ts";

/** Options that require `--broker`. */
const DEPENDENT_OPTIONS = ["brokerCredentialsFile", "brokerCa", "brokerPrefix", "brokerOptional"] as const;

/** Checks how the broker options can be combined. Returns one sentence per mistake, for a UsageError. */
export function validateBrokerOptions(settings: Settings, given: ReadonlyMap<string, string>): string[] {
  const problems: string[] = [];
  const name = (key: string) => given.get(key) ?? flagOf(key);
  if (settings.broker === undefined) {
    for (const key of DEPENDENT_OPTIONS) {
      if (given.has(key)) problems.push(`${name(key)} requires ${flagOf("broker")}`);
    }
    return problems;
  }
  if (!/^[\w-]{1,64}(?:\.[\w-]{1,64}){0,3}$/.test(settings.brokerPrefix)) {
    problems.push(
      `${name("brokerPrefix")}: must consist of letters, digits, _ and -, with up to three dots between them, not ` +
        `"${settings.brokerPrefix}"`,
    );
  }
  try {
    const { credentials } = parseBroker(settings.broker);
    if (credentials !== undefined && settings.brokerCredentialsFile !== undefined) {
      problems.push(
        `${name("brokerCredentialsFile")} cannot be combined with credentials in the URL of ${name("broker")}`,
      );
    }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    problems.push(...error.problems.map((problem) => `${name("broker")}: ${problem}`));
  }
  return problems;
}

/**
 * Connects the hub to the broker, if there is one.
 * @throws {StartError} if the broker, or a file of its options, cannot be used
 */
export async function joinBroker(
  hub: Hub,
  settings: Settings,
  given: ReadonlyMap<string, string>,
  log: Logger,
): Promise<void> {
  if (settings.broker === undefined) return;
  const target = withCredentials(parseBroker(settings.broker), settings.brokerCredentialsFile);
  const ca = settings.brokerCa === undefined ? [] : [readText(settings.brokerCa, "CA certificates of the broker")];
  const { shown } = target;
  const { brokerPrefix: prefix, brokerOptional: optional, maxPayload } = settings;
  const warnAboutLimit = ({ maxFrame }: Broker) => {
    if (maxPayload <= maxFrame) return;
    const limit = { maxPayload, brokerLimit: maxFrame - LONGEST_HEADER };
    log.warn("clients may send longer messages than the broker can relay to other nodes", limit);
  };
  await hub.connect({
    shown,
    prefix,
    connectedLater: warnAboutLimit,
    async open(start: BrokerStart) {
      const { openBroker } = await import("../hub/brokers/open_broker.ts");
      const broker = await openBroker(target, start, { ca, optional });
      // The default maxPayload may exceed the limit by the length of the header: NATS carries 1 MiB including the header.
      if (maxPayload > broker.maxFrame && given.has("maxPayload")) {
        const maxMessage = broker.maxFrame - LONGEST_HEADER;
        await broker[Symbol.asyncDispose]();
        throw new StartError(
          `Cannot use the broker ${shown} with ${given.get("maxPayload")} ${formatSize(maxPayload)}: it carries ` +
            `messages of up to ${maxMessage} bytes; raise the broker's limit, or lower ${given.get("maxPayload")}`,
        );
      }
      warnAboutLimit(broker);
      return broker;
    },
  });
  // If it is unreachable (--broker-optional), the hub has logged that, and logs when it is connected.
  if (hub.connected) log.info("connected to the broker", { broker: shown, node: hub.id, prefix });
}

/**
 * Connects the hub to the other workers of this machine.
 * @param path the path of the relay's unix socket
 * @throws {StartError} if the relay cannot be reached
 */
export async function joinWorkers(hub: Hub, path: string): Promise<void> {
  const { openIpc } = await import("../hub/brokers/ipc.ts");
  await hub.connect({
    shown: "between the workers",
    prefix: "wss",
    open: (start) => openIpc(path, start),
  });
}

function withCredentials(target: BrokerTarget, file: string | undefined): BrokerTarget {
  if (file === undefined) return target;
  const text = readText(file, "credentials of the broker");
  try {
    return { ...target, credentials: parseCredentials(text, target.kind) };
  } catch (error) {
    throw new StartError(`${file}: ${messageOf(error)}`, { cause: error });
  }
}

function readText(file: string, what: string): string {
  try {
    return decodeText(Deno.readFileSync(file));
  } catch (error) {
    throw new StartError(`Cannot read the ${what} (${file}): ${readFailure(error)}`, { cause: error });
  }
}
