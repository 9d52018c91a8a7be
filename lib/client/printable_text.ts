/**
 * Text that a server sent, made safe to print on one line of a terminal.
 * @module
 */
import { escapeControls } from "../log.ts";

/** The longest quotation, in characters. Refusals of services name cause and remedy in up to three sentences. */
const MAX_QUOTE = 400;

/**
 * Quotes a server's text: control characters escaped, cut to 400 characters at a sentence or else at a word.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { quote } from "./printable_text.ts";
 *
 * assertEquals(quote("who are\x07 you?"), '"who are\\u0007 you?"');
 * ```
 */
export function quote(text: string): string {
  const line = text.trim();
  if (line.length <= MAX_QUOTE) return `"${escapeControls(line)}"`;
  const head = line.slice(0, MAX_QUOTE);
  const sentence = head.lastIndexOf(". ") + 1;
  const word = head.lastIndexOf(" ");
  const end = sentence > MAX_QUOTE / 2 ? sentence : word > MAX_QUOTE / 2 ? word : MAX_QUOTE;
  return `"${escapeControls(head.slice(0, end))} …"`;
}

/** What a response body says, on one line: an HTML page's title and first heading, or the text without its markup. */
export function bodyText(body: string): string {
  const inner = (element: string) => new RegExp(`<${element}\\b[^>]*>([\\s\\S]*?)</${element}>`, "i").exec(body)?.[1];
  const title = inner("title");
  if (title === undefined) return plainText(body);
  const [first, heading] = [plainText(title), plainText(inner("h1") ?? inner("h2") ?? "")];
  return heading === "" || first.includes(heading) ? first : heading.includes(first) ? heading : `${first}: ${heading}`;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: " ", "#39": "'" };

/** The text of an HTML page, or of any other text, on one line. */
export function plainText(html: string): string {
  return html.replace(/<(style|script)\b[\s\S]*?<\/\1>/gi, " ").replace(/<!--[\s\S]*?-->/g, " ")
    .replace(/<[^>]*>/g, " ").replace(/&(#?\w+);/g, (whole, name: string) => ENTITIES[name] ?? whole)
    .replace(/\s+/g, " ").trim();
}
