// A parent to be killed: it starts as many trees as it is told, and stays.
import { Pool } from "@leash/client";

const [script, port, count] = process.argv.slice(2);
const pool = new Pool();
const workers = await Promise.all(Array.from({ length: Number(count) }, () => pool.run(["python3", script, port])));
console.log("STARTED", pool.pid, ...workers.map((worker) => worker.pid));
setInterval(() => {}, 1 << 30);
