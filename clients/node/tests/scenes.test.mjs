// The six scenes of every client, and the pool's own death, with the real watchdog.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { DeadlineError, LeashError, Pool, PoolDiedError, WorkerEndedError } from "@leash/client";
import { listen, patience, soon, tree, worker as script } from "./processes.mjs";

const beating = { heartbeat: "notify", heartbeatInterval: "300ms", heartbeatTimeout: "60s", maxMissed: 200 };
const hanging = { heartbeat: "notify", heartbeatInterval: "100ms", heartbeatTimeout: "500ms" };

/** Resolves when a worker of the pool has ended. */
function oneEnd(pool) {
  return new Promise((resolve) => pool.on("event", (record) => record.event === "watchdog.stopped" && resolve()));
}

function open(t, options) {
  const pool = new Pool({ timeout: patience, startTimeout: patience, ...options });
  t.after(() => pool.close({ grace: "200ms", timeout: patience }).catch(() => {}));
  return pool;
}

test("run: a worker has an ID, a process and a status", async (t) => {
  const pool = open(t);
  const worker = await pool.run(["sh", "-c", "exit 7"], { workerId: "seven" });
  assert.equal(worker.id, "seven");
  assert.ok(worker.pid > 0);
  const exit = await soon(worker.exited, "the end");
  assert.equal(exit.cause, "exited");
  assert.equal(exit.exitCode, 7);
  assert.equal(exit.outcome, "worker_exited");
  assert.equal(exit.survivors, 0);
  assert.deepEqual(pool.workers, []);
  assert.match(pool.runId, /^[0-9a-z]{7}$/);
});

test("run: environment and folder are the worker's", async (t) => {
  const worker = await open(t).run(["sh", "-c", 'echo "$GREETING ${HOME-none} $PWD"'], {
    env: { GREETING: "hello", HOME: null },
    cwd: "/",
  });
  for await (const line of worker) assert.equal(line, "hello none /");
});

test("ready: told when the worker says so", async (t) => {
  const worker = await open(t).run(["python3", script], beating);
  assert.equal(await worker.waitReady({ timeout: patience }), worker);
  await worker.stop();
});

test("ready: an error where the worker ends before", async (t) => {
  const worker = await open(t).run(["sh", "-c", "exit 3"], beating);
  await assert.rejects(soon(worker.ready, "the error"), (error) => {
    assert.ok(error instanceof WorkerEndedError);
    assert.equal(error.exit.exitCode, 3);
    return true;
  });
});

test("output: every line of both streams, and the last without a line feed", async (t) => {
  const worker = await open(t).run(["sh", "-c", "seq 20000; echo wrong >&2; printf 'the last'"]);
  const lines = [];
  for await (const line of worker) lines.push(line);
  assert.equal(lines.length, 20001);
  assert.deepEqual(lines.slice(0, 2), ["1", "2"]);
  assert.equal(lines.at(-1), "the last");
  const errors = [];
  for await (const line of worker.stderr) errors.push(line);
  assert.deepEqual(errors, ["wrong"]);
  assert.equal(worker.stdout.lost, 0);
});

test("output: beyond what is kept the oldest lines are dropped and counted", async (t) => {
  const worker = await open(t, { keep: 1000 }).run(["seq", "20000"]);
  await soon(worker.exited, "the end");
  const lines = [];
  for await (const line of worker) lines.push(line);
  assert.equal(lines.at(-1), "20000");
  assert.equal(lines.length + worker.stdout.lost, 20000);
  assert.ok(worker.stdout.lost > 10000);
});

test("output: a loop that is left goes on in the next one", async (t) => {
  const worker = await open(t).run(["seq", "3"]);
  const seen = [];
  for await (const line of worker) {
    seen.push(line);
    break;
  }
  for await (const line of worker) seen.push(line);
  assert.deepEqual(seen, ["1", "2", "3"]);
});

test("hang: told with its silence, ended with its cause", async (t) => {
  const worker = await open(t).run(["python3", script, "hang"], hanging);
  const told = once(worker, "hang");
  const exit = await soon(worker.exited, "the end");
  assert.equal(exit.cause, "hung");
  assert.equal(exit.outcome, "heartbeat_timeout");
  const [hang] = await soon(told, "the hang");
  assert.ok(hang.silenceMs > 0);
});

test("stop: nothing of the tree is left when it answers", async (t) => {
  const net = await listen(t);
  const worker = await open(t).run(["python3", tree, `${net.port}`]);
  const processes = await net.processes(2);
  const exit = await worker.stop({ grace: "200ms" });
  assert.equal(exit.cause, "asked");
  assert.equal(exit.survivors, 0);
  await soon(Promise.all(processes.map((process) => process.gone)), "the tree's end");
  assert.deepEqual(await worker.stop(), exit); // once more
});

test("stop: by an AbortSignal, before and after the start", async (t) => {
  const pool = open(t);
  const control = new AbortController();
  const worker = await pool.run(["sleep", "1000000"], { signal: control.signal });
  control.abort();
  assert.equal((await soon(worker.exited, "the end")).cause, "asked");
  await assert.rejects(pool.run(["sleep", "1000000"], { signal: control.signal }), { name: "AbortError" });
});

test("stop: one that is aborted while it starts leaves nothing", async (t) => {
  const pool = open(t);
  await pool.started;
  const control = new AbortController();
  const ended = oneEnd(pool);
  const start = pool.run(["sleep", "1000000"], { signal: control.signal });
  control.abort();
  await assert.rejects(start, { name: "AbortError" });
  await soon(ended, "its end");
  assert.deepEqual(await pool.list(), []);
});

test("stop: of all, and the pool goes on", async (t) => {
  const pool = open(t);
  await Promise.all([pool.run(["sleep", "1000000"]), pool.run(["sleep", "1000000"])]);
  assert.equal((await pool.list()).length, 2);
  assert.equal((await pool.stopAll({ grace: "1s" })).survivors, 0);
  assert.deepEqual(await pool.list(), []);
  await (await pool.run(["true"])).wait({ timeout: patience });
});

test("the parent's SIGKILL leaves nothing", async (t) => {
  const net = await listen(t);
  const parent = spawn(process.execPath, [fileURLToPath(new URL("parent.mjs", import.meta.url)), tree, `${net.port}`, "3"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => parent.kill("SIGKILL"));
  const [line] = await soon(once(createInterface({ input: parent.stdout }), "line"), "the parent's line");
  assert.match(line, /^STARTED \d+ \d+ \d+ \d+$/);
  const processes = await net.processes(6);
  parent.kill("SIGKILL");
  await soon(Promise.all(processes.map((process) => process.gone)), "the end of all");
});

test("the pool's SIGKILL is an error on every worker, and a new pool can be had", async (t) => {
  const net = await listen(t);
  const pool = open(t);
  const workers = await Promise.all([1, 2].map(() => pool.run(["python3", tree, `${net.port}`])));
  const processes = await net.processes(4);
  const reader = workers[0][Symbol.asyncIterator]().next();
  process.kill(pool.pid, "SIGKILL");
  for (const worker of workers) {
    await assert.rejects(soon(worker.exited, "the error"), PoolDiedError);
    await assert.rejects(worker.ready, PoolDiedError);
  }
  await assert.rejects(reader, PoolDiedError);
  await assert.rejects(pool.run(["true"]), PoolDiedError);
  await soon(Promise.all(processes.map((process) => process.gone)), "the end of all");
  const again = pool.renew();
  t.after(() => again.close().catch(() => {}));
  const worker = await again.run(["true"]);
  assert.equal((await soon(worker.exited, "the end")).exitCode, 0);
});

test("errors: what the pool refuses says why", async (t) => {
  const pool = open(t);
  await assert.rejects(pool.run(["/no/such/program"]), (error) => {
    assert.ok(error instanceof LeashError);
    assert.equal(error.code, -32003);
    assert.equal(error.data.status, 127);
    return true;
  });
  await pool.run(["sleep", "1000000"], { workerId: "one" });
  await assert.rejects(pool.run(["true"], { workerId: "one" }), { code: -32002 });
  await assert.rejects(pool.run(["true"], { workerId: "no slash/" }), { code: -32602 });
  await assert.rejects(pool.run(["true"], { gracee: "1s" }), (error) => error.code === -32602 && /gracee/.test(error.message));
  await assert.rejects(pool.run([]), TypeError);
  await assert.rejects(pool.run(["echo", "x".repeat(1 << 20)]), RangeError);
  assert.equal(pool.workers.length, 1);
});

test("errors: a call has a deadline, and what it started later is ended", async (t) => {
  const pool = open(t);
  await pool.started;
  process.kill(pool.pid, "SIGSTOP");
  await assert.rejects(pool.run(["sleep", "1000000"], { timeout: 50 }), DeadlineError);
  const ended = oneEnd(pool);
  process.kill(pool.pid, "SIGCONT");
  await soon(ended, "its end");
  assert.deepEqual(await pool.list(), []);
});

test("errors: a watchdog that is missing, or is something else", async (t) => {
  await assert.rejects(open(t, { watchdog: "/no/such/watchdog" }).started, /option watchdog names \/no\/such\/watchdog/);
  await assert.rejects(open(t, { env: { LEASH_WATCHDOG: "/no/such/watchdog" } }).started, /LEASH_WATCHDOG names/);
  await assert.rejects(open(t, { watchdog: "/bin/echo" }).started, PoolDiedError);
  assert.throws(() => new Pool({ wachdog: "x" }), /no option wachdog/);
});

test("the reaper is called first if asked", async (t) => {
  const pool = open(t, { reaper: true });
  await pool.started;
  await assert.rejects(open(t, { reaper: "/bin/false-reaper" }).started, /option reaper/);
});

test("a worker of another's is guarded, released, and lives on", async (t) => {
  const sleeper = spawn("sleep", ["1000000"], { stdio: "ignore", detached: true });
  t.after(() => sleeper.kill("SIGKILL"));
  const pool = open(t);
  const guarded = await pool.guard(sleeper.pid, { workerId: "guarded" });
  assert.equal(guarded.pid, sleeper.pid);
  await guarded.release();
  assert.equal((await guarded.exited).outcome, "released");
  assert.equal(sleeper.exitCode, null);
  const again = await pool.guard(sleeper.pid);
  const ended = once(sleeper, "exit");
  await again.stop();
  const [, signal] = await soon(ended, "its end");
  assert.equal(signal, "SIGTERM");
});

test("restarts are told", async (t) => {
  const worker = await open(t).run(["sh", "-c", "exit 1"], { restart: "on-failure", maxRestarts: 1 });
  const restart = once(worker, "restart");
  const exit = await soon(worker.exited, "the end");
  assert.equal(exit.exitCode, 1);
  assert.equal((await restart)[0].attempt, 1);
  assert.equal(worker.restarts, 1);
});
