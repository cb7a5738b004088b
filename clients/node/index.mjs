// Workers of this process under one `watchdog pool`. See README.md.
import { spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import { fileURLToPath } from "node:url";

import { Lines, splitter } from "./lines.mjs";
import { findProgram, LeashError, reap } from "./program.mjs";

export { LeashError } from "./program.mjs";

/** A call that got no answer within its deadline. */
export class DeadlineError extends LeashError {
  name = "DeadlineError";
}

/** The pool has ended, and with it every worker that it started. */
export class PoolDiedError extends LeashError {
  name = "PoolDiedError";
}

/** The worker ended before it was ready. */
export class WorkerEndedError extends LeashError {
  name = "WorkerEndedError";
  /** How it ended. */
  exit;
  constructor(message, exit) {
    super(message);
    this.exit = exit;
  }
}

const NO_SUCH_WORKER = -32001;
const TAKEN = -32002;
const LONGEST = 1 << 20; // a request of the protocol
const LONGEST_TIMER = 2 ** 31 - 1; // Node makes 1 ms of anything above

const poolOptions = ["watchdog", "reaper", "runId", "parentPids", "env", "cwd", "defaults", "startTimeout", "timeout", "keep"];

/** One `watchdog pool`, and the workers that this process starts in it. */
export class Pool extends EventEmitter {
  #options;
  #child;
  #calls = new Map();
  #workers = new Map();
  #next = 1;
  #started;
  #ended = Promise.withResolvers ? Promise.withResolvers() : withResolvers();
  #dead; // the error of every later call
  #closing = false;

  constructor(options = {}) {
    super();
    for (const name of Object.keys(options)) {
      if (!poolOptions.includes(name)) throw new TypeError(`Pool has no option ${name}: it knows ${poolOptions.join(", ")}`);
    }
    this.#options = { startTimeout: 30_000, timeout: 30_000, keep: 8 << 20, ...options };
    for (const name of ["startTimeout", "timeout", "keep"]) milliseconds(name, this.#options[name]);
    /** The run's ID, once the pool has started. */
    this.runId = options.runId;
    /** The version of the watchdog, once the pool has started. */
    this.version = undefined;
    this.#ended.promise.catch(() => {});
    this.#started = this.#start();
    this.#started.catch((error) => this.#die(error));
  }

  /** Resolves when the pool has started. Every call waits for it by itself. */
  get started() {
    return this.#started;
  }

  /** Resolves when the pool was closed; rejects with PoolDiedError if it ended otherwise. */
  get ended() {
    return this.#ended.promise;
  }

  /** The process ID of the watchdog. */
  get pid() {
    return this.#child?.pid;
  }

  /** The workers that have not ended. */
  get workers() {
    return [...this.#workers.values()];
  }

  async #start() {
    const { reaper, env, timeout, startTimeout } = this.#options;
    const environment = { ...process.env, ...env };
    const program = findProgram("watchdog", this.#options.watchdog, environment);
    if (reaper) {
      await reap(findProgram("reaper", reaper === true ? undefined : reaper, environment), { env: environment, timeout });
      if (this.#closing) throw new PoolDiedError("the pool was closed before it started");
    }
    const first = withResolvers();
    this.once("pool.started", first.resolve);
    this.ended.catch(first.reject);
    this.#spawn(program, environment);
    const record = await within(startTimeout, first.promise, () => {
      this.#child.kill("SIGKILL");
      return `${program} did not start a pool`;
    });
    this.runId = record["leash.run_id"];
    this.version = record.version;
    return this;
  }

  #spawn(program, env) {
    const { runId, parentPids = [], defaults = {}, cwd } = this.#options;
    const args = ["pool"];
    for (const pid of [process.pid, ...parentPids]) args.push("--parent-pid", String(pid));
    if (runId !== undefined) args.push("--run-id", String(runId));
    for (const [name, value] of Object.entries(defaults)) args.push(`--${words(name, "-")}=${value}`);
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"], env, cwd, windowsHide: true });
    const split = splitter((line) => this.#read(line));
    this.#child.stdout.on("data", split);
    this.#child.stdout.on("error", () => {});
    this.#child.stdin.on("error", () => {}); // its end is told by the process
    this.#child.on("error", (error) => this.#die(new PoolDiedError(`${program} cannot be executed: ${error.message}`, { cause: error })));
    this.#child.on("close", (code, signal) => this.#over(code, signal));
    // Its sentinel may hold the pipe a little longer, which is no reason to wait.
    this.#child.on("exit", (code, signal) => setTimeout(() => this.#over(code, signal), 1000).unref());
  }

  #over(code, signal) {
    const how = signal ? `was ended by ${signal}` : `ended with status ${code}`;
    if (this.#closing && !signal && (code === 0 || code === 1)) this.#die(undefined, code);
    else this.#die(new PoolDiedError(`watchdog pool ${how}; a new one can be started: pool.renew()`, { data: { code, signal } }));
  }

  #die(error, status) {
    if (this.#dead) return;
    this.#dead = error ?? new PoolDiedError("the pool was closed");
    for (const call of this.#calls.values()) call.reject(this.#dead);
    this.#calls.clear();
    for (const worker of this.#workers.values()) worker._finish(undefined, this.#dead);
    this.#workers.clear();
    if (error) this.#ended.reject(error);
    else this.#ended.resolve({ survivors: status === 1 });
    this.emit("end", error);
  }

  #read(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch (error) {
      this.#die(new PoolDiedError(`the watchdog wrote what is no JSON: ${line.slice(0, 200)}`, { cause: error }));
      this.#child.kill("SIGTERM");
      return;
    }
    const { id, method, params, result, error } = message ?? {};
    if (method === "output") {
      this.#workers.get(params.worker_id)?._line(params);
    } else if (method === "event") {
      this.#event(params);
    } else if (id !== undefined && id !== null) {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error) call?.reject(new LeashError(error.message, { code: error.code, data: error.data }));
      else call?.resolve(result);
    } else if (error) {
      process.emitWarning(`watchdog pool: ${error.message}`, "LeashWarning");
    }
  }

  #event(record) {
    this.emit("event", record);
    if (record.event === "pool.started") this.emit("pool.started", record);
    const id = record["leash.worker_id"];
    const worker = id === undefined ? undefined : this.#workers.get(id);
    if (worker) {
      worker._event(record);
      if (record.event === "watchdog.stopped") this.#workers.delete(id);
    }
    if (record.lost_records > 0) this.#compare();
  }

  // An end may be among the records that were lost: the pool's table tells.
  async #compare() {
    const before = this.workers.filter((worker) => worker.pid !== undefined);
    const { workers } = await this.#call("list", {}).catch(() => ({}));
    if (!workers) return;
    const living = new Set(workers.map((worker) => worker.worker_id));
    for (const worker of before) {
      if (living.has(worker.id) || this.#workers.get(worker.id) !== worker) continue;
      this.#workers.delete(worker.id);
      worker._finish({ outcome: "unknown" });
    }
  }

  async #call(method, params, { timeout = this.#options.timeout, late } = {}) {
    milliseconds("timeout", timeout);
    const until = performance.now() + timeout;
    const what = `${method}${params.worker_id ? ` of worker ${params.worker_id}` : ""}`;
    await within(timeout, this.#started, () => `the pool had not started for ${what}`);
    if (this.#dead) throw this.#dead;
    const id = this.#next++;
    const line = `${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`;
    if (Buffer.byteLength(line) > LONGEST) throw new RangeError(`${what}: the request is longer than 1 MiB`);
    const answer = withResolvers();
    this.#calls.set(id, answer);
    this.#child.stdin.write(line);
    return within(Math.max(1, until - performance.now()), answer.promise, () => {
      answer.promise.then(late, () => {});
      return `${what} was not answered`;
    });
  }

  async #begin(method, params, options) {
    const { signal, timeout, ...flags } = options;
    signal?.throwIfAborted();
    if (this.#dead) throw this.#dead;
    if (this.#closing) throw new PoolDiedError("the pool was closed");
    const id = flags.workerId ?? this.#freeId();
    delete flags.workerId;
    for (const [name, value] of Object.entries(flags)) if (value !== undefined) params[words(name, "_")] = value;
    if (this.#workers.has(id)) throw new LeashError(`the worker ID ${id} is taken: its worker has not ended`, { code: TAKEN });
    const worker = new Worker(this, id, this.#options.keep, (...call) => this.#call(...call));
    this.#workers.set(id, worker);
    // A worker that nobody waits for any more is ended.
    const late = () => this.#call("stop", { worker_id: id }).catch(() => {});
    let aborted;
    try {
      const answer = this.#call(method, { worker_id: id, ...params }, { timeout, late });
      const race = withResolvers();
      aborted = () => {
        race.reject(signal.reason);
        answer.then(late, () => {});
      };
      signal?.addEventListener("abort", aborted, { once: true });
      answer.then(race.resolve, race.reject);
      const { pid, containment } = await race.promise;
      worker._begun(pid, containment);
    } catch (error) {
      if (this.#workers.get(id) === worker) this.#workers.delete(id);
      worker._finish(undefined, error);
      throw error;
    } finally {
      signal?.removeEventListener("abort", aborted);
    }
    if (signal) {
      const stop = () => worker.stop().catch(() => {});
      signal.addEventListener("abort", stop, { once: true });
      const forget = () => signal.removeEventListener("abort", stop);
      worker.exited.then(forget, forget);
      if (signal.aborted) stop();
    }
    return worker;
  }

  #freeId() {
    for (;;) {
      const id = `w${this.#next++}`;
      if (!this.#workers.has(id)) return id;
    }
  }

  /** Starts a worker. Options are the parameters of `run` in camel case, and workerId, signal, timeout. */
  async run(argv, options = {}) {
    if (!Array.isArray(argv) || argv.length === 0) throw new TypeError("argv must be a list of strings, the command first");
    const { cwd, ...rest } = options;
    const params = { argv: argv.map(String) };
    if (cwd !== undefined) params.cwd = cwd instanceof URL ? fileURLToPath(cwd) : String(cwd);
    return this.#begin("run", params, rest);
  }

  /** Guards a process that runs already. */
  async guard(pid, options = {}) {
    return this.#begin("guard", { pid }, options);
  }

  /** The pool's own table of its workers. */
  async list({ timeout } = {}) {
    return (await this.#call("list", {}, { timeout })).workers.map(camel);
  }

  /** Ends every worker; the pool goes on. */
  async stopAll({ grace, timeout } = {}) {
    return this.#call("stop_all", { grace }, { timeout: timeout ?? this.#patience(grace) });
  }

  // A stop takes its grace period, and the pool's own time after it.
  #patience(grace = this.#options.defaults?.grace) {
    return this.#options.timeout + (seconds(grace) ?? 3) * 1000;
  }

  _patience(grace) {
    return this.#patience(grace);
  }

  _forget(worker) {
    if (this.#workers.get(worker.id) === worker) this.#workers.delete(worker.id);
  }

  /** Ends every worker and the pool. At the deadline the pool is killed, and all with it. */
  async close({ grace, timeout } = {}) {
    const patience = timeout ?? this.#patience(grace);
    milliseconds("timeout", patience);
    if (!this.#closing) {
      this.#closing = true;
      if (!this.#child) this.#die(undefined);
      else if (!this.#dead) {
        this.#call("shutdown", { grace }, { timeout: patience }).catch(() => {});
      }
    }
    if (!this.#child) return { survivors: false };
    return within(patience, this.ended, () => {
      this.#child.stdin.destroy();
      this.#child.kill("SIGKILL");
      return "the pool did not end and was killed";
    });
  }

  /** A new pool with the options of this one. */
  renew() {
    return new Pool(this.#options);
  }

  async [Symbol.asyncDispose ?? Symbol.for("nodejs.asyncDispose")]() {
    if (!this.#dead) await this.close();
  }
}

/** A process tree of the pool. */
export class Worker extends EventEmitter {
  #pool;
  #call;
  #ready = withResolvers();
  #exited = withResolvers();
  #told = {}; // of its end, by the records so far
  #ended = false;

  constructor(pool, id, keep, call) {
    super();
    this.#pool = pool;
    this.#call = call;
    this.id = id;
    /** The process ID of its present life. */
    this.pid = undefined;
    this.containment = undefined;
    this.restarts = 0;
    /** How it ended; undefined as long as it has not. */
    this.exit = undefined;
    this.stdout = new Lines(keep);
    this.stderr = new Lines(keep);
    this.#ready.promise.catch(() => {});
    this.#exited.promise.catch(() => {});
  }

  /** Resolves when it said READY=1; rejects if it ended before. */
  get ready() {
    return this.#ready.promise;
  }

  /** Resolves with how it ended; rejects with PoolDiedError if the pool died. */
  get exited() {
    return this.#exited.promise;
  }

  /** Waits for READY=1, and not longer than the deadline. */
  async waitReady({ timeout = 60_000 } = {}) {
    return within(timeout, this.ready, () => `worker ${this.id} did not say READY=1 (run it with heartbeat: "notify")`);
  }

  /** Waits for its end, and not longer than the deadline. */
  async wait({ timeout }) {
    return within(timeout, this.exited, () => `worker ${this.id} did not end`);
  }

  /** The lines of its standard output. */
  [Symbol.asyncIterator]() {
    return this.stdout[Symbol.asyncIterator]();
  }

  /** Ends it politely, and resolves with how it ended once nothing of it is left. */
  async stop({ grace, stopSignal, timeout } = {}) {
    if (this.#ended) return this.exited;
    let answer;
    try {
      const params = { worker_id: this.id, grace, stop_signal: stopSignal };
      answer = await this.#call("stop", params, { timeout: timeout ?? this.#pool._patience(grace) });
    } catch (error) {
      if (error.code !== NO_SUCH_WORKER) throw error;
      answer = { outcome: "unknown" }; // it ended by itself; its last record is on the way
    }
    this._finish(answer);
    return this.exited;
  }

  /** Sends a signal to its process group. */
  async kill(signal = "TERM", { timeout } = {}) {
    await this.#call("signal", { worker_id: this.id, signal }, { timeout });
  }

  /** Lets a guarded worker live on, unguarded. */
  async release({ timeout } = {}) {
    await this.#call("release", { worker_id: this.id }, { timeout });
    this._finish({ outcome: "released" });
  }

  _begun(pid, containment) {
    this.pid ??= pid;
    this.containment = containment;
  }

  _line({ stream, line, partial }) {
    this[stream === "stderr" ? "stderr" : "stdout"].push(line);
    this.emit("output", { stream, line, partial: partial === true });
  }

  _event(record) {
    this.emit("event", record);
    switch (record.event) {
      case "process.started":
        this.pid = record["process.pid"];
        this.#told = {};
        break;
      case "process.ready":
        this.#ready.resolve(this);
        this.emit("ready");
        break;
      case "heartbeat.timeout":
        this.emit("hang", { missed: record.missed, silenceMs: record.silence_ms, reason: record.reason });
        break;
      case "process.restarting":
        this.restarts = record.attempt;
        this.emit("restart", { attempt: record.attempt, delayMs: record.delay_ms });
        break;
      case "process.terminated":
      case "process.cleanup_completed":
        this.#told = { ...this.#told, ...record };
        break;
      case "watchdog.stopped": // without a cleanup nothing was ended: it was released
        this._finish(record.outcome === "signalled" && this.#told.survivors === undefined ? { outcome: "released" } : record);
    }
  }

  _finish(last, error) {
    if (this.#ended) return;
    this.#ended = true;
    this.#pool._forget(this);
    if (!error) {
      this.exit = exitOf({ ...this.#told, ...last });
      this.#exited.resolve(this.exit);
    } else {
      this.#exited.reject(error);
    }
    this.#ready.reject(error ?? new WorkerEndedError(`worker ${this.id} ended before it was ready: ${this.exit.cause}`, this.exit));
    this.stdout.end(error);
    this.stderr.end(error);
    this.emit("exit", this.exit, error);
  }
}

const causes = { heartbeat_timeout: "hung", startup_timeout: "not_ready", parent_died: "parent_died", signalled: "asked" };

function exitOf(told) {
  const exitCode = told.exit_code ?? told["process.exit.code"];
  const { signal, outcome = "unknown", survivors, verified } = told;
  const usage = {};
  for (const [name, value] of Object.entries(told)) {
    if (name.startsWith("usage.")) usage[camelName(name.slice(6))] = value;
  }
  const itself = signal !== undefined ? "signal" : exitCode !== undefined ? "exited" : "unknown";
  return { cause: told.cause ?? causes[outcome] ?? itself, exitCode, signal, outcome, survivors, verified, usage };
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  made.promise.catch(() => {});
  return made;
}

function within(timeout, promise, why) {
  milliseconds("timeout", timeout);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new DeadlineError(`${why()} within ${Math.round(timeout)} ms`)), Math.min(timeout, LONGEST_TIMER));
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function milliseconds(name, value) {
  if (typeof value !== "number" || !(value > 0)) throw new TypeError(`${name} must be a number above 0, not ${value}`);
}

/** The seconds of a duration as on the command line ("1m30s"); undefined if it is none. */
function seconds(text) {
  const units = { ns: 1e-9, us: 1e-6, "µs": 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };
  if (typeof text !== "string" || !/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  return [...text.matchAll(/([\d.]+)([a-zµ]+)/g)].reduce((sum, [, n, unit]) => sum + Number(n) * units[unit], 0);
}

const words = (name, between) => name.replace(/[A-Z]/g, (letter) => between + letter.toLowerCase());
const camelName = (name) => name.replace(/[_.]([a-z])/g, (_, letter) => letter.toUpperCase());
const camel = (object) => Object.fromEntries(Object.entries(object).map(([name, value]) => [camelName(name), value]));
