// Takes the pictures of `hotspan serve` in docs/pictures, of a server with a run under way:
//   node docs/serve_pictures.mjs http://127.0.0.1:7700 TOKEN docs/pictures
//
// Needs Chromium (HOTSPAN_CHROMIUM, default /usr/bin/chromium) and puppeteer-core below HOTSPAN_STACK_PAGES, where
// `tests/stack/run serve` installs it (~/.cache/hotspan/stack/pages-…).
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.HOTSPAN_STACK_PAGES ?? ".", "package.json"));
const puppeteer = require("puppeteer-core");
const [base, token, out] = process.argv.slice(2);
const PICTURES = [{ name: "serve-live", path: "/live", theme: "light", height: 1112 }];

fs.mkdirSync(out, { recursive: true });
const browser = await puppeteer.launch({
  executablePath: process.env.HOTSPAN_CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--force-color-profile=srgb"],
});
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
for (const { name, path: to, theme, height } of PICTURES) {
  const page = await browser.newPage();
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: theme },
    { name: "prefers-reduced-motion", value: "reduce" },
  ]);
  await page.setViewport({ width: 1280, height });
  await page.goto(`${base}/enter#${token}`, { waitUntil: "load" });
  await page.waitForFunction(() => location.pathname === "/");
  await page.goto(base + to, { waitUntil: "load" });
  await wait(1500);
  const file = path.join(out, name + ".png");
  await page.screenshot({ path: file });
  console.log(file, fs.statSync(file).size);
  await page.close();
}
await browser.close();
