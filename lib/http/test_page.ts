/**
 * The test page of the service. It is one document with inline style and script, so that it works behind a proxy that
 * forwards only one path. A Content-Security-Policy with hashes blocks any other script.
 * @module
 */
import css from "./test_page.css" with { type: "text" };
import html from "./test_page.html" with { type: "text" };
import js from "./test_page.js" with { type: "text" };

/** The names and values that the page shows about the service. */
export type PageFacts = Readonly<Record<string, string | undefined>>;

const TEMPLATE = html
  .replace("<style></style>", () => `<style>${css}</style>`)
  .replace("<script></script>", () => `<script>${js}</script>`);

let policy: Promise<string> | undefined;

async function hashText(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `'sha256-${new Uint8Array(digest).toBase64()}'`;
}

async function createPolicy(): Promise<string> {
  return `default-src 'none'; script-src ${await hashText(js)}; style-src ${await hashText(css)}; ` +
    "connect-src 'self' wss: ws:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

/** Creates the response with the page. */
export async function pageResponse(facts: PageFacts): Promise<Response> {
  // Within a script element a `<` could end the element.
  const service = JSON.stringify(facts).replaceAll("<", "\\u003c");
  const document = TEMPLATE.replace(
    'type="application/json"></script>',
    () => `type="application/json">${service}</script>`,
  );
  return new Response(document, {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": await (policy ??= createPolicy()),
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
    },
  });
}
