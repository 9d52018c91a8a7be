/**
 * Names: a topic in its namespace as one key.
 * @module
 */

/** A topic of a namespace. */
export interface TopicName {
  readonly namespace: string;
  readonly topic: string;
}

/**
 * A topic and its namespace as one string, different for every pair. The empty namespace stands for all of them: its
 * topics are their own key, so that a publish of the service makes no string.
 */
export function topicKey(namespace: string, topic: string): string {
  if (namespace === "") return topic.includes("\0") ? `\0${topic}` : topic;
  return keyPrefix(namespace) + topic;
}

/** What the keys of a namespace's topics begin with; not for the empty one. */
export function keyPrefix(namespace: string): string {
  return `${escape(namespace)}\0`;
}

/** The inverse of {@link topicKey}. */
export function parseTopicKey(key: string): TopicName {
  const end = key.indexOf("\0");
  if (end < 0) return { namespace: "", topic: key };
  return { namespace: unescape(key.slice(0, end)), topic: key.slice(end + 1) };
}

function escape(namespace: string): string {
  return namespace.includes("\0") || namespace.includes("\x01")
    ? namespace.replaceAll("\x01", "\x01b").replaceAll("\0", "\x01a")
    : namespace;
}

function unescape(text: string): string {
  return text.includes("\x01") ? text.replaceAll("\x01a", "\0").replaceAll("\x01b", "\x01") : text;
}
