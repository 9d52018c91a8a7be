/**
 * Resolves a name with the resolver of a network namespace. Prints the code and level of each finding as JSON, and with
 * `--facts` also the fact.
 */
import { probeDns } from "../../lib/check/probes/dns.ts";

const [name = "", facts] = Deno.args;
const { findings } = await probeDns(name, new AbortController().signal);
const printed = findings.map(({ code, level, fact }) => facts === undefined ? [code, level] : [code, level, fact]);
await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(printed)));
Deno.exit();
