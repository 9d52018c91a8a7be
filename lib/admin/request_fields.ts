/**
 * Reads and validates the fields of a request. Only own properties are read, because JSON may contain `__proto__` or
 * `constructor`.
 * @module
 */
import { findNearestName } from "../config/nearest_name.ts";
import { ApiError } from "./api_error.ts";

/** The parameters of one call. */
export class Fields {
  readonly #values: object;

  /**
   * @param known the names of the method's fields
   * @throws {ApiError} if the parameters are not an object, or contain an unknown field
   */
  constructor(parameters: unknown, known: readonly string[]) {
    if (typeof parameters !== "object" || parameters === null || Array.isArray(parameters)) {
      throw new ApiError("badRequest", `a JSON object is required, not ${describe(parameters)}`);
    }
    this.#values = parameters;
    for (const name of Object.keys(parameters)) {
      if (known.includes(name)) continue;
      const guess = findNearestName(name.slice(0, 40), known);
      const fields = known.length === 0 ? "the method has no fields" : `the fields are ${known.join(", ")}`;
      const hint = guess === undefined ? fields : `did you mean ${guess}?`;
      throw new ApiError("badRequest", `${name.slice(0, 100)}: unknown field; ${hint}`);
    }
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#values, name);
  }

  /** The value of a field, or undefined. */
  get(name: string): unknown {
    return this.has(name) ? (this.#values as Record<string, unknown>)[name] : undefined;
  }

  /** Reads a required non-empty string. @throws {ApiError} */
  text(name: string): string {
    const text = this.optionalText(name);
    if (text === undefined) throw new ApiError("badRequest", `${name} is required`);
    return text;
  }

  /** Reads an optional non-empty string. @throws {ApiError} */
  optionalText(name: string): string | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (typeof value !== "string" || value === "") throw invalidField(name, "a non-empty string", value);
    return value;
  }

  /** Returns which of several fields is present. Exactly one must be. @throws {ApiError} */
  one<N extends string>(...names: readonly N[]): N {
    const given = names.filter((name) => this.has(name));
    if (given.length === 1) return given[0]!;
    const found = given.length === 0 ? "none was given" : `${given.join(" and ")} were given`;
    throw new ApiError("badRequest", `${names.join(", ")}: exactly one of them is required, but ${found}`);
  }
}

/** Creates the error for a field with an invalid value. */
export function invalidField(name: string, required: string, given: unknown): ApiError {
  return new ApiError("badRequest", `${name}: ${required} is required, not ${describe(given)}`);
}

/** Describes a value for a message: its type, or the value itself if it is short. */
function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
  if (typeof value === "object") return "an object";
  const text = JSON.stringify(value) ?? typeof value;
  return text.length <= 80 ? text : `a ${typeof value} of ${text.length} characters`;
}
