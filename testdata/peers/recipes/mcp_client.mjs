// An MCP client. It prints which processes its server has, and closes the
// connection when a line comes on standard input.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const transport = new StdioClientTransport({
  command: "watchdog",
  args: ["run", "--grace", "1s", "--", "node", "server.mjs"],
});
const client = new Client({ name: "client", version: "1.0.0" });
await client.connect(transport);
const answer = await client.callTool({ name: "family" });
console.log("FAMILY", answer.content[0].text);
process.stdin.once("data", async () => {
  await client.close();
  console.log("CLOSED");
});
