/**
 * The methods of the API: their parameters and their effects. A command is plain JSON, so that it can be sent to another
 * process.
 * @module
 */
import { isSendable } from "../close_codes.ts";
import { findNearestName } from "../config/nearest_name.ts";
import type { ServiceCalls } from "../hub/service_calls.ts";
import type { Target } from "../hub/cluster.ts";
import { ApiError } from "./api_error.ts";
import { Fields, invalidField } from "./request_fields.ts";

/** A message: text, or bytes in base64. */
export type MessageData = { readonly text: string } | { readonly base64: string };

/** A validated call. */
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
  read(fields: Fields, maxPayload: number): ApiCommand;
}

const TARGET = ["user", "peer"] as const;
const DATA = ["data", "b64data"] as const;
/** The maximum length of a close frame's reason in bytes (RFC 6455, section 5.5). */
const MAX_REASON_LENGTH = 123;
/** The maximum length of an idempotency key in characters. */
const MAX_KEY_LENGTH = 200;

const METHODS: Readonly<Record<string, Method>> = {
  publish: {
    fields: ["topic", "topics", ...DATA, "except", "namespace", "idempotency_key"],
    read: (fields, maxPayload) => ({
      method: "publish",
      topics: fields.one("topic", "topics") === "topic" ? [fields.text("topic")] : readTopics(fields.get("topics")),
      data: readData(fields, maxPayload),
      ...optional("except", fields.optionalText("except")),
      ...optional("namespace", fields.optionalText("namespace")),
      ...optional("idempotencyKey", readIdempotencyKey(fields)),
    }),
  },
  send: {
    fields: [...TARGET, ...DATA],
    read: (fields, maxPayload) => ({ method: "send", to: readTarget(fields), data: readData(fields, maxPayload) }),
  },
  subscribe: {
    fields: [...TARGET, "topic"],
    read: (fields) => ({ method: "subscribe", to: readTarget(fields), topic: fields.text("topic") }),
  },
  unsubscribe: {
    fields: [...TARGET, "topic"],
    read: (fields) => ({ method: "unsubscribe", to: readTarget(fields), topic: fields.text("topic") }),
  },
  disconnect: {
    fields: [...TARGET, "code", "reason"],
    read: (fields) => ({
      method: "disconnect",
      to: readTarget(fields),
      ...optional("code", readCloseCode(fields.get("code"))),
      ...optional("reason", readCloseReason(fields.get("reason"))),
    }),
  },
  presence: { fields: ["topic", "namespace"], read: (fields) => ({ method: "presence", ...readTopic(fields) }) },
  presence_stats: {
    fields: ["topic", "namespace"],
    read: (fields) => ({ method: "presence_stats", ...readTopic(fields) }),
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
 * Validates a call and returns its command.
 * @param maxPayload the maximum length of a message in bytes
 * @throws {ApiError} if the method is unknown or a field is invalid
 */
export function readCommand(method: string, parameters: unknown, maxPayload: number): ApiCommand {
  if (!Object.hasOwn(METHODS, method)) throw unknownMethod(method);
  const { fields, read } = METHODS[method]!;
  return read(new Fields(parameters, fields), maxPayload);
}

function unknownMethod(method: string): ApiError {
  const guess = findNearestName(method.slice(0, 40), METHOD_NAMES);
  const hint = guess === undefined ? "" : `; did you mean ${guess}?`;
  return new ApiError(
    "methodNotFound",
    `there is no method ${JSON.stringify(method.slice(0, 100))}: the methods are ${METHOD_NAMES.join(", ")}${hint}`,
  );
}

/** Executes a command on all nodes and returns its result. */
export async function executeCommand(calls: ServiceCalls, command: ApiCommand): Promise<object> {
  switch (command.method) {
    case "publish": {
      const { topics, data, except, namespace } = command;
      calls.publish(topics, decodeData(data), { except, namespace });
      return {};
    }
    case "send":
      calls.send(command.to, decodeData(command.data));
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

function decodeData(data: MessageData): string | Uint8Array {
  return "text" in data ? data.text : Uint8Array.fromBase64(data.base64);
}

/** An object with one field, or without it if the value is undefined. */
function optional<N extends string, V>(name: N, value: V | undefined): { readonly [K in N]?: V } {
  return value === undefined ? {} : { [name]: value } as { readonly [K in N]?: V };
}

function readTarget(fields: Fields): Target {
  return fields.one(...TARGET) === "user" ? { user: fields.text("user") } : { peer: fields.text("peer") };
}

function readTopic(fields: Fields): { readonly topic: string; readonly namespace?: string } {
  return { topic: fields.text("topic"), ...optional("namespace", fields.optionalText("namespace")) };
}

function readTopics(value: unknown): string[] {
  if (!Array.isArray(value) || value.length === 0) throw invalidField("topics", "an array of topics", value);
  for (const [at, topic] of value.entries()) {
    if (typeof topic !== "string" || topic === "") throw invalidField(`topics[${at}]`, "a non-empty string", topic);
  }
  return value;
}

/** The message to send: text as it is, any other value as JSON text, base64 as bytes. */
function readData(fields: Fields, maxPayload: number): MessageData {
  const name = fields.one(...DATA);
  const value = fields.get(name);
  if (name === "data") {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    if (text.length * 3 > maxPayload && new TextEncoder().encode(text).length > maxPayload) {
      throw tooLong(name, maxPayload);
    }
    return { text };
  }
  if (typeof value !== "string") throw invalidField(name, "bytes in base64", value);
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(value);
  } catch {
    throw invalidField(name, "bytes in base64 (RFC 4648, section 4)", value);
  }
  if (bytes.length > maxPayload) throw tooLong(name, maxPayload);
  return { base64: value };
}

function tooLong(name: string, maxPayload: number): ApiError {
  return new ApiError("badRequest", `${name}: a message may have up to ${maxPayload} bytes (--max-payload)`, 413);
}

function readCloseCode(value: unknown): number | undefined {
  if (value === undefined || (typeof value === "number" && isSendable(value))) return value;
  throw invalidField("code", "a close code that may be sent (1000, 1001, 1008, 3000 to 4999)", value);
}

function readCloseReason(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string" && new TextEncoder().encode(value).length <= MAX_REASON_LENGTH) return value;
  throw invalidField("reason", `a string of up to ${MAX_REASON_LENGTH} bytes`, value);
}

function readIdempotencyKey(fields: Fields): string | undefined {
  const key = fields.optionalText("idempotency_key");
  if (key !== undefined && key.length > MAX_KEY_LENGTH) {
    throw invalidField("idempotency_key", `a string of up to ${MAX_KEY_LENGTH} characters`, key);
  }
  return key;
}
