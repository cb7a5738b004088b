// Run it with: node hang.mjs
import { Pool } from "@leash/client";

const pool = new Pool();
const worker = await pool.run(["python3", "worker.py", "hang"], {
  cwd: new URL(".", import.meta.url),
  heartbeat: "notify",
  heartbeatInterval: "200ms",
  heartbeatTimeout: "1s",
});
worker.on("hang", ({ silenceMs }) => console.log("silent for", silenceMs, "ms"));
await worker.waitReady({ timeout: 30_000 });
console.log("ready");
const { cause } = await worker.exited;
console.log("ended:", cause);
await pool.close();
