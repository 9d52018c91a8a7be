/**
 * The installed Chromium, driven by playwright-core.
 * @module
 */
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { createHash, X509Certificate } from "node:crypto";
import { join } from "node:path";
import { requirePeer } from "./require.ts";

/** Where Debian puts it. */
const CHROMIUM = "/usr/bin/chromium";

/** Quiet, headless, and without a network service of its own doing. */
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Whether there is a Chromium. */
export function requireBrowser(): boolean {
  return requirePeer(CHROMIUM, "--version");
}

/** How the browser is started. */
export interface BrowserOptions {
  /** The working folder of a program whose certificate it is to accept, by its public key. */
  readonly accept?: string;
  /** HOME: the certificates that its user trusts are below it. */
  readonly home?: string;
  readonly flags?: readonly string[];
}

/** Starts a browser. Its contexts are private windows, each with cookies of its own. Disposing of it ends it. */
export async function launchBrowser(options: BrowserOptions): Promise<Browser> {
  return await chromium.launch(await launchOptions(options));
}

/** A browser with one profile, in a folder of its own. */
export interface Profile extends AsyncDisposable {
  readonly context: BrowserContext;
}

/**
 * Starts a browser with one fresh profile that sends cookies from pages of other sites, too: Chrome's default for
 * ordinary windows, while Debian's Chromium was seen to send none. Disposing of it ends it.
 */
export async function launchProfile(options: BrowserOptions): Promise<Profile> {
  const folder = await Deno.makeTempDir({ prefix: "wss-profile-" });
  await Deno.mkdir(join(folder, "Default"));
  const preferences = { profile: { cookie_controls_mode: 0, block_third_party_cookies: false } };
  await Deno.writeTextFile(join(folder, "Default/Preferences"), JSON.stringify(preferences));
  const context = await chromium.launchPersistentContext(folder, await launchOptions(options));
  return {
    context,
    async [Symbol.asyncDispose]() {
      await context.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

async function launchOptions({ accept, home, flags = [] }: BrowserOptions) {
  const key = accept === undefined ? [] : [`--ignore-certificate-errors-spki-list=${await keyHash(accept)}`];
  const env = { ...Deno.env.toObject(), ...(home === undefined ? {} : { HOME: home }) };
  return { executablePath: CHROMIUM, args: [...FLAGS, ...key, ...flags], env };
}

/** SHA-256 over the public key of the program's certificate, as Chromium takes it. */
async function keyHash(folder: string): Promise<string> {
  const { publicKey } = new X509Certificate(await Deno.readTextFile(join(folder, "certs/cert.pem")));
  return createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64");
}

/** What a page complained about: its errors, and its console's errors and warnings (a refused policy is one). */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  return complaints;
}

/** The test page, driven as a person does. */
export class TestPage {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  async connect(): Promise<void> {
    await this.page.getByRole("button", { name: "Connect", exact: true }).click();
    await this.page.getByRole("button", { name: "Send" }).and(this.page.locator(":enabled")).waitFor();
  }

  async send(text: string): Promise<void> {
    await this.page.getByLabel("Message").fill(text);
    await this.page.getByRole("button", { name: "Send" }).click();
  }

  /** Waits for a line of the log that came in and holds this text. */
  async received(text: string | RegExp): Promise<void> {
    await this.page.locator("#log .in").filter({ hasText: text }).first().waitFor();
  }
}
