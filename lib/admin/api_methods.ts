/**
 * The methods of the API: what each takes, and what it does. A command is plain JSON, so that it can be handed to
 * another process.
 * @module
 */
import { isSendable } from "../close_codes.ts";
import { findNearestName } from "../config/nearest_name.ts";
import type { ServiceCalls } from "../hub/service_calls.ts";
import type { Target } from "../hub/cluster.ts";
import { ApiError } from "./api_error.ts";
import { Fields, wrong } from "./request_fields.ts";

/** A message: text, or bytes in base64. */
export type MessageData = { readonly text: string } | { readonly base64: string };

/** A call that has been checked. */
export type ApiCommand =
  | {
    readonly method: "publish";
    readonly topics: readonly string[];
    readonly data: MessageData;
    readonly except?: string;
    readonly namespace?: string;
    readonly idempotencyKey?: string;
  }
  | { readonly method: "send"; readonly to: Target; readonly data: MessageData }
  | { readonly method: "subscribe" | "unsubscribe"; readonly to: Target; readonly topic: string }
  | { readonly method: "disconnect"; readonly to: Target; readonly code?: number; readonly reason?: string }
  | { readonly method: "presence" | "presence_stats"; readonly topic: string; readonly namespace?: string }
  | { readonly method: "online"; readonly user: string }
  | { readonly method: "topics"; readonly prefix?: string; readonly namespace?: string }
  | { readonly method: "nodes" };

interface Method {
  readonly fields: readonly string[];
  read(fields: Fields, longest: number): ApiCommand;
}

const TARGET = ["user", "peer"] as const;
const DATA = ["data", "b64data"] as const;
/** Bytes of a close frame's reason (RFC 6455 section 5.5). */
const LONGEST_REASON = 123;
/** The longest idempotency key, characters. */
const LONGEST_KEY = 200;

const METHODS: Readonly<Record<string, Method>> = {
  publish: {
    fields: ["topic", "topics", ...DATA, "except", "namespace", "idempotency_key"],
    read: (fields, longest) => ({
      method: "publish",
      topics: fields.one("topic", "topics") === "topic" ? [fields.text("topic")] : topicsOf(fields.get("topics")),
      data: dataOf(fields, longest),
      ...optional("except", fields.optionalText("except")),
      ...optional("namespace", fields.optionalText("namespace")),
      ...optional("idempotencyKey", idempotencyKey(fields)),
    }),
  },
  send: {
    fields: [...TARGET, ...DATA],
    read: (fields, longest) => ({ method: "send", to: targetOf(fields), data: dataOf(fields, longest) }),
  },
  subscribe: {
    fields: [...TARGET, "topic"],
    read: (fields) => ({ method: "subscribe", to: targetOf(fields), topic: fields.text("topic") }),
  },
  unsubscribe: {
    fields: [...TARGET, "topic"],
    read: (fields) => ({ method: "unsubscribe", to: targetOf(fields), topic: fields.text("topic") }),
  },
  disconnect: {
    fields: [...TARGET, "code", "reason"],
    read: (fields) => ({
      method: "disconnect",
      to: targetOf(fields),
      ...optional("code", closeCode(fields.get("code"))),
      ...optional("reason", closeReason(fields.get("reason"))),
    }),
  },
  presence: { fields: ["topic", "namespace"], read: (fields) => ({ method: "presence", ...topicIn(fields) }) },
  presence_stats: {
    fields: ["topic", "namespace"],
    read: (fields) => ({ method: "presence_stats", ...topicIn(fields) }),
  },
  online: { fields: ["user"], read: (fields) => ({ method: "online", user: fields.text("user") }) },
  topics: {
    fields: ["prefix", "namespace"],
    read: (fields) => ({
      method: "topics",
      ...optional("prefix", fields.get("prefix") === "" ? undefined : fields.optionalText("prefix")),
      ...optional("namespace", fields.optionalText("namespace")),
    }),
  },
  nodes: { fields: [], read: () => ({ method: "nodes" }) },
};

/** The names of the methods, in the order in which they are listed. */
export const METHOD_NAMES: readonly string[] = [...Object.keys(METHODS), "batch"];

/**
 * Checks a call.
 * @param longest bytes of the longest message
 * @throws {ApiError} an unknown method, or the field that is wrong
 */
export function readCommand(method: string, parameters: unknown, longest: number): ApiCommand {
  if (!Object.hasOwn(METHODS, method)) throw unknownMethod(method);
  const { fields, read } = METHODS[method]!;
  return read(new Fields(parameters, fields), longest);
}

function unknownMethod(method: string): ApiError {
  const guess = findNearestName(method.slice(0, 40), METHOD_NAMES);
  const hint = guess === undefined ? "" : `; did you mean ${guess}?`;
  return new ApiError(
    "methodNotFound",
    `there is no method ${JSON.stringify(method.slice(0, 100))}: the methods are ${METHOD_NAMES.join(", ")}${hint}`,
  );
}

/** Does what a command says, on all nodes; returns its result. */
export async function perform(calls: ServiceCalls, command: ApiCommand): Promise<object> {
  switch (command.method) {
    case "publish": {
      const { topics, data, except, namespace } = command;
      calls.publish(topics, payloadOf(data), { except, namespace });
      return {};
    }
    case "send":
      calls.send(command.to, payloadOf(command.data));
      return {};
    case "subscribe":
    case "unsubscribe":
      calls[command.method](command.to, command.topic);
      return {};
    case "disconnect":
      calls.disconnect(command.to, command);
      return {};
    case "presence":
      return await calls.presence(command.topic, { namespace: command.namespace });
    case "presence_stats": {
      const { peers, users, ...asked } = await calls.presence(command.topic, { namespace: command.namespace });
      return { num_peers: peers.length, num_users: users.length, ...asked };
    }
    case "online":
      return await calls.online(command.user);
    case "topics":
      return await calls.topics(command.prefix, { namespace: command.namespace });
    case "nodes":
      return await calls.nodes();
  }
}

function payloadOf(data: MessageData): string | Uint8Array {
  return "text" in data ? data.text : Uint8Array.fromBase64(data.base64);
}

/** A field that is left out where it has no value. */
function optional<N extends string, V>(name: N, value: V | undefined): { readonly [K in N]?: V } {
  return value === undefined ? {} : { [name]: value } as { readonly [K in N]?: V };
}

function targetOf(fields: Fields): Target {
  return fields.one(...TARGET) === "user" ? { user: fields.text("user") } : { peer: fields.text("peer") };
}

function topicIn(fields: Fields): { readonly topic: string; readonly namespace?: string } {
  return { topic: fields.text("topic"), ...optional("namespace", fields.optionalText("namespace")) };
}

function topicsOf(value: unknown): string[] {
  if (!Array.isArray(value) || value.length === 0) throw wrong("topics", "an array of topics", value);
  for (const [at, topic] of value.entries()) {
    if (typeof topic !== "string" || topic === "") throw wrong(`topics[${at}]`, "a text that is not empty", topic);
  }
  return value;
}

/** What is to be sent: a text as it is, any other value as JSON text, base64 as bytes. */
function dataOf(fields: Fields, longest: number): MessageData {
  const name = fields.one(...DATA);
  const value = fields.get(name);
  if (name === "data") {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    if (text.length * 3 > longest && new TextEncoder().encode(text).length > longest) throw tooLong(name, longest);
    return { text };
  }
  if (typeof value !== "string") throw wrong(name, "bytes in base64", value);
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(value);
  } catch {
    throw wrong(name, "bytes in base64 (RFC 4648, section 4)", value);
  }
  if (bytes.length > longest) throw tooLong(name, longest);
  return { base64: value };
}

function tooLong(name: string, longest: number): ApiError {
  return new ApiError("badRequest", `${name}: a message has ${longest} bytes at the most (--max-payload)`, 413);
}

function closeCode(value: unknown): number | undefined {
  if (value === undefined || (typeof value === "number" && isSendable(value))) return value;
  throw wrong("code", "a close code that may stand on the wire (1000, 1001, 1008, 3000 to 4999)", value);
}

function closeReason(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string" && new TextEncoder().encode(value).length <= LONGEST_REASON) return value;
  throw wrong("reason", `a text of up to ${LONGEST_REASON} bytes`, value);
}

function idempotencyKey(fields: Fields): string | undefined {
  const key = fields.optionalText("idempotency_key");
  if (key !== undefined && key.length > LONGEST_KEY) {
    throw wrong("idempotency_key", `a text of up to ${LONGEST_KEY} characters`, key);
  }
  return key;
}
