// An MCP server that ends neither at SIGTERM nor at the end of its standard
// input, with a child that has left its session.
import { spawn } from "node:child_process";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";

process.on("SIGTERM", () => {});
const child = spawn("sleep", ["1000000"], { detached: true, stdio: "ignore", env: {} });
const server = new McpServer({ name: "server", version: "1.0.0" });
server.registerTool("family", { description: "the processes of this server" }, async () => ({
  content: [{ type: "text", text: `${process.pid} ${child.pid}` }],
}));
await server.connect(new StdioServerTransport());
