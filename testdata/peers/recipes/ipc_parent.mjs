// A Node program that talks to its worker by messages.
import { fork } from "node:child_process";

const worker = fork("ipc_worker.mjs", {
  execPath: "watchdog",
  execArgv: ["run", "--", "node"],
});
worker.on("message", (message) => console.log("ANSWER", message.answer));
worker.send({ question: 6 });
