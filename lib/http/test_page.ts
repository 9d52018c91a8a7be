/**
 * The test page: connect, send, and a log of what comes back. One document with its style and script inline, so that it
 * works behind a proxy that forwards one path only; a policy of hashes lets nothing else run.
 * @module
 */
import css from "./test_page.css" with { type: "text" };
import html from "./test_page.html" with { type: "text" };
import js from "./test_page.js" with { type: "text" };

/** The facts that the page shows about its service: names and values. */
export type PageFacts = Readonly<Record<string, string | undefined>>;

const TEMPLATE = html
  .replace("<style></style>", () => `<style>${css}</style>`)
  .replace("<script></script>", () => `<script>${js}</script>`);

let policy: Promise<string> | undefined;

async function hashOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `'sha256-${new Uint8Array(digest).toBase64()}'`;
}

async function makePolicy(): Promise<string> {
  return `default-src 'none'; script-src ${await hashOf(js)}; style-src ${await hashOf(css)}; ` +
    "connect-src 'self' wss: ws:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

/** The page. */
export async function pageResponse(facts: PageFacts): Promise<Response> {
  // Within a script element, `<` could end it.
  const service = JSON.stringify(facts).replaceAll("<", "\\u003c");
  const document = TEMPLATE.replace(
    'type="application/json"></script>',
    () => `type="application/json">${service}</script>`,
  );
  return new Response(document, {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": await (policy ??= makePolicy()),
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
    },
  });
}
