/**
 * The input and output of `connect`: a terminal with line editing, or pipes.
 * @module
 */
import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import { TextLineStream } from "@std/streams/text-line-stream";
import type { ReportStyle } from "../check/report.ts";
import { escapeControls } from "../log.ts";
import { write } from "./standard_streams.ts";

/** Reads lines and prints messages. */
export interface Terminal extends Disposable {
  /** Whether input and output are a terminal, not pipes. */
  readonly isTerminal: boolean;
  /** The lines of the input. Ends when the input ends. */
  readonly lines: AsyncIterable<string>;
  /** Prints a received message. On a terminal, the caller must have escaped control characters. */
  printMessage(text: string): void;
  /** Prints a status line of `connect`. Over pipes it goes to standard error. */
  printStatus(text: string): void;
  /** Registers a callback for each Ctrl-C. */
  onInterrupt(callback: () => void): void;
}

/** Returns the style of a report: in colour and wrapped if the stream is a terminal. */
export function detectReportStyle(stream: "stdout" | "stderr"): ReportStyle {
  if (!Deno[stream].isTerminal()) return { colour: false };
  let width = 80;
  try {
    width = Deno.consoleSize().columns || width;
  } catch {
    // The terminal does not report its size.
  }
  return { colour: !Deno.noColor, width };
}

/** Escapes control characters except line ends if the stream is a terminal. */
function escapeForStream(text: string, stream: "stdout" | "stderr"): string {
  return Deno[stream].isTerminal() ? text.split("\n").map(escapeControls).join("\n") : text;
}

/** Opens the terminal with history and line editing, or the pipes if this is not a terminal. */
export function openTerminal(): Terminal {
  return Deno.stdin.isTerminal() && Deno.stdout.isTerminal() ? openInteractiveTerminal() : openPipes();
}

function openInteractiveTerminal(): Terminal {
  const editor: Interface = createInterface({ input: process.stdin, output: process.stdout, prompt: "> " });
  const interruptCallbacks: (() => void)[] = [];
  const queue: string[] = [];
  let open = true;
  let suspended = false;
  let wake = () => {};
  /** The output that arrived while the process was suspended. */
  let pending = "";
  editor.on("line", (line: string) => {
    queue.push(line);
    wake();
    editor.prompt();
  });
  editor.on("close", () => {
    open = false;
    wake();
  });
  editor.on("SIGINT", () => interruptCallbacks.forEach((callback) => callback()));
  // In raw mode Ctrl-Z does not send a signal. This handler does what the terminal would do: it restores the terminal's
  // mode and stops the whole process group, which includes a wrapper that started this program.
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
    if (pending !== "") write("stdout", `\r\x1b[K${pending}`);
    pending = "";
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
  /** Prints text above the line that the user is typing. */
  function printAbovePrompt(text: string): void {
    if (suspended) {
      pending += `${text}\n`;
      return;
    }
    write("stdout", `\r\x1b[K${text}\n`);
    if (open) editor.prompt(true);
  }
  return {
    isTerminal: true,
    lines: lines(),
    printMessage: (text) => printAbovePrompt(`< ${text.replaceAll("\n", "\n  ")}`),
    printStatus: (text) => printAbovePrompt(escapeForStream(text, "stdout")),
    onInterrupt: (callback) => void interruptCallbacks.push(callback),
    [Symbol.dispose]() {
      Deno.removeSignalListener("SIGCONT", resume);
      editor.close();
    },
  };
}

function openPipes(): Terminal {
  // deno-std has no types, so the type is declared here.
  const lineSplitter: TransformStream<string, string> = new TextLineStream();
  const reader = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).pipeThrough(lineSplitter).getReader();
  const interruptCallbacks: (() => void)[] = [];
  const onSignal = () => interruptCallbacks.forEach((callback) => callback());
  Deno.addSignalListener("SIGINT", onSignal);
  async function* lines() {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  }
  return {
    // Lines from a pipe are always data, not commands, even if the output is a terminal.
    isTerminal: false,
    lines: lines(),
    printMessage: (text) => write("stdout", `${text}\n`),
    printStatus: (text) => write("stderr", `${escapeForStream(text, "stderr")}\n`),
    onInterrupt: (callback) => void interruptCallbacks.push(callback),
    [Symbol.dispose]() {
      Deno.removeSignalListener("SIGINT", onSignal);
      reader.cancel().catch(() => {});
    },
  };
}
