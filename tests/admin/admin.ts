/**
 * A service with an admin listener, and functions that call it.
 * @module
 */
import { join } from "node:path";
import type { ServiceOptions } from "../../lib/config/service_options_type.ts";
import type { Service } from "../../lib/mod.ts";
import type { Program } from "../support/program.ts";
import { type Served, serving } from "../support/serving.ts";

/** A key in the format of `openssl rand -hex 32`. */
export const KEY = "5f2b1c0d9e8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c";
export const OTHER_KEY = "0".repeat(64);

/** Subscribes a client to each topic that it sends. The parameter `user` of the URL is its user. */
export const TOPIC_APP = {
  upgrade: (request: Request) => ({ user: new URL(request.url).searchParams.get("user") ?? undefined }),
  message(peer: { subscribe(topic: string): void; send(data: unknown): unknown }, message: { text(): string }) {
    peer.subscribe(message.text());
    peer.send("joined");
  },
};

/** Serves `TOPIC_APP` with an admin listener on a free port and `KEY`, unless the options say otherwise. */
export async function servingAdmin(options: ServiceOptions = {}): Promise<Served> {
  return await serving(TOPIC_APP, async (folder) => {
    await Deno.writeTextFile(join(folder, "keys"), `# of the backend\n${KEY}\n${OTHER_KEY}\n`);
    return { admin: "127.0.0.1:0", adminKeyFile: join(folder, "keys"), ...options };
  });
}

/** The service's admin listener: `http://127.0.0.1:PORT`. */
export function adminUrl(service: Service): string {
  return service.admin!.url;
}

/** Reads the admin listener's URL from the log of a program. @param from offset in the log where the search starts */
export async function adminOf(program: Program, from = 0): Promise<string> {
  return (await program.stderr.until(/"admin":"([^"]+)"/, from))[1]!;
}

/** A response of the listener. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // deno-lint-ignore no-explicit-any -- each test knows the JSON that it expects
  readonly body: any;
}

/** Calls a method of the API. */
export async function call(
  service: Service,
  method: string,
  parameters: unknown = {},
  headers: Readonly<Record<string, string>> = { authorization: `Bearer ${KEY}` },
): Promise<Answer> {
  const body = typeof parameters === "string" ? parameters : JSON.stringify(parameters);
  const response = await fetch(`${adminUrl(service)}/api/${method}`, { method: "POST", body, headers });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** Scrapes a listener and returns the value of a series. @throws {Error} if the series is missing */
export async function value(admin: string, series: string): Promise<number> {
  const text = await (await fetch(`${admin}/metrics`)).text();
  const line = text.split("\n").find((each) => each.startsWith(`${series} `));
  if (line === undefined) throw new Error(`no ${series} in\n${text}`);
  return Number(line.slice(series.length + 1));
}
