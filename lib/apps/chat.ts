/**
 * A small chat that works over any number of nodes. Its topics are rooms, names in a room (for `/who`) and names (for
 * `/to`). Commands: `/join ROOM`, `/name NAME`, `/who`, `/to NAME TEXT`. Any other line is sent to the room.
 * @module
 */
import { defineApp, type Peer } from "../ws/app_types.ts";

const HELP =
  "/name NAME changes your name, /join ROOM changes the room, /who lists the people here, /to NAME TEXT sends a private " +
  "message; any other line goes to the room";
const NAME = /^[\p{L}\p{N}_-]{1,32}$/u;
/** Characters that move a terminal's cursor or change the direction of its text. */
const CONTROLS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

export default defineApp((service) => {
  /** The peers of this node and the names that they have or request, by namespace. */
  const here = new Set<Peer>();
  const taken = new Map<string, Peer>();
  const nameKey = (peer: Peer, name: string) => `${peer.namespace}\n${name}`;

  async function rename(peer: Peer, name: string): Promise<void> {
    if (peer.user !== undefined) return say(peer, "your name comes from your token and cannot be changed");
    if (!NAME.test(name)) return say(peer, "a name has 1 to 32 letters, digits, _ or -");
    const key = nameKey(peer, name);
    if (taken.has(key)) return say(peer, `${name} is taken`);
    // Reserved now, so that no other peer of this node gets the name while the other nodes are asked.
    taken.set(key, peer);
    const { topics } = await service.topics(nameTopic(name), { namespace: peer.namespace });
    if (topics.some(({ topic }) => topic === nameTopic(name)) || !here.has(peer)) {
      taken.delete(key);
      return say(peer, `${name} is taken`);
    }
    tell(peer, `* ${nameOf(peer)} is now ${name}`);
    taken.delete(nameKey(peer, nameOf(peer)));
    const own = () => [nameTopic(nameOf(peer)), namedTopic(peer, nameOf(peer))];
    for (const topic of own()) peer.unsubscribe(topic);
    peer.context.name = copyOf(name);
    for (const topic of own()) peer.subscribe(topic);
  }

  /** Lists the names in a room on all nodes. */
  async function who(peer: Peer): Promise<void> {
    const prefix = namedTopic(peer, "");
    const { topics, complete } = await service.topics(prefix, { namespace: peer.namespace });
    const names = topics.map(({ topic }) => topic.slice(prefix.length)).join(", ");
    peer.send(`in ${roomOf(peer)}: ${names}${complete ? "" : " (not every node has answered)"}`);
  }

  async function tellOne(peer: Peer, name: string, text: string): Promise<void> {
    const topic = nameTopic(name);
    const { namespace } = peer;
    const { topics } = NAME.test(name) ? await service.topics(topic, { namespace }) : { topics: [] };
    if (!topics.some((found) => found.topic === topic)) return say(peer, `nobody is called ${name}`);
    service.publish(topic, `${nameOf(peer)} to ${name}: ${text}`, { namespace, except: peer.id });
    say(peer, `${nameOf(peer)} to ${name}: ${text}`);
  }

  return {
    open(peer) {
      here.add(peer);
      // The name of a token is fixed and may be used on several devices. A guest's name comes from the peer's id.
      const guests = [4, 8, 36].map((length) => `guest-${peer.id.slice(0, length)}`);
      peer.context.name = peer.user?.replaceAll(CONTROLS, "?") ??
        guests.find((name) => !taken.has(nameKey(peer, name)));
      taken.set(nameKey(peer, nameOf(peer)), peer);
      peer.subscribe(nameTopic(nameOf(peer)));
      peer.send(`welcome, ${nameOf(peer)}: ${HELP}`);
      enter(peer, "lobby");
    },

    message(peer, message) {
      const line = message.text().trim();
      if (line === "") return;
      if (line.search(CONTROLS) >= 0) return say(peer, "a line has no control characters");
      const [command, argument = ""] = line.split(/\s+/, 2);
      switch (line.startsWith("/") ? command : "") {
        case "":
          return tell(peer, `${nameOf(peer)}: ${line}`);
        case "/name":
          return rename(peer, argument);
        case "/join":
          if (!NAME.test(argument)) return say(peer, "a room's name has 1 to 32 letters, digits, _ or -");
          leave(peer);
          return enter(peer, copyOf(argument));
        case "/who":
          return who(peer);
        case "/to":
          return tellOne(peer, argument, line.replace(/^\S+\s+\S+\s*/, ""));
        default:
          return say(peer, HELP);
      }
    },

    close(peer) {
      here.delete(peer);
      const key = nameKey(peer, nameOf(peer));
      if (taken.get(key) === peer) taken.delete(key);
      leave(peer);
    },

    gap(topics, { namespace }) {
      for (const peer of here) {
        if (namespace === peer.namespace && topics.includes(roomTopic(roomOf(peer)))) {
          say(peer, "* messages may be missing here");
        }
      }
    },
  };
});

function enter(peer: Peer, room: string): void {
  peer.context.room = room;
  peer.subscribe(roomTopic(room));
  peer.subscribe(namedTopic(peer, nameOf(peer)));
  tell(peer, `* ${nameOf(peer)} joined ${room}`);
}

function leave(peer: Peer): void {
  const room = roomOf(peer);
  peer.publish(roomTopic(room), `* ${nameOf(peer)} left ${room}`);
  peer.unsubscribe(roomTopic(room));
  peer.unsubscribe(namedTopic(peer, nameOf(peer)));
}

/** Sends to all peers in the room, including this one. */
function tell(peer: Peer, line: string): void {
  peer.publish(roomTopic(roomOf(peer)), line);
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

function roomTopic(room: string): string {
  return `chat/room/${room}`;
}

/** The topic of a name in the peer's room. With an empty name, the prefix of all of them. */
function namedTopic(peer: Peer, name: string): string {
  return `${roomTopic(roomOf(peer))}/${name}`;
}

function nameTopic(name: string): string {
  return `chat/name/${name}`;
}

/** Copies a part of a line. V8 keeps the whole line in memory for as long as a part of it is in use (measured). */
function copyOf(part: string): string {
  return [...part].join("");
}
