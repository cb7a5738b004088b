// The same by Playwright. Arguments: flags.
import { resolve } from "node:path";
import { chromium } from "playwright-core";

const args = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: resolve("chromium"),
  args,
});
const page = await browser.newPage();
await page.setContent("<title>it works</title>");
console.log("TITLE", await page.title());
process.stdin.once("data", async () => {
  await browser.close();
  console.log("CLOSED");
});
