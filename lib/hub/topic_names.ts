/**
 * Topic keys: a topic and its namespace as one string.
 * @module
 */

/** A topic in a namespace. */
export interface TopicName {
  readonly namespace: string;
  readonly topic: string;
}

/**
 * Joins a topic and its namespace into one string, which differs for every pair. The empty namespace stands for all
 * namespaces. Its topics are their own keys, so that publishing to all namespaces allocates no string.
 */
export function topicKey(namespace: string, topic: string): string {
  if (namespace === "") return topic.includes("\0") ? `\0${topic}` : topic;
  return keyPrefix(namespace) + topic;
}

/** The prefix of all keys of a namespace, which must not be empty. */
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
