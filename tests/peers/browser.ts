/**
 * The installed Chromium, driven by playwright-core.
 * @module
 */
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { createHash, X509Certificate } from "node:crypto";
import { join } from "node:path";
import { requirePeer } from "./require.ts";

/** The path in Debian's package. */
const CHROMIUM = "/usr/bin/chromium";

/** Headless, and without network traffic of the browser's own. */
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

/** Whether Chromium is installed. */
export function requireBrowser(): boolean {
  return requirePeer(CHROMIUM, "--version");
}

/** How the browser is started. */
export interface BrowserOptions {
  /** The working folder of a program. The browser accepts the public key of that program's certificate. */
  readonly accept?: string;
  /** HOME, with the user's trusted certificates below it. */
  readonly home?: string;
  readonly flags?: readonly string[];
}

/** Starts a browser. Each context is a private window with its own cookies. Disposal closes the browser. */
export async function launchBrowser(options: BrowserOptions): Promise<Browser> {
  return await chromium.launch(await launchOptions(options));
}

/** A browser with one profile in a temporary folder. */
export interface Profile extends AsyncDisposable {
  readonly context: BrowserContext;
}

/**
 * Starts a browser with a fresh profile that also sends cookies from pages of other sites. This is Chrome's default for
 * ordinary windows; Debian's Chromium was observed to send none. Disposal closes the browser.
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

/** Returns the SHA-256 of the public key of the program's certificate, in Chromium's form. */
async function keyHash(folder: string): Promise<string> {
  const { publicKey } = new X509Certificate(await Deno.readTextFile(join(folder, "certs/cert.pem")));
  return createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64");
}

/** Collects a page's errors, and its console's errors and warnings, such as policy violations. */
export function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  return complaints;
}

/** The test page, operated as a user does. */
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

  /** Waits for a received message that contains this text. */
  async received(text: string | RegExp): Promise<void> {
    await this.page.locator("#log .in").filter({ hasText: text }).first().waitFor();
  }
}
