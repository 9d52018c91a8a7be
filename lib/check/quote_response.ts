/**
 * What a server sent, made fit for one line on a terminal.
 * @module
 */
import { escapeControls } from "../log.ts";

/** A server's text in quotation marks: control characters escaped, cut to 100 characters. */
export function quote(text: string): string {
  const line = text.trim();
  const cut = line.length > 100 ? `${line.slice(0, 100)}…` : line;
  return `"${escapeControls(cut)}"`;
}

/** The first sentence or so of a body, HTML or not. */
export function summarize(body: string): string {
  const title = /<title>([^<]*)<\/title>/i.exec(body)?.[1];
  return (title ?? body.replace(/<(style|script)[\s\S]*?<\/\1>/gi, " ").replace(/<[^>]*>/g, " ")).replace(/\s+/g, " ")
    .trim();
}
