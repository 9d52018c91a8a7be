/**
 * Reads the fields of a request, and says of a wrong one what is required. Only own properties count: JSON may bring
 * `__proto__` or `constructor` along.
 * @module
 */
import { findNearestName } from "../config/nearest_name.ts";
import { ApiError } from "./api_error.ts";

/** The parameters of one call. */
export class Fields {
  readonly #values: object;

  /**
   * @param known every field that the method has
   * @throws {ApiError} it is no object, or has a field that is not known
   */
  constructor(parameters: unknown, known: readonly string[]) {
    if (typeof parameters !== "object" || parameters === null || Array.isArray(parameters)) {
      throw new ApiError("badRequest", `a JSON object is required, not ${shown(parameters)}`);
    }
    this.#values = parameters;
    for (const name of Object.keys(parameters)) {
      if (known.includes(name)) continue;
      const guess = findNearestName(name.slice(0, 40), known);
      const fields = known.length === 0 ? "there are no fields" : `the fields are ${known.join(", ")}`;
      const hint = guess === undefined ? fields : `did you mean ${guess}?`;
      throw new ApiError("badRequest", `${name.slice(0, 100)}: there is no such field; ${hint}`);
    }
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#values, name);
  }

  /** The value of a field, undefined where there is none. */
  get(name: string): unknown {
    return this.has(name) ? (this.#values as Record<string, unknown>)[name] : undefined;
  }

  /** A text that is not empty. @throws {ApiError} */
  text(name: string): string {
    const text = this.optionalText(name);
    if (text === undefined) throw new ApiError("badRequest", `${name}: it is required`);
    return text;
  }

  /** The same, or undefined where the field is absent. @throws {ApiError} */
  optionalText(name: string): string | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (typeof value !== "string" || value === "") throw wrong(name, "a text that is not empty", value);
    return value;
  }

  /** One of several fields, of which one must be there. @throws {ApiError} */
  one<N extends string>(...names: readonly N[]): N {
    const given = names.filter((name) => this.has(name));
    if (given.length === 1) return given[0]!;
    const found = given.length === 0 ? "none is there" : `${given.join(" and ")} are there`;
    throw new ApiError("badRequest", `${names.join(", ")}: one of them is required, and ${found}`);
  }
}

/** The error for a field with a wrong value. */
export function wrong(name: string, required: string, given: unknown): ApiError {
  return new ApiError("badRequest", `${name}: ${required} is required, not ${shown(given)}`);
}

/** A value as a message may show it: its kind, and itself where it is short. */
function shown(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
  if (typeof value === "object") return "an object";
  const text = JSON.stringify(value) ?? typeof value;
  return text.length <= 80 ? text : `a ${typeof value} of ${text.length} characters`;
}
