/**
 * Shell commands for the remedies in certificate errors.
 * @module
 */

/** Quotes a path for a shell command. */
export function shellWord(path: string): string {
  return /^[\w@%+=:,./\\-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

/** Fills in a command: `FILE` becomes the file, `NEW` the file to write. */
export function fillCommand(template: string, file: string): string {
  const made = /\.\w{1,4}$/.test(file) ? file.replace(/\.\w{1,4}$/, ".new.pem") : `${file}.new.pem`;
  return template.replaceAll("FILE", shellWord(file)).replaceAll("NEW", shellWord(made));
}
