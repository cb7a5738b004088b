// Opens a page by Puppeteer, prints its title, and closes the browser when a
// line comes on standard input. Arguments: pipe or socket, then flags.
import { resolve } from "node:path";
import puppeteer from "puppeteer-core";

const [way, ...args] = process.argv.slice(2);
const pipe = way === "pipe";
const browser = await puppeteer.launch({
  executablePath: resolve("chromium"),
  pipe,
  args,
});
const page = await browser.newPage();
await page.setContent("<title>it works</title>");
console.log("TITLE", await page.title());
process.stdin.once("data", async () => {
  await browser.close();
  console.log("CLOSED");
});
