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
import { CONNECTION_OPTIONS, parseConnectionOptions } from "./connection_options.ts";
import type { Command, Invocation } from "./command_type.ts";
import { runInteractiveSession } from "./interactive_session.ts";
import { hexDump, textForTerminal } from "./message_format.ts";
import { colour, write } from "./standard_streams.ts";
import { detectReportStyle, openTerminal } from "./terminal.ts";

/** The options of `connect`. -H, -s, -n and -x are wscat's. */
export const CONNECT_OPTIONS = {
  ...CONNECTION_OPTIONS,
  insecure: {
    type: "switch",
    short: "n",
    default: false,
    help:
      "DANGEROUS: do not verify the server's certificate. Anybody on the network path can read and change everything.",
  },
  ping: { type: "duration", default: "0", value: "TIME", help: "The interval of pings; 0 sends none." },
  execute: {
    type: "text",
    value: "MSG",
    short: "x",
    emptyAllowed: true,
    help: "Send this message, print the reply, and exit.",
  },
  file: { type: "path", value: "FILE", help: "Send this file as one binary message, print the reply, and exit." },
  skip: {
    type: "count",
    default: "0",
    value: "N",
    help: "With -x or --file: skip the first N messages, such as a greeting; the next message is the reply.",
  },
  expect: {
    type: "text",
    value: "TEXT",
    emptyAllowed: true,
    help:
      "With -x or --file: the exact text of the reply. Other messages are skipped. The exit code is 1 if the reply does not arrive.",
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
    help: "Append binary messages to this file instead of printing them in hexadecimal.",
  },
} as const satisfies OptionTable;

/** The command. */
export const connectCommand: Command = {
  name: "connect",
  usage: "URL",
  summary: "connects to a ws or wss endpoint from a terminal or a script",
  details:
    "Each line of input is sent as a message, and each received message is printed. On a terminal, /file PATH sends a " +
    "file as a binary message, /hex BYTES sends bytes, /ping sends a ping, /close CODE REASON closes the connection, " +
    "and /help lists these commands. Any other line is sent unchanged; //help sends /help. Ctrl-Z suspends. " +
    "Ctrl-C, Ctrl-D or the end of the input closes with 1000.\n" +
    "Exit code: 0 after a normal close; 1 after another close, without a reply or without an upgrade; 2 for wrong " +
    "usage or an unreachable server. If the connection fails, the probes of check report the cause.",
  examples: [
    ["wss connect wss://localhost:8282/ --ca certs/ca.pem", "connect to the development service"],
    ["wss connect wss://domain.com/wss -x tom", "send one message, print the reply"],
    ["wss connect wss://domain.com/wss -x tom --skip 1", "if the service sends a greeting first"],
    ["wss connect wss://domain.com/wss -H 'Authorization: Bearer …'", "with a token"],
  ],
  options: CONNECT_OPTIONS,
  run,
};

/** How long -x waits for the server's close frame, in milliseconds. */
const CLOSE_WAIT = 1000;

const INSECURE_WARNING = "WARNING: --insecure: the server's certificate is NOT verified. Anybody on the network path " +
  "can read and change everything, and impersonate the server. Do not send anything confidential.";

async function run(line: Invocation): Promise<number> {
  const [url, ...rest] = line.positionals;
  const problems = [...line.problems];
  if (url === undefined) problems.push("connect requires a URL: connect wss://domain.com/wss");
  if (rest.length > 0) {
    problems.push(`connect takes one URL, but also got ${rest.join(" ")}; -x sends a message`);
  }
  // This command does not read the variables and the configuration file of the service.
  const { settings } = loadSettings(CONNECT_OPTIONS, { flags: line.flags }, problems);
  const { insecure, timeout } = settings;
  const options: CheckOptions = { ...parseConnectionOptions(settings), url: url!, timeout };
  const { target, findings } = probeUrl(options);
  if (target === undefined) throw new UsageError(findings.map(({ fact, remedy }) => `${fact} ${remedy ?? ""}`.trim()));
  const { execute, file, skip, expect } = settings;
  if (insecure && settings.ca !== undefined) throw new UsageError("--ca cannot be combined with --insecure");
  if (execute !== undefined && file !== undefined) throw new UsageError("-x cannot be combined with --file");
  const single = execute ?? (file === undefined ? undefined : readMessageFile(file));
  if (single === undefined && (skip > 0 || expect !== undefined)) {
    throw new UsageError("--skip and --expect require -x or --file");
  }
  if (insecure) write("stderr", `${colour(INSECURE_WARNING, "1;31")}\n`);

  using out = settings.out === undefined ? undefined : openFile(settings.out);
  const opened = await openClient({ ...options, url: target.url, insecure, timeout }, new AbortController().signal);
  if ("failure" in opened) return await explainFailure(options, opened.failure);
  await using _connection = opened.connection;
  const { session } = opened;
  // On a terminal, control sequences from the server are escaped.
  const isTerminal = Deno.stdout.isTerminal();
  if (single !== undefined) {
    const print = (data: string | Uint8Array) => write("stdout", `${formatMessage(data, isTerminal, out)}\n`);
    return await sendAndPrintReply(session, single, { timeout, skip, expect, print });
  }
  const terminal = openTerminal();
  const subprotocol = opened.subprotocol === undefined ? "" : `, subprotocol ${opened.subprotocol}`;
  terminal.printStatus(`connected to ${url}${subprotocol}`);
  return await runInteractiveSession(session, terminal, {
    ping: settings.ping,
    printMessage: (data) => terminal.printMessage(formatMessage(data, isTerminal, out)),
  });
}

/** Options of {@link sendAndPrintReply}. */
interface ReplyOptions {
  /** In milliseconds. */
  readonly timeout: number;
  readonly skip: number;
  readonly expect: string | undefined;
  readonly print: (data: string | Uint8Array) => void;
}

/** Sends one message and prints the reply: the expected message, or the first message after the skipped ones. */
async function sendAndPrintReply(
  session: ClientSession,
  message: string | Uint8Array,
  options: ReplyOptions,
): Promise<number> {
  const { timeout, skip, expect, print } = options;
  let skipped = 0;
  try {
    return await within(timeout, new AbortController().signal, async (signal) => {
      await session.send(message, signal);
      while (true) {
        const event = await session.next(signal);
        if (event.type === "message") {
          if (skipped < skip || (expect !== undefined && event.data !== expect)) {
            skipped++;
            continue;
          }
          print(event.data);
          await close(session);
          return 0;
        }
        const closed = event.type === "close"
          ? describeClose(event.code, event.reason)
          : event.type === "end"
          ? describeClose(CloseCode.AbnormalClosure, "")
          : event.type === "invalid"
          ? event.reason
          : undefined;
        if (closed !== undefined) {
          throw new StartError(`No reply${describeSkipped(skipped)}: the connection was closed: ${closed}`);
        }
      }
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    throw new StartError(
      `No reply within ${formatDuration(timeout)}${describeSkipped(skipped)}; --timeout sets a longer time`,
    );
  }
}

function describeSkipped(count: number): string {
  return count === 0 ? "" : ` (skipped ${count} ${count === 1 ? "message" : "messages"})`;
}

/** Closes the session and waits for the server's close frame. Dropping the connection at once could lose our frame. */
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

/** Runs the probes of `check` and prints why the connection failed. */
async function explainFailure(options: CheckOptions, failure: string): Promise<number> {
  write("stderr", `${failure}\nLooking for the cause:\n\n`);
  const style = detectReportStyle("stderr");
  const report = await runCheck(options, {
    onObservation(one) {
      if (one.level !== "note") write("stderr", `${formatObservation(one, style)}\n`);
    },
  });
  const verdict = report.first === undefined
    ? "The check succeeded although the connection failed: try again."
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

/** Formats a message as text or in hexadecimal. With `out`, appends bytes to the file and returns their number. */
function formatMessage(data: string | Uint8Array, isTerminal: boolean, out: Deno.FsFile | undefined): string {
  if (typeof data === "string") return isTerminal ? textForTerminal(data) : data;
  if (out === undefined) return isTerminal ? hexDump(data) : data.toHex();
  for (let written = 0; written < data.length;) written += out.writeSync(data.subarray(written));
  return `${data.length} bytes`;
}

function readMessageFile(path: string): Uint8Array {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    throw new StartError(`Cannot read ${path} (--file): ${readFailure(error)}`);
  }
}
