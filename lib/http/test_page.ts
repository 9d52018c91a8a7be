/**
 * The test page: connect, send, and a log of what comes back; three files, embedded in the program.
 * @module
 */
import css from "./test_page.css" with { type: "text" };
import html from "./test_page.html" with { type: "text" };
import js from "./test_page.js" with { type: "text" };

// Nothing inline and nothing from elsewhere, so that the policy needs no exception.
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' wss: ws:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const ASSETS: ReadonlyMap<string, readonly [type: string, body: string]> = new Map([
  ["/wss-page.css", ["text/css; charset=utf-8", css]],
  ["/wss-page.js", ["text/javascript; charset=utf-8", js]],
]);

/** The page itself. */
export function pageResponse(): Response {
  return asset("text/html; charset=utf-8", html);
}

/** The page's script or style sheet, or undefined where the path is neither. */
export function pageAsset(path: string): Response | undefined {
  const found = ASSETS.get(path);
  return found && asset(...found);
}

function asset(type: string, body: string): Response {
  return new Response(body, {
    headers: {
      "content-type": type,
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
    },
  });
}
