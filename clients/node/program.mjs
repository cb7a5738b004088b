// Where the programs are, and the call of the reaper.
import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const suffix = process.platform === "win32" ? ".exe" : "";

/** A program of Leash that is missing, failed or said something that is no protocol. */
export class LeashError extends Error {
  name = "LeashError";
  /** JSON-RPC's code, where the pool refused a request. */
  code;
  /** What the pool added to it. */
  data;
  constructor(message, { code, data, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.data = data;
  }
}

/** Finds "watchdog" or "reaper": as given, by its variable, beside this package, in PATH. */
export function findProgram(name, given, env = process.env) {
  const variable = `LEASH_${name.toUpperCase()}`;
  for (const [path, from] of [[given, `the option ${name}`], [env[variable], variable]]) {
    if (!path) continue;
    if (isProgram(String(path))) return String(path);
    throw new LeashError(`${from} names ${path}, which is no program that can be executed`);
  }
  // Debian has other programs of the short names, so the long ones go first.
  const names = [`leash-${name}${suffix}`, `${name}${suffix}`];
  const path = (env.PATH ?? env.Path ?? "").split(delimiter).filter(Boolean);
  for (const folders of [beside(), path]) {
    for (const file of names) {
      const found = folders.map((folder) => join(folder, file)).find(isProgram);
      if (found) return found;
    }
  }
  throw new LeashError(`leash-${name} is neither beside this package nor in PATH: install it, or set ${variable} to its path`);
}

function beside() {
  const folders = [join(here, "bin")];
  for (let folder = here; dirname(folder) !== folder; folder = dirname(folder)) {
    folders.push(join(folder, "node_modules", ".bin"));
  }
  const checkout = join(here, "..", "..");
  if (existsSync(join(checkout, "cmd", "watchdog"))) folders.push(join(checkout, "bin"));
  return folders;
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Ends what dead runs left. Survivors are a warning, a reaper that failed is an error. */
export function reap(program, { env = process.env, timeout }) {
  return new Promise((resolve, reject) => {
    execFile(program, [], { env, timeout, killSignal: "SIGKILL", maxBuffer: 1 << 26 }, (error, _, stderr) => {
      if (!error) return resolve();
      const said = stderr.trim().split("\n").at(-1);
      if (error.code === 1) {
        process.emitWarning(`reaper: something survived: ${said}`, "LeashWarning");
        return resolve();
      }
      const why = error.killed ? `it did not end within ${timeout} ms` : said || error.message;
      reject(new LeashError(`${program} failed: ${why}`, { cause: error }));
    });
  });
}
