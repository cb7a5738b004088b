// Run it with: node first.mjs
import { Pool } from "@leash/client";

const pool = new Pool();
const worker = await pool.run(["python3", "worker.py"], { cwd: new URL(".", import.meta.url) });
console.log("started", worker.pid);
for await (const line of worker) {
  console.log("it says", line);
  break;
}
const { cause } = await worker.stop();
console.log("ended:", cause);
await pool.close();
