// Run it with: node run.mjs
import { spawn } from "node:child_process";

const parent = ["--parent-fd", "0", "--parent-pid", `${process.pid}`];
const args = ["run", ...parent, "--", "python3", "worker.py"];
const worker = spawn("watchdog", args, { stdio: ["pipe", "pipe", "inherit"] });
worker.stdout.on("data", (text) => process.stdout.write(text));
worker.on("exit", (status, signal) => console.log("the worker ended:", status ?? signal));
