// Run it with: node run.mjs
import { spawn } from "node:child_process";

const args = ["run", "--", "python3", "worker.py"];
const worker = spawn("watchdog", args, { stdio: ["ignore", "pipe", "inherit"] });
worker.stdout.on("data", (text) => process.stdout.write(text));
worker.on("exit", (status, signal) => console.log("the worker ended:", status ?? signal));
