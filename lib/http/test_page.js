// The test page: connects, sends messages, and shows a log with the newest line at the bottom.
const byId = (id) => document.getElementById(id);
const service = JSON.parse(byId("service").textContent);
const [url, protocols, token, reconnect] = ["url", "protocols", "token", "reconnect"].map(byId);
const [toggle, send, file, message, state, list] = ["toggle", "send", "file", "message", "state", "log"].map(byId);

/** The maximum number of lines in the log. */
const MAX_LINES = 1_000;
/** Characters of a message that are shown before it is unfolded. */
const FOLD_AFTER = 300;
/** Bytes of a binary message that the hex view shows. */
const MAX_HEX = 4_096;
/** Milliseconds before the first reconnect, and the maximum. The delay doubles with each attempt. */
const BACKOFF = [500, 30_000];

const MEANINGS = {
  1001: "the service is going away or restarting",
  1006: "the connection ended without a close frame; the browser does not report the reason",
  1008: "the service refused a message or the rate of messages",
  1009: "a message was longer than the service accepts",
  1011: "the service's app failed; see the service's log",
  1012: "the service is restarting",
  1013: "the service is overloaded, or this client read too slowly",
  3000: "the token is missing, wrong or expired",
};

let socket;
let timer;
let attempts = 0;

url.value = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${location.pathname}`;

for (const [name, value] of Object.entries(service)) {
  const row = document.createElement("div");
  row.append(element("dt", name), element("dd", value));
  byId("facts").append(row);
}

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text ?? "";
  if (className) made.className = className;
  return made;
}

function time() {
  const now = new Date();
  return `${now.toTimeString().slice(0, 8)}.${String(now.getMilliseconds()).padStart(3, "0")}`;
}

/** Whether the log scrolls to each new line. */
let following = true;

function follow() {
  if (following) list.scrollTop = list.scrollHeight;
}

list.addEventListener("scroll", () => {
  following = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
});
new ResizeObserver(follow).observe(list);

/** Adds a line to the log. `content` is text or elements. */
function log(kind, meta, ...content) {
  const line = element("li", "", kind);
  const arrow = { in: "←", out: "→", bad: "!" }[kind] ?? "·";
  line.append(element("span", `${time()} ${arrow} ${meta ? `${meta} ` : ""}`, "meta"), ...content);
  list.append(line);
  while (list.childElementCount > MAX_LINES) list.firstElementChild.remove();
  follow();
}

function folded(summary, text) {
  const details = document.createElement("details");
  details.append(element("summary", summary), element("pre", text));
  return details;
}

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, MAX_HEX); at += 16) {
    const row = [...bytes.subarray(at, Math.min(at + 16, MAX_HEX))];
    const codes = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".").join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${codes.padEnd(47)}  ${text}`);
  }
  if (bytes.length > MAX_HEX) lines.push(`… ${bytes.length - MAX_HEX} more bytes`);
  return lines.join("\n");
}

function logMessage(kind, data, name) {
  if (typeof data === "string") {
    const size = `${new TextEncoder().encode(data).length} B`;
    const text = data.length > FOLD_AFTER ? folded(`${data.slice(0, FOLD_AFTER)}…`, data) : data;
    return log(kind, size, text);
  }
  const bytes = new Uint8Array(data);
  log(kind, `${bytes.length} B binary`, folded(name ?? "hex view", hex(bytes)));
}

/** Logs an error, with a button that copies a command to diagnose the endpoint. */
function logFailure(text) {
  const command = `wss check ${url.value}`;
  log("bad", "", text, copyButton("Copy the check command", () => command));
}

function copyButton(label, text) {
  const button = element("button", label);
  button.type = "button";
  button.addEventListener("click", () => copy(text(), button));
  return button;
}

async function copy(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without TLS a page cannot use the clipboard.
    globalThis.prompt("Copy:", text);
  }
  setTimeout(() => button.textContent = label, 1_500);
}

function show(text, open) {
  state.textContent = text;
  state.className = open ? "open" : "";
  toggle.textContent = socket || timer ? "Disconnect" : "Connect";
  send.disabled = file.disabled = !open;
  byId("file-label").classList.toggle("disabled", !open);
}

function connect() {
  timer = undefined;
  const offered = protocols.value.split(",").map((name) => name.trim()).filter(Boolean);
  // With a token another subprotocol must be offered, because the service never chooses the token's.
  if (token.value) offered.push(...(offered.length === 0 ? ["wss.v1"] : []), `bearer.${token.value}`);
  let opened = false;
  try {
    socket = new WebSocket(url.value, offered);
  } catch (error) {
    socket = undefined;
    show("Not connected", false);
    return logFailure(error.message);
  }
  const current = socket;
  socket.binaryType = "arraybuffer";
  show(`Connecting to ${url.value}`, false);
  socket.addEventListener("open", () => {
    opened = true;
    attempts = 0;
    const chosen = current.protocol ? `, subprotocol ${current.protocol}` : "";
    show(`Connected to ${url.value}${chosen}`, true);
    log("note", "", `connected${chosen}`);
    message.focus();
  });
  socket.addEventListener("message", ({ data }) => logMessage("in", data));
  socket.addEventListener("close", ({ code, reason }) => {
    if (socket !== current) return;
    socket = undefined;
    const said = reason ? `: ${reason}` : "";
    if (!opened) logFailure("The connection could not be opened. The browser does not report the reason.");
    else if (MEANINGS[code]) logFailure(`closed with ${code}${said} (${MEANINGS[code]})`);
    else log("note", "", `closed with ${code}${said}`);
    reconnectLater();
  });
}

/** Reconnects after a delay, if the user has enabled it. */
function reconnectLater() {
  if (!reconnect.checked || !connectRequested) return show("Not connected", false);
  const [first, longest] = BACKOFF;
  // A random part of the delay (half to all), so that many pages do not reconnect at the same time.
  const wait = Math.min(first * 2 ** attempts++, longest) * (0.5 + Math.random() / 2);
  timer = setTimeout(connect, wait);
  show(`Not connected; trying again in ${(wait / 1000).toFixed(1)} s`, false);
}

/** Whether the user has requested a connection. */
let connectRequested = false;

byId("connection").addEventListener("submit", (event) => {
  event.preventDefault();
  connectRequested = !(socket || timer);
  if (connectRequested) return connect();
  clearTimeout(timer);
  timer = undefined;
  if (socket) socket.close(1000);
  else show("Not connected", false);
});

function submit() {
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(message.value);
  logMessage("out", message.value);
  message.select();
}

byId("sending").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

message.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});

file.addEventListener("change", async () => {
  const [chosen] = file.files;
  file.value = "";
  if (!chosen || socket?.readyState !== WebSocket.OPEN) return;
  const bytes = await chosen.arrayBuffer();
  socket.send(bytes);
  logMessage("out", bytes, chosen.name);
});

byId("clear").addEventListener("click", () => list.replaceChildren());

const SNIPPETS = {
  "Browser": (address) =>
    `const socket = new WebSocket(${address});
socket.onopen = () => socket.send("tom");
socket.onmessage = (event) => console.log(event.data);`,
  "WeChat mini program": (address) =>
    `const task = wx.connectSocket({ url: ${address} });
task.onOpen(() => task.send({ data: "tom" }));
task.onMessage(({ data }) => console.log(data));`,
  "PHP (composer require phrity/websocket)": (address) =>
    `$client = new WebSocket\\Client(${address});
$client->text("tom");
echo $client->receive()->getContent();`,
  "Python (pip install websockets)": (address) =>
    `from websockets.sync.client import connect

with connect(${address}) as socket:
    socket.send("tom")
    print(socket.recv())`,
};

const language = byId("language");
for (const name of Object.keys(SNIPPETS)) language.append(element("option", name));

function showSnippet() {
  byId("snippet").textContent = SNIPPETS[language.value](JSON.stringify(url.value));
}

language.addEventListener("change", showSnippet);
url.addEventListener("input", showSnippet);
byId("copy-snippet").addEventListener("click", ({ target }) => copy(byId("snippet").textContent, target));
showSnippet();
show("Not connected", false);
