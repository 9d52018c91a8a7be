/**
 * Dispatches API calls: turns a method and its parameters into a reply. Independent of HTTP.
 * @module
 */
import { messageOf } from "../errors.ts";
import { ApiError } from "./api_error.ts";
import { type ApiCommand, readCommand } from "./api_methods.ts";
import { Fields, invalidField } from "./request_fields.ts";

/** A reply to the caller, with its HTTP status. */
export interface Reply {
  readonly status: number;
  readonly body: { readonly result: object } | { readonly error: { readonly code: number; readonly message: string } };
}

/** Options of the API. */
export interface ApiOptions {
  /** Executes a command. @throws {ApiError} */
  execute(command: ApiCommand): Promise<object>;
  /** The maximum length of a message in bytes. */
  readonly maxPayload: number;
  /** Called with the message of an error that the caller did not cause. */
  failed(message: string): void;
  /** Returns the time in milliseconds. Default: `Date.now`. */
  readonly now?: () => number;
}

/** Milliseconds for which the result of an idempotency key is kept, and the maximum number of kept results, as in Centrifugo. */
const RESULT_LIFETIME = 5 * 60_000;
const MAX_RESULTS = 10_000;
/** The maximum number of commands in a batch. */
const MAX_COMMANDS = 10_000;

/** The API, independent of HTTP. */
export class Api {
  readonly #options: ApiOptions;
  /** Publications by idempotency key, the oldest first. */
  readonly #published = new Map<string, { readonly at: number; readonly result: Promise<object> }>();

  constructor(options: ApiOptions) {
    this.#options = options;
  }

  /** Executes one call and returns the reply. Never rejects. */
  async call(method: string, parameters: unknown): Promise<Reply> {
    try {
      return { status: 200, body: { result: await this.#call(method, parameters) } };
    } catch (error) {
      return this.failure(error);
    }
  }

  /** The reply for an error. */
  failure(error: unknown): Reply {
    if (error instanceof ApiError) {
      return { status: error.status, body: { error: { code: error.code, message: error.message } } };
    }
    this.#options.failed(messageOf(error));
    return { status: 500, body: { error: { code: 100, message: "internal error; see the service's log" } } };
  }

  async #call(method: string, parameters: unknown): Promise<object> {
    if (method === "batch") return await this.#batch(parameters);
    const command = readCommand(method, parameters, this.#options.maxPayload);
    if (command.method !== "publish" || command.idempotencyKey === undefined) {
      return await this.#options.execute(command);
    }
    return await this.#once(command.idempotencyKey, () => this.#options.execute(command));
  }

  /** Executes the commands one after the other, so that publications keep their order. An error does not stop the rest. */
  async #batch(parameters: unknown): Promise<object> {
    const commands = new Fields(parameters, ["commands"]).get("commands");
    const required = 'an array of commands ([{"publish": {"topic": "news", "data": "hello"}}])';
    if (!Array.isArray(commands)) throw invalidField("commands", required, commands);
    if (commands.length > MAX_COMMANDS) {
      throw new ApiError("badRequest", `commands: at most ${MAX_COMMANDS} are allowed, not ${commands.length}`);
    }
    const replies: object[] = [];
    for (const [at, command] of commands.entries()) replies.push(await this.#one(command, at));
    return { replies };
  }

  async #one(command: unknown, at: number): Promise<object> {
    const isObject = typeof command === "object" && command !== null && !Array.isArray(command);
    const entries = isObject ? Object.entries(command) : [];
    if (entries.length !== 1) {
      return this.failure(invalidField(`commands[${at}]`, 'an object with one method ({"publish": {…}})', command))
        .body;
    }
    const [method, parameters] = entries[0]!;
    if (method === "batch") {
      return this.failure(new ApiError("badRequest", `commands[${at}]: a batch cannot contain a batch`)).body;
    }
    const { body } = await this.call(method, parameters);
    return "result" in body ? { [method]: body.result } : body;
  }

  /** Returns the result of the first call with this key, so that a caller that got no reply can repeat the call. */
  #once(key: string, run: () => Promise<object>): Promise<object> {
    const now = (this.#options.now ?? Date.now)();
    for (const [oldest, { at }] of this.#published) {
      if (now - at < RESULT_LIFETIME && this.#published.size < MAX_RESULTS) break;
      this.#published.delete(oldest);
    }
    const known = this.#published.get(key);
    if (known !== undefined) return known.result;
    const result = run();
    this.#published.set(key, { at: now, result });
    // A failed call has published nothing, so it may be repeated.
    result.catch(() => this.#published.delete(key));
    return result;
  }
}
