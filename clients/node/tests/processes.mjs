// Real processes whose end the test sees without asking for it: each holds a connection.
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const worker = fileURLToPath(new URL("../examples/worker.py", import.meta.url));
export const tree = fileURLToPath(new URL("../../testdata/tree.py", import.meta.url));

// Far more than needed: machines that run tests are sometimes very busy.
export const patience = 120_000;

/** Fails loudly where the test would wait for ever. */
export function soon(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${patience} ms`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A port to which processes connect. */
export async function listen(t) {
  const server = createServer();
  const sockets = new Set();
  const waiting = [];
  const arrived = [];
  server.on("connection", async (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    const gone = new Promise((resolve) => socket.once("close", resolve));
    const [line] = await once(createInterface({ input: socket }), "line");
    const [name, pid] = line.split(" ");
    const process = { name, pid: Number(pid), gone };
    const reader = waiting.shift();
    if (reader) reader(process);
    else arrived.push(process);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy(); // and the processes end
    server.close();
  });
  const next = () => (arrived.length ? Promise.resolve(arrived.shift()) : new Promise((resolve) => waiting.push(resolve)));
  return {
    port: server.address().port,
    /** The next N processes that connect. */
    processes: (n) => soon(Promise.all(Array.from({ length: n }, next)), `${n} processes`),
  };
}
