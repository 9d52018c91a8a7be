/**
 * Pieces of the remedies that certificate errors name.
 * @module
 */

/** A path as a word of a shell command. */
export function shellWord(path: string): string {
  return /^[\w@%+=:,./\\-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

/** "`command`", with the file named in it by `FILE` and the file to write by `NEW`. */
export function command(template: string, file: string): string {
  const made = /\.\w{1,4}$/.test(file) ? file.replace(/\.\w{1,4}$/, ".new.pem") : `${file}.new.pem`;
  return template.replaceAll("FILE", shellWord(file)).replaceAll("NEW", shellWord(made));
}
