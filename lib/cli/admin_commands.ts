/**
 * The commands that call the admin listener of a running service: `publish`, `nodes`, `topics`, `presence`,
 * `disconnect`.
 * @module
 */
import { callAdmin } from "../admin/admin_client.ts";
import { ADMIN_OPTIONS } from "../config/admin_options.ts";
import { loadSettings, readConfigFile, readVariables } from "../config/load_settings.ts";
import { type OptionTable, variableOf } from "../config/option_table.ts";
import { UsageError } from "../errors.ts";
import type { ClusterAnswer, NodeList, Presence, TopicList } from "../hub/service_calls.ts";
import { escapeControls } from "../log.ts";
import type { Command, Invocation } from "./command_type.ts";
import { PROGRAM } from "./help.ts";
import { write } from "./standard_streams.ts";

const { adminKeyFile, adminTls } = ADMIN_OPTIONS;
const OPTIONS = {
  admin: {
    type: "address",
    value: "HOST:PORT|unix:PATH",
    help: "The admin listener of the service: the value of its --admin. WSS_ADMIN and wss.json set it, too.",
  },
  adminKeyFile: {
    ...adminKeyFile,
    topic: undefined,
    help: "The file with the keys of the service. The first key is sent.",
  },
  adminTls: { ...adminTls, topic: undefined, help: "Connect to the admin listener over TLS." },
  ca: {
    type: "path",
    value: "FILE",
    flagOnly: true,
    help: "A PEM file with certificate authorities to trust in addition to those of Deno.",
  },
  timeout: {
    type: "duration",
    value: "TIME",
    default: "10s",
    min: 1,
    flagOnly: true,
    help: "How long to wait for the response.",
  },
  json: { type: "switch", default: false, flagOnly: true, help: "Print the result as JSON, on one line." },
} as const satisfies OptionTable;

const NAMESPACE = {
  namespace: { type: "text", value: "NAME", flagOnly: true, help: "Only this namespace.", unset: "all namespaces" },
} as const satisfies OptionTable;

/** The arguments of a command, the parameters of its API call, and the format of the result. */
interface ApiCall<T extends OptionTable> {
  readonly options: T;
  /** The names of the positional arguments. `?` at the end marks an optional one. */
  readonly argumentNames: readonly string[];
  /** @throws {UsageError} if the options are invalid */
  buildParameters(values: Readonly<Record<string, unknown>>, args: readonly string[]): Promise<object> | object;
  /** Formats the result as lines of text. */
  format(result: unknown): readonly string[];
}

function adminCommand<T extends OptionTable>(
  about: Pick<Command, "name" | "summary" | "examples" | "details">,
  { options, argumentNames, buildParameters, format }: ApiCall<T>,
): Command {
  return {
    ...about,
    group: "call a running service",
    usage: argumentNames.map((name) => name.endsWith("?") ? `[${name.slice(0, -1)}]` : name).join(" "),
    options: { ...options, ...OPTIONS },
    async run(line: Invocation): Promise<number> {
      const problems = [...line.problems];
      const required = argumentNames.filter((name) => !name.endsWith("?")).length;
      if (line.positionals.length < required || line.positionals.length > argumentNames.length) {
        const expected = argumentNames.length === 0
          ? "no arguments"
          : argumentNames.join(" ").replaceAll("?", " (optional)");
        problems.push(`${about.name} takes ${expected}, but got ${line.positionals.length}`);
      }
      const settings = loadTarget({ ...options, ...OPTIONS }, line, problems);
      const result = await callAdmin(settings, about.name, await buildParameters(settings, line.positionals));
      if (settings.json) write("stdout", `${JSON.stringify(result)}\n`);
      else for (const text of format(result)) write("stdout", `${escapeControls(text)}\n`);
      const { complete = true, nodes } = result as Partial<ClusterAnswer>;
      if (!complete) {
        const counts = nodes !== undefined && !Array.isArray(nodes) ? `: ${nodes.answered} of ${nodes.asked}` : "";
        write(
          "stderr",
          `${PROGRAM}: incomplete: some nodes did not answer, are not known yet, or left out names that are too long for the broker${counts}\n`,
        );
      }
      return 0;
    },
  };
}

type Target = Parameters<typeof callAdmin>[0] & { readonly json: boolean } & Readonly<Record<string, unknown>>;

/** Loads the options from flags, and the admin listener also from the variables and the configuration file. */
function loadTarget(table: typeof OPTIONS & OptionTable, line: Invocation, problems: readonly string[]): Target {
  const shared = ["admin", "adminKeyFile", "adminTls"];
  const pick = <V>(values: Readonly<Record<string, V>>, names: readonly string[]): Record<string, V> =>
    Object.fromEntries(Object.entries(values).filter(([name]) => names.includes(name)));
  const variables = readVariables(table);
  const file = readConfigFile(variables.WSS_CONFIG || undefined);
  const { settings } = loadSettings(
    table,
    {
      flags: line.flags,
      variables: pick(variables, shared.map(variableOf)),
      ...(file ? { object: { ...file, values: pick({ ...file.values } as Record<string, unknown>, shared) } } : {}),
    },
    problems,
    (values: { readonly admin?: unknown }) => {
      if (values.admin === undefined) {
        throw new UsageError("--admin HOST:PORT or --admin unix:PATH is required: the admin listener of the service");
      }
    },
  );
  return settings as unknown as Target;
}

/** Returns the named fields that have a value. */
function pickDefined(values: Readonly<Record<string, unknown>>, ...names: readonly string[]): object {
  return Object.fromEntries(names.filter((name) => values[name] !== undefined).map((name) => [name, values[name]]));
}

/** Formats rows as aligned columns. */
function formatColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((row) => row[at]!.length))) ?? [];
  return rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at]!)).join("  ").trimEnd());
}

export const publishCommand: Command = adminCommand({
  name: "publish",
  summary: "sends a message to the subscribers of a topic",
  details:
    "DATA is sent as text. If DATA is -, the text is read from standard input. Write -- before a text that is empty or\n" +
    "begins with -: wss publish news -- -5",
  examples: [
    ["wss publish news hello --admin unix:/run/wss/admin.sock", "to all subscribers of news"],
    ["wss publish clock - --admin 127.0.0.1:9100 --admin-key-file keys", "the text from standard input"],
  ],
}, {
  options: {
    ...NAMESPACE,
    except: { type: "text", value: "PEER", flagOnly: true, help: "The id of a peer that does not get the message." },
  },
  argumentNames: ["TOPIC", "DATA"],
  async buildParameters(values, [topic, data]) {
    const text = data === "-" ? await new Response(Deno.stdin.readable).text() : data;
    return { topic, data: text, ...pickDefined(values, "namespace", "except") };
  },
  format: () => ["published"],
});

export const nodesCommand: Command = adminCommand({
  name: "nodes",
  summary: "lists the nodes of a running service",
  examples: [["wss nodes --admin 127.0.0.1:9100 --admin-key-file keys", "with host, number of peers and start time"]],
}, {
  options: {},
  argumentNames: [],
  buildParameters: () => ({}),
  format: (result) =>
    formatColumns([
      ["NODE", "HOST", "PEERS", "STARTED"],
      ...(result as NodeList).nodes.map(({ id, host = "", peers, started }) => [
        id,
        host,
        `${peers}`,
        new Date(started).toISOString(),
      ]),
    ]),
});

export const topicsCommand: Command = adminCommand({
  name: "topics",
  summary: "lists the topics of a running service with their numbers of subscribers",
  examples: [["wss topics room: --admin unix:/run/wss/admin.sock", "the topics that begin with room:"]],
}, {
  options: NAMESPACE,
  argumentNames: ["PREFIX?"],
  buildParameters: (values, [prefix]) => ({ ...(prefix ? { prefix } : {}), ...pickDefined(values, "namespace") }),
  format: (result) =>
    formatColumns([
      ["TOPIC", "SUBSCRIBERS"],
      ...(result as TopicList).topics.map(({ topic, subscribers }) => [topic, `${subscribers}`]),
    ]),
});

export const presenceCommand: Command = adminCommand({
  name: "presence",
  summary: "lists the subscribers of a topic",
  examples: [["wss presence news --admin unix:/run/wss/admin.sock --json", "as JSON, for a program"]],
}, {
  options: NAMESPACE,
  argumentNames: ["TOPIC"],
  buildParameters: (values, [topic]) => ({ topic, ...pickDefined(values, "namespace") }),
  format: (result) =>
    formatColumns([
      ["PEER", "USER", "NODE"],
      ...(result as Presence).peers.map(({ id, user = "", node }) => [id, user, node]),
    ]),
});

export const disconnectCommand: Command = adminCommand({
  name: "disconnect",
  summary: "closes the connections of a user, or of one peer",
  examples: [["wss disconnect --user tom --code 4001 --reason 'signed out' --admin 127.0.0.1:9100", "on all nodes"]],
}, {
  options: {
    user: { type: "text", value: "USER", flagOnly: true, help: "Close all connections that this user has now." },
    peer: { type: "text", value: "ID", flagOnly: true, help: "Close the connection of the peer with this id." },
    code: { type: "count", value: "CODE", flagOnly: true, unset: "1000", help: "The close code." },
    reason: { type: "text", value: "TEXT", flagOnly: true, help: "The close reason." },
  },
  argumentNames: [],
  buildParameters(values) {
    if ((values.user === undefined) === (values.peer === undefined)) {
      throw new UsageError("disconnect requires either --user USER or --peer ID");
    }
    return pickDefined(values, "user", "peer", "code", "reason");
  },
  format: () => ["the request to close was sent to all nodes"],
});
