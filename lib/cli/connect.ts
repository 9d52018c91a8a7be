/**
 * `connect`: a WebSocket client for a terminal and for scripts.
 * @module
 */
import { openClient } from "../client/open_client.ts";
import { DeadlineError, within } from "../client/deadline.ts";
import { formatObservation, formatVerdict } from "../check/report.ts";
import { runCheck } from "../check/run_check.ts";
import { type ClientSession, describeClose, isEnd } from "../client/websocket_session.ts";
import type { CheckOptions } from "../check/check_options.ts";
import { probeUrl } from "../check/probes/url.ts";
import { CloseCode } from "../close_codes.ts";
import { loadSettings } from "../config/load_settings.ts";
import type { OptionTable } from "../config/option_table.ts";
import { messageOf, readFailure, StartError, UsageError } from "../errors.ts";
import { formatDuration } from "../duration_and_size.ts";
import { CLIENT_OPTIONS, clientOptions } from "./tls_client_options.ts";
import type { Command, Invocation } from "./command_type.ts";
import { interact } from "./interactive_session.ts";
import { hexDump, textForTerminal } from "./message_format.ts";
import { colour, write } from "./output.ts";
import { openTerminal, reportStyle } from "./terminal.ts";

/** The options of `connect`. -H, -s, -n and -x are wscat's. */
export const CONNECT_OPTIONS = {
  ...CLIENT_OPTIONS,
  insecure: {
    type: "switch",
    short: "n",
    default: false,
    help: "DANGEROUS: do not check the server's certificate; anybody on the way can read and change everything.",
  },
  ping: { type: "duration", default: "0", value: "TIME", help: "Send a ping so often; 0 sends none." },
  execute: {
    type: "text",
    value: "MSG",
    short: "x",
    emptyAllowed: true,
    help: "Send this one message, print the reply, and exit.",
  },
  file: { type: "path", value: "FILE", help: "Send this file as one binary message, print the reply, and exit." },
  skip: {
    type: "count",
    default: "0",
    value: "N",
    help: "With -x or --file: pass over the first N messages, a greeting say; the one after them is the reply.",
  },
  expect: {
    type: "text",
    value: "TEXT",
    emptyAllowed: true,
    help: "With -x or --file: the reply, exactly; other messages are passed over. Exit code 1 where it does not come.",
  },
  timeout: {
    type: "duration",
    default: "10s",
    value: "TIME",
    min: 1,
    help: "How long to wait for the connection, and with -x or --file for the reply.",
  },
  out: {
    type: "path",
    value: "FILE",
    help: "Append binary messages to this file in place of printing them as hex.",
  },
} as const satisfies OptionTable;

/** The command. */
export const connectCommand: Command = {
  name: "connect",
  usage: "URL",
  summary: "talks to a ws or wss endpoint from a terminal or a script",
  details:
    "Lines go out as messages, what comes in is printed. On a terminal, /file PATH sends a file as a binary message, /hex BYTES sends bytes, /ping a ping, /close " +
    "CODE REASON closes, /help lists these; any other line goes out as it is, and one that begins with // without its " +
    "first slash. Ctrl-Z suspends. Ctrl-C, Ctrl-D or the end of the input closes with 1000. Exit code: 0 closed in " +
    "order, 1 closed otherwise, no reply, or no upgrade; 2 misused or unreachable. Where the connection fails, the " +
    "probes of check say why.",
  examples: [
    ["wss connect wss://localhost:8282/ --ca certs/ca.pem", "talk to the development service"],
    ["wss connect wss://domain.com/wss -x tom", "send one message, print the reply"],
    ["wss connect wss://domain.com/wss -x tom --skip 1", "where the service greets first"],
    ["wss connect wss://domain.com/wss -H 'Authorization: Bearer …'", "with a token"],
  ],
  options: CONNECT_OPTIONS,
  run,
};

/** How long -x waits for the server's close frame, in milliseconds. */
const CLOSE_WAIT = 1000;

const ALARM = "WARNING: --insecure: the server's certificate is NOT checked. Anybody on the way can read and change " +
  "everything, and pass for the server. Never send anything that matters.";

async function run(line: Invocation): Promise<number> {
  const [url, ...rest] = line.positionals;
  const problems = [...line.problems];
  if (url === undefined) problems.push("connect needs a URL: connect wss://domain.com/wss");
  if (rest.length > 0) {
    problems.push(`connect takes one URL, and was given ${rest.join(" ")} too; a message goes by -x`);
  }
  // This command does not read the service's variables and file.
  const { settings } = loadSettings(CONNECT_OPTIONS, { flags: line.flags }, problems);
  const { insecure, timeout } = settings;
  const options: CheckOptions = { ...clientOptions(settings), url: url!, timeout };
  const { target, findings } = probeUrl(options);
  if (target === undefined) throw new UsageError(findings.map(({ fact, remedy }) => `${fact} ${remedy ?? ""}`.trim()));
  const { execute, file, skip, expect } = settings;
  if (insecure && settings.ca !== undefined) throw new UsageError("choose one: --ca or --insecure");
  if (execute !== undefined && file !== undefined) throw new UsageError("choose one: -x or --file");
  const single = execute ?? (file === undefined ? undefined : readMessage(file));
  if (single === undefined && (skip > 0 || expect !== undefined)) {
    throw new UsageError("--skip and --expect are about the reply to -x or --file");
  }
  if (insecure) write("stderr", `${colour(ALARM, "1;31")}\n`);

  using out = settings.out === undefined ? undefined : openFile(settings.out);
  const opened = await openClient({ ...options, url: target.url, insecure, timeout }, new AbortController().signal);
  if ("failure" in opened) return await explain(options, opened.failure);
  await using _connection = opened.connection;
  const { session } = opened;
  // Text of a server must not contain control sequences of the terminal.
  const terminal = Deno.stdout.isTerminal();
  if (single !== undefined) {
    const print = (data: string | Uint8Array) => write("stdout", `${printed(data, terminal, out)}\n`);
    return await once(session, single, { timeout, skip, expect, print });
  }
  const talk = openTerminal();
  const by = opened.subprotocol === undefined ? "" : `, subprotocol ${opened.subprotocol}`;
  talk.tell(`connected to ${url}${by}`);
  return await interact(session, talk, {
    ping: settings.ping,
    show: (data) => talk.show(printed(data, terminal, out)),
  });
}

/** Options of -x. */
interface OnceOptions {
  /** In milliseconds. */
  readonly timeout: number;
  readonly skip: number;
  readonly expect: string | undefined;
  readonly print: (data: string | Uint8Array) => void;
}

/** Sends one message and prints the reply: the first message after the skipped ones, or the expected one. */
async function once(session: ClientSession, message: string | Uint8Array, options: OnceOptions): Promise<number> {
  const { timeout, skip, expect, print } = options;
  let passed = 0;
  try {
    return await within(timeout, new AbortController().signal, async (signal) => {
      await session.send(message, signal);
      while (true) {
        const event = await session.next(signal);
        if (event.type === "message") {
          if (passed < skip || (expect !== undefined && event.data !== expect)) {
            passed++;
            continue;
          }
          print(event.data);
          await close(session);
          return 0;
        }
        const how = event.type === "close"
          ? describeClose(event.code, event.reason)
          : event.type === "end"
          ? describeClose(CloseCode.AbnormalClosure, "")
          : event.type === "invalid"
          ? event.reason
          : undefined;
        if (how !== undefined) throw new StartError(`No reply came${count(passed)}: the connection was closed: ${how}`);
      }
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    throw new StartError(`No reply came within ${formatDuration(timeout)}${count(passed)}; --timeout waits longer`);
  }
}

function count(passed: number): string {
  return passed === 0 ? "" : ` (${passed} ${passed === 1 ? "message was" : "messages were"} passed over)`;
}

/** Closes, and waits a moment for the server's close frame: dropping the connection at once could lose ours. */
async function close(session: ClientSession): Promise<void> {
  try {
    await within(CLOSE_WAIT, new AbortController().signal, async (signal) => {
      await session.close(CloseCode.NormalClosure, "", signal);
      while (!isEnd(await session.next(signal)));
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
  }
}

/** Explains with the probes of `check` why the connection failed. */
async function explain(options: CheckOptions, fact: string): Promise<number> {
  write("stderr", `${fact}\nLooking for the reason:\n\n`);
  const style = reportStyle("stderr");
  const report = await runCheck(options, {
    onObservation(one) {
      if (one.level !== "note") write("stderr", `${formatObservation(one, style)}\n`);
    },
  });
  const verdict = report.first === undefined
    ? "The check got through where the connection did not: try again."
    : formatVerdict(report, style);
  write("stderr", `\n${verdict}\n`);
  return report.exit === 2 ? 2 : 1;
}

function openFile(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { append: true, create: true });
  } catch (error) {
    throw new StartError(`Cannot write ${path} (--out): ${messageOf(error)}`);
  }
}

/** The output for a message: its text, its bytes in hexadecimal, or the file that they were written to. */
function printed(data: string | Uint8Array, terminal: boolean, out: Deno.FsFile | undefined): string {
  if (typeof data === "string") return terminal ? textForTerminal(data) : data;
  if (out === undefined) return terminal ? hexDump(data) : data.toHex();
  for (let written = 0; written < data.length;) written += out.writeSync(data.subarray(written));
  return `${data.length} bytes`;
}

function readMessage(path: string): Uint8Array {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    throw new StartError(`Cannot read ${path} (--file): ${readFailure(error)}`);
  }
}
