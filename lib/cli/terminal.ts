/**
 * A person or a pipe at the other end of `connect`: lines in, messages out.
 * @module
 */
import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import { TextLineStream } from "@std/streams/text-line-stream";
import type { ReportStyle } from "../check/report.ts";
import { escapeControls } from "../log.ts";
import { write } from "./output.ts";

/** Where lines come from and messages go. */
export interface Terminal extends Disposable {
  /** Whether a person types and reads: on a terminal, not over pipes. */
  readonly isTerminal: boolean;
  /** Ends with the input. */
  readonly lines: AsyncIterable<string>;
  /** Prints a message of the other side, which has to be safe for a terminal where this is one. */
  show(text: string): void;
  /** Prints what `connect` itself has to say: to standard error over pipes. */
  tell(text: string): void;
  /** Calls back for each Ctrl-C. */
  onInterrupt(interrupted: () => void): void;
}

/** How a report is printed: in colour and wrapped where the stream is a terminal. */
export function reportStyle(stream: "stdout" | "stderr"): ReportStyle {
  if (!Deno[stream].isTerminal()) return { colour: false };
  let width = 80;
  try {
    width = Deno.consoleSize().columns || width;
  } catch {
    // A terminal that does not tell its size.
  }
  return { colour: !Deno.noColor, width };
}

/** Text for a stream: on a terminal, without what would command it; line ends stay. */
function printable(text: string, stream: "stdout" | "stderr"): string {
  return Deno[stream].isTerminal() ? text.split("\n").map(escapeControls).join("\n") : text;
}

/** A conversation on a terminal with history and line editing, or over pipes. */
export function openTerminal(): Terminal {
  return Deno.stdin.isTerminal() && Deno.stdout.isTerminal() ? onTerminal() : overPipes();
}

function onTerminal(): Terminal {
  const editor: Interface = createInterface({ input: process.stdin, output: process.stdout, prompt: "> " });
  const interrupted: (() => void)[] = [];
  const queue: string[] = [];
  let open = true;
  let suspended = false;
  let wake = () => {};
  /** What came while suspended. */
  let held = "";
  editor.on("line", (line: string) => {
    queue.push(line);
    wake();
    editor.prompt();
  });
  editor.on("close", () => {
    open = false;
    wake();
  });
  editor.on("SIGINT", () => interrupted.forEach((call) => call()));
  // In raw mode Ctrl-Z is a key. The terminal's mode is given back, and the whole process group stops, as the terminal
  // would have it: a wrapper that started this program belongs to it.
  editor.on("SIGTSTP", () => {
    suspended = true;
    process.stdin.setRawMode(false);
    process.stdout.write("\r\n");
    process.kill(0, "SIGTSTP");
  });
  const resume = () => {
    if (!suspended) return;
    suspended = false;
    process.stdin.setRawMode(true);
    if (held !== "") write("stdout", `\r\x1b[K${held}`);
    held = "";
    if (open) editor.prompt(true);
  };
  Deno.addSignalListener("SIGCONT", resume);
  editor.prompt();

  async function* lines() {
    while (true) {
      const line = queue.shift();
      if (line !== undefined) yield line;
      else if (!open) return;
      else await new Promise<void>((resolve) => wake = resolve);
    }
  }
  /** Above the line that is being written. */
  function above(text: string): void {
    if (suspended) {
      held += `${text}\n`;
      return;
    }
    write("stdout", `\r\x1b[K${text}\n`);
    if (open) editor.prompt(true);
  }
  return {
    isTerminal: true,
    lines: lines(),
    show: (text) => above(`< ${text.replaceAll("\n", "\n  ")}`),
    tell: (text) => above(printable(text, "stdout")),
    onInterrupt: (call) => void interrupted.push(call),
    [Symbol.dispose]() {
      Deno.removeSignalListener("SIGCONT", resume);
      editor.close();
    },
  };
}

function overPipes(): Terminal {
  // deno-std carries no types: this is the boundary.
  const split: TransformStream<string, string> = new TextLineStream();
  const reader = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).pipeThrough(split).getReader();
  const interrupted: (() => void)[] = [];
  const onSignal = () => interrupted.forEach((call) => call());
  Deno.addSignalListener("SIGINT", onSignal);
  async function* lines() {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  }
  return {
    // Lines of a pipe are data; what is printed may still go to a terminal.
    isTerminal: false,
    lines: lines(),
    show: (text) => write("stdout", `${text}\n`),
    tell: (text) => write("stderr", `${printable(text, "stderr")}\n`),
    onInterrupt: (call) => void interrupted.push(call),
    [Symbol.dispose]() {
      Deno.removeSignalListener("SIGINT", onSignal);
      reader.cancel().catch(() => {});
    },
  };
}
