/**
 * A small chat: rooms are topics, and every line is a message. `/join ROOM`, `/name NAME`, `/who`, anything else is said
 * to the room.
 * @module
 */
import { defineApp, type Peer } from "../ws/app_types.ts";

/** Who is in a room, by name: what `/who` tells. */
const rooms = new Map<string, Set<Peer>>();
const HELP = "/name NAME to be called so, /join ROOM to change rooms, /who for who is here; anything else is said";
const NAME = /^[\p{L}\p{N}_-]{1,32}$/u;

let guests = 0;

export default defineApp({
  open(peer) {
    peer.context.name = `guest${++guests}`;
    peer.send(`welcome, ${nameOf(peer)}: ${HELP}`);
    enter(peer, "lobby");
  },

  message(peer, message) {
    const line = message.text().trim();
    if (line === "") return;
    const [command, argument = ""] = line.split(/\s+/, 2);
    switch (line.startsWith("/") ? command : "") {
      case "":
        return tell(peer, `${nameOf(peer)}: ${line}`);
      case "/name":
        return rename(peer, argument);
      case "/join":
        if (!NAME.test(argument)) return say(peer, "a room's name has 1 to 32 letters, digits, _ or -");
        leave(peer);
        return enter(peer, argument);
      case "/who":
        return say(peer, `in ${roomOf(peer)}: ${[...rooms.get(roomOf(peer)) ?? []].map(nameOf).join(", ")}`);
      default:
        return say(peer, HELP);
    }
  },

  close(peer) {
    leave(peer);
  },
});

function rename(peer: Peer, name: string): void {
  if (!NAME.test(name)) return say(peer, "a name has 1 to 32 letters, digits, _ or -");
  tell(peer, `* ${nameOf(peer)} is now ${name}`);
  peer.context.name = name;
}

function enter(peer: Peer, room: string): void {
  peer.context.room = room;
  const members = rooms.get(room) ?? new Set();
  rooms.set(room, members.add(peer));
  peer.subscribe(topicOf(room));
  tell(peer, `* ${nameOf(peer)} joined ${room}`);
}

function leave(peer: Peer): void {
  const room = roomOf(peer);
  peer.publish(topicOf(room), `* ${nameOf(peer)} left ${room}`);
  peer.unsubscribe(topicOf(room));
  const members = rooms.get(room);
  members?.delete(peer);
  if (members?.size === 0) rooms.delete(room);
}

/** To everybody in the room, the peer itself too. */
function tell(peer: Peer, line: string): void {
  peer.publish(topicOf(roomOf(peer)), line);
  say(peer, line);
}

function say(peer: Peer, line: string): void {
  peer.send(line);
}

function nameOf(peer: Peer): string {
  return String(peer.context.name);
}

function roomOf(peer: Peer): string {
  return String(peer.context.room);
}

function topicOf(room: string): string {
  return `chat/${room}`;
}
