// The test page: connect, send, and a log of what comes back.
const byId = (id) => document.getElementById(id);
const [url, state, message, list] = ["url", "state", "message", "log"].map(byId);
const [connect, disconnect, send] = ["connect", "disconnect", "send"].map(byId);
const MOST_LINES = 500;
let socket;

url.value = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${location.pathname}`;

function log(kind, text) {
  const line = document.createElement("li");
  line.className = kind;
  line.textContent = `${new Date().toTimeString().slice(0, 8)} ${{ in: "←", out: "→", bad: "!" }[kind] ?? "·"} ${text}`;
  list.prepend(line);
  while (list.childElementCount > MOST_LINES) list.lastElementChild.remove();
}

function show(text, open, busy = open) {
  state.textContent = text;
  state.className = open ? "open" : "";
  connect.disabled = busy;
  disconnect.disabled = !busy;
  send.disabled = !open;
}

function close(event) {
  if (event.target !== socket) return;
  socket = undefined;
  show("not connected", false);
  log(event.wasClean ? "note" : "bad", `closed: ${event.code}${event.reason ? ` ${event.reason}` : ""}`);
}

byId("connection").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket) return;
  try {
    socket = new WebSocket(url.value);
  } catch (error) {
    log("bad", error.message);
    return;
  }
  socket.binaryType = "arraybuffer";
  show(`connecting to ${url.value}`, false, true);
  socket.addEventListener("open", () => {
    show(`connected to ${url.value}`, true);
    log("note", "connected");
    message.focus();
  });
  socket.addEventListener("message", ({ data }) => {
    log("in", typeof data === "string" ? data : `${data.byteLength} bytes of binary`);
  });
  socket.addEventListener("error", () => {
    log("bad", "the connection failed; the browser does not say why: deno run -A main.ts check " + url.value);
  });
  socket.addEventListener("close", close);
});

disconnect.addEventListener("click", () => socket?.close(1000));

byId("sending").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(message.value);
  log("out", message.value);
  message.select();
});
