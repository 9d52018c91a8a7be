/**
 * The API without HTTP: from a method and its parameters to a reply.
 * @module
 */
import { messageOf } from "../errors.ts";
import { ApiError } from "./api_error.ts";
import { type ApiCommand, readCommand } from "./api_methods.ts";
import { Fields, wrong } from "./request_fields.ts";

/** A reply: what goes to the caller, and the HTTP status. */
export interface Reply {
  readonly status: number;
  readonly body: { readonly result: object } | { readonly error: { readonly code: number; readonly message: string } };
}

/** How an API is made. */
export interface ApiOptions {
  /** Does what a command says. @throws {ApiError} */
  execute(command: ApiCommand): Promise<object>;
  /** Bytes of the longest message. */
  readonly maxPayload: number;
  /** Says what went wrong where it was not the caller's mistake. */
  failed(message: string): void;
  /** Default: the current time, ms. */
  readonly now?: () => number;
}

/** How long a publication is remembered by its idempotency key, ms, and how many are; as Centrifugo has it. */
const REMEMBER = 5 * 60_000;
const MOST_REMEMBERED = 10_000;
/** Commands in a batch. */
const MOST_COMMANDS = 10_000;

/** See the module. */
export class Api {
  readonly #options: ApiOptions;
  /** Publications by idempotency key, the oldest first. */
  readonly #published = new Map<string, { readonly at: number; readonly result: Promise<object> }>();

  constructor(options: ApiOptions) {
    this.#options = options;
  }

  /** Answers one call. Never rejects. */
  async call(method: string, parameters: unknown): Promise<Reply> {
    try {
      return { status: 200, body: { result: await this.#call(method, parameters) } };
    } catch (error) {
      return this.failure(error);
    }
  }

  /** What is answered for an error. */
  failure(error: unknown): Reply {
    if (error instanceof ApiError) {
      return { status: error.status, body: { error: { code: error.code, message: error.message } } };
    }
    this.#options.failed(messageOf(error));
    return { status: 500, body: { error: { code: 100, message: "internal error; the service's log says more" } } };
  }

  async #call(method: string, parameters: unknown): Promise<object> {
    if (method === "batch") return await this.#batch(parameters);
    const command = readCommand(method, parameters, this.#options.maxPayload);
    if (command.method !== "publish" || command.idempotencyKey === undefined) {
      return await this.#options.execute(command);
    }
    return await this.#once(command.idempotencyKey, () => this.#options.execute(command));
  }

  /** One after the other: what a batch publishes comes in its order. An error does not stop the rest. */
  async #batch(parameters: unknown): Promise<object> {
    const commands = new Fields(parameters, ["commands"]).get("commands");
    const required = 'an array of commands ([{"publish": {"topic": "news", "data": "hello"}}])';
    if (!Array.isArray(commands)) throw wrong("commands", required, commands);
    if (commands.length > MOST_COMMANDS) {
      throw new ApiError("badRequest", `commands: up to ${MOST_COMMANDS} are required, not ${commands.length}`);
    }
    const replies: object[] = [];
    for (const [at, command] of commands.entries()) replies.push(await this.#one(command, at));
    return { replies };
  }

  async #one(command: unknown, at: number): Promise<object> {
    const isObject = typeof command === "object" && command !== null && !Array.isArray(command);
    const entries = isObject ? Object.entries(command) : [];
    if (entries.length !== 1) {
      return this.failure(wrong(`commands[${at}]`, 'an object with one method ({"publish": {…}})', command)).body;
    }
    const [method, parameters] = entries[0]!;
    if (method === "batch") {
      return this.failure(new ApiError("badRequest", `commands[${at}]: a batch holds no batch`)).body;
    }
    const { body } = await this.call(method, parameters);
    return "result" in body ? { [method]: body.result } : body;
  }

  /** The result of the first call with this key: a caller that had no answer may ask again. */
  #once(key: string, run: () => Promise<object>): Promise<object> {
    const now = (this.#options.now ?? Date.now)();
    for (const [oldest, { at }] of this.#published) {
      if (now - at < REMEMBER && this.#published.size < MOST_REMEMBERED) break;
      this.#published.delete(oldest);
    }
    const known = this.#published.get(key);
    if (known !== undefined) return known.result;
    const result = run();
    this.#published.set(key, { at: now, result });
    // One that failed has published nothing.
    result.catch(() => this.#published.delete(key));
    return result;
  }
}
