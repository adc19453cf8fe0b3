// Takes the pictures of docs/pictures from a report: node docs/report_pictures.mjs RUN/report.html docs/pictures
//
// Needs Chromium (HOTSPAN_CHROMIUM, default /usr/bin/chromium) and puppeteer-core below HOTSPAN_STACK_PAGES, where
// `tests/stack/run pages` installs it (~/.cache/hotspan/stack/pages-…).
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.HOTSPAN_STACK_PAGES ?? ".", "package.json"));
const puppeteer = require("puppeteer-core");
const [report, out] = process.argv.slice(2).map((each) => path.resolve(each));
const desktop = { width: 1280, height: 800 };
const phone = { width: 390, height: 844, deviceScaleFactor: 1.5, isMobile: true, hasTouch: true };
const PICTURES = [
  { name: "report-answer", theme: "light", size: desktop },
  { name: "report-answer-dark", theme: "dark", size: desktop },
  { name: "report-findings", theme: "light", size: desktop, section: "findings" },
  { name: "report-blame", theme: "light", size: desktop, section: "blame" },
  { name: "report-latency", theme: "dark", size: desktop, section: "latency" },
  { name: "report-requests", theme: "light", size: desktop, section: "requests" },
  { name: "report-flame", theme: "dark", size: desktop, section: "flame" },
  { name: "report-map", theme: "light", size: desktop, section: "map" },
  { name: "report-phone", theme: "light", size: phone },
];

fs.mkdirSync(out, { recursive: true });
const browser = await puppeteer.launch({
  executablePath: process.env.HOTSPAN_CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--force-color-profile=srgb"],
});
for (const { name, theme, size, section } of PICTURES) {
  const page = await browser.newPage();
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: theme },
    { name: "prefers-reduced-motion", value: "reduce" },
  ]);
  await page.setViewport(size);
  await page.goto("file://" + report, { waitUntil: "load" });
  const file = path.join(out, name + ".png");
  if (section) {
    const element = await page.$("#" + section);
    await element.evaluate((e) => {
      document.querySelector(".top").style.position = "static";
      e.style.padding = "0 24px 16px";
      e.style.margin = "0";
      e.scrollIntoView();
    });
    await new Promise((done) => setTimeout(done, 400));
    await element.screenshot({ path: file });
  } else {
    await new Promise((done) => setTimeout(done, 400));
    await page.screenshot({ path: file });
  }
  console.log(file, fs.statSync(file).size);
  await page.close();
}
await browser.close();
