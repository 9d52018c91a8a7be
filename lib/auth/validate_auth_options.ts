/**
 * Checks which authentication options may be combined.
 * @module
 */
import { isLoopback } from "../ip.ts";
import { flagOf } from "../config/option_table.ts";
import type { Settings } from "../config/service_options.ts";

/** The settings that authentication reads. */
export type AuthSettings = Pick<
  Settings,
  | "authTokenFile"
  | "jwtSecretFile"
  | "jwtPublicKeyFile"
  | "jwksUrl"
  | "jwtAudience"
  | "jwtIssuer"
  | "authQuery"
>;

const JWT_KEYS = ["jwtSecretFile", "jwtPublicKeyFile", "jwksUrl"] as const;
const KEYS = ["authTokenFile", ...JWT_KEYS] as const;
const JWT_CLAIMS = ["jwtAudience", "jwtIssuer"] as const;

/** Whether clients need a token. */
export function wantsTokens(settings: AuthSettings): boolean {
  return KEYS.some((key) => settings[key] !== undefined);
}

/**
 * Checks the options against each other.
 * @param given the names under which settings were given, for the messages
 * @returns one sentence for each mistake, for a UsageError
 */
export function validateAuthOptions(settings: AuthSettings, given: ReadonlyMap<string, string> = new Map()): string[] {
  const problems: string[] = [];
  const set = (keys: readonly (keyof AuthSettings)[]) =>
    keys.filter((key) => settings[key] !== undefined && settings[key] !== false);
  const name = (key: string) => given.get(key) ?? flagOf(key);

  const chosen = set(KEYS);
  if (chosen.length > 1) {
    problems.push(
      `choose one: ${
        chosen.map(name).join(", ")
      }; a token is either a shared secret or a JWT, checked with one kind of key`,
    );
  }
  if (set(JWT_KEYS).length === 0) {
    for (const key of set(JWT_CLAIMS)) {
      problems.push(`${name(key)} requires a key for JWTs: ${listed(JWT_KEYS)}`);
    }
  }
  if (chosen.length === 0 && settings.authQuery) {
    problems.push(`${name("authQuery")} requires a way to check tokens: ${listed(KEYS)}`);
  }
  if (settings.jwksUrl !== undefined) {
    const url = URL.parse(settings.jwksUrl);
    const host = url?.hostname.replace(/^\[|\]$/g, "") ?? "";
    const local = host === "localhost" || isLoopback(host);
    if (url === null || !(url.protocol === "https:" || (url.protocol === "http:" && local))) {
      problems.push(
        `${
          name("jwksUrl")
        }: an https URL is required (http only to loopback), because over http anyone on the way could replace the ` +
          `keys; "${settings.jwksUrl}" was given`,
      );
    } else if (url.username !== "" || url.password !== "") {
      problems.push(`${name("jwksUrl")}: a URL without user name and password is required`);
    }
  }
  return problems;
}

function listed(keys: readonly string[]): string {
  return keys.map(flagOf).join(", ").replace(/, ([^,]*)$/, " or $1");
}
