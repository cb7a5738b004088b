// A Node server that starts workers, with or without a watchdog beside each:
// node node_parent.js WATCHDOG PYTHON WORKER RUN_ID SPEC...
//
// A SPEC is MODE,WORKER_ID,ARGUMENT,... with MODE one of guard, run, bare, and
// detached: a guarded worker that leads a process group of its own. All that
// workers print comes out with "WORKER_ID " in front.

'use strict';

const { spawn } = require('node:child_process');
const readline = require('node:readline');

const [watchdog, python, worker, runId, ...specs] = process.argv.slice(2);
const say = (text) => process.stdout.write(`${text}\n`);

function start(id, program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], ...options });
  child.stdin.on('error', () => {});
  readline.createInterface({ input: child.stdout }).on('line', (line) => say(`${id} ${line}`));
  child.on('exit', (code, signal) => say(`${id} EXIT ${code ?? signal}`));
  return child.pid;
}

say(`PARENT ${process.pid}`);
for (const spec of specs) {
  const [mode, id, ...flags] = spec.split(',');
  const args = [worker, '--port', '0', '--run-id', runId, '--worker-id', id, ...flags];
  const labels = ['--parent-pid', `${process.pid}`, '--worker-id', id];
  if (mode === 'run') {
    const run = ['run', ...labels, '--run-id', runId, '--', python, ...args];
    say(`${id} PID watchdog ${start(id, watchdog, run)}`);
    continue;
  }
  const env = { ...process.env, LEASH_RUN_ID: runId, LEASH_WORKER_ID: id };
  const pid = start(id, python, args, { env, detached: mode === 'detached' });
  if (mode !== 'bare') {
    // No --run-id: the watchdog finds it at the worker.
    const guard = ['guard', '--worker-pid', `${pid}`, ...labels];
    say(`${id} PID watchdog ${start(id, watchdog, guard)}`);
  }
}
