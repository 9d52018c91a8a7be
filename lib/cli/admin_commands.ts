/**
 * The commands that ask a running service through its admin listener: `publish`, `nodes`, `topics`, `presence`,
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
import { write } from "./output.ts";

const { adminKeyFile, adminTls } = ADMIN_OPTIONS;
const OPTIONS = {
  admin: {
    type: "text",
    value: "HOST:PORT|unix:PATH",
    help: "The admin listener of the service, as serve was given it. WSS_ADMIN and wss.json name it, too.",
  },
  adminKeyFile: { ...adminKeyFile, topic: undefined, help: "The file of keys; the first one in it is sent." },
  adminTls: { ...adminTls, topic: undefined, help: "The admin listener serves over TLS." },
  ca: { type: "path", value: "FILE", flagOnly: true, help: "Authorities, PEM, besides those that Deno trusts." },
  timeout: { type: "duration", value: "TIME", default: "10s", min: 1, flagOnly: true, help: "How long to wait." },
  json: { type: "switch", default: false, flagOnly: true, help: "Print the result as JSON, on one line." },
} as const satisfies OptionTable;

const NAMESPACE = {
  namespace: { type: "text", value: "NAME", flagOnly: true, help: "Only in this namespace.", unset: "all of them" },
} as const satisfies OptionTable;

/** What a command asks, and how it shows the answer. */
interface Question<T extends OptionTable> {
  readonly options: T;
  /** Names of the arguments; one with `?` at its end may be missing. */
  readonly names: readonly string[];
  /** @throws {UsageError} */
  parameters(values: Readonly<Record<string, unknown>>, words: readonly string[]): Promise<object> | object;
  /** Lines of text. */
  show(result: unknown): readonly string[];
}

function adminCommand<T extends OptionTable>(
  about: Pick<Command, "name" | "summary" | "examples" | "details">,
  { options, names, parameters, show }: Question<T>,
): Command {
  return {
    ...about,
    group: "call a running service",
    usage: names.map((name) => name.endsWith("?") ? `[${name.slice(0, -1)}]` : name).join(" "),
    options: { ...options, ...OPTIONS },
    async run(line: Invocation): Promise<number> {
      const problems = [...line.problems];
      const least = names.filter((name) => !name.endsWith("?")).length;
      if (line.positionals.length < least || line.positionals.length > names.length) {
        const needed = names.length === 0 ? "no arguments" : names.join(" ").replaceAll("?", " (optional)");
        problems.push(`${about.name} takes ${needed}, and was given ${line.positionals.length} of them`);
      }
      const settings = read({ ...options, ...OPTIONS }, line, problems);
      const result = await callAdmin(settings, about.name, await parameters(settings, line.positionals));
      if (settings.json) write("stdout", `${JSON.stringify(result)}\n`);
      else for (const text of show(result)) write("stdout", `${escapeControls(text)}\n`);
      const { complete = true, nodes } = result as Partial<ClusterAnswer>;
      if (!complete) {
        const told = nodes !== undefined && !Array.isArray(nodes) ? `: ${nodes.answered} of ${nodes.asked}` : "";
        write("stderr", `${PROGRAM}: not every node has answered, or not every one is known yet${told}\n`);
      }
      return 0;
    },
  };
}

type Target = Parameters<typeof callAdmin>[0] & { readonly json: boolean } & Readonly<Record<string, unknown>>;

/** From flags; where the listener is, also from the service's variables and its file. */
function read(table: typeof OPTIONS & OptionTable, line: Invocation, problems: readonly string[]): Target {
  const shared = ["admin", "adminKeyFile", "adminTls"];
  const own = <V>(values: Readonly<Record<string, V>>, names: readonly string[]): Record<string, V> =>
    Object.fromEntries(Object.entries(values).filter(([name]) => names.includes(name)));
  const variables = readVariables();
  const file = readConfigFile(variables.WSS_CONFIG || undefined);
  const { settings } = loadSettings(
    table,
    {
      flags: line.flags,
      variables: own(variables, shared.map(variableOf)),
      ...(file ? { object: { ...file, values: own({ ...file.values } as Record<string, unknown>, shared) } } : {}),
    },
    problems,
    (values: { readonly admin?: unknown }) => {
      if (values.admin === undefined) {
        throw new UsageError("which service: --admin HOST:PORT or --admin unix:PATH, as serve was given it");
      }
    },
  );
  return settings as unknown as Target;
}

/** Fields that have a value. */
function present(values: Readonly<Record<string, unknown>>, ...names: readonly string[]): object {
  return Object.fromEntries(names.filter((name) => values[name] !== undefined).map((name) => [name, values[name]]));
}

/** Rows in columns. */
function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((row) => row[at]!.length))) ?? [];
  return rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at]!)).join("  ").trimEnd());
}

export const publishCommand: Command = adminCommand({
  name: "publish",
  summary: "sends a message to the subscribers of a topic of a running service",
  details: "DATA is sent as text; - reads it from standard input.",
  examples: [
    ["wss publish news hello --admin unix:/run/wss/admin.sock", "to everybody who is subscribed to news"],
    ["wss publish clock - --admin 127.0.0.1:9100 --admin-key-file keys", "what standard input has"],
  ],
}, {
  options: {
    ...NAMESPACE,
    except: { type: "text", value: "PEER", flagOnly: true, help: "The id of a peer that does not get it." },
  },
  names: ["TOPIC", "DATA"],
  async parameters(values, [topic, data]) {
    const text = data === "-" ? await new Response(Deno.stdin.readable).text() : data;
    return { topic, data: text, ...present(values, "namespace", "except") };
  },
  show: () => ["published"],
});

export const nodesCommand: Command = adminCommand({
  name: "nodes",
  summary: "lists the nodes of a running service",
  examples: [["wss nodes --admin 127.0.0.1:9100 --admin-key-file keys", "each with its host, its peers and its start"]],
}, {
  options: {},
  names: [],
  parameters: () => ({}),
  show: (result) =>
    columns([
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
  summary: "lists the topics of a running service, and how many are subscribed to each",
  examples: [["wss topics room: --admin unix:/run/wss/admin.sock", "those that begin with room:"]],
}, {
  options: NAMESPACE,
  names: ["PREFIX?"],
  parameters: (values, [prefix]) => ({ ...(prefix ? { prefix } : {}), ...present(values, "namespace") }),
  show: (result) =>
    columns([
      ["TOPIC", "SUBSCRIBERS"],
      ...(result as TopicList).topics.map(({ topic, subscribers }) => [topic, `${subscribers}`]),
    ]),
});

export const presenceCommand: Command = adminCommand({
  name: "presence",
  summary: "lists who is subscribed to a topic of a running service",
  examples: [["wss presence news --admin unix:/run/wss/admin.sock --json", "for a program"]],
}, {
  options: NAMESPACE,
  names: ["TOPIC"],
  parameters: (values, [topic]) => ({ topic, ...present(values, "namespace") }),
  show: (result) =>
    columns([
      ["PEER", "USER", "NODE"],
      ...(result as Presence).peers.map(({ id, user = "", node }) => [id, user, node]),
    ]),
});

export const disconnectCommand: Command = adminCommand({
  name: "disconnect",
  summary: "closes the connections of a user, or of one peer, of a running service",
  examples: [["wss disconnect --user tom --code 4001 --reason 'signed out' --admin 127.0.0.1:9100", "on all nodes"]],
}, {
  options: {
    user: { type: "text", value: "USER", flagOnly: true, help: "All connections that this user has now." },
    peer: { type: "text", value: "ID", flagOnly: true, help: "One connection, by the id of its peer." },
    code: { type: "count", value: "CODE", flagOnly: true, unset: "1000", help: "The close code." },
    reason: { type: "text", value: "TEXT", flagOnly: true, help: "The reason in the close frame." },
  },
  names: [],
  parameters(values) {
    if ((values.user === undefined) === (values.peer === undefined)) {
      throw new UsageError("disconnect needs one of --user USER and --peer ID");
    }
    return present(values, "user", "peer", "code", "reason");
  },
  show: () => ["the nodes were asked to close them"],
});
