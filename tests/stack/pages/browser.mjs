// One way to start the browser, open a page that is watched, and ask axe, for look.mjs and serve.mjs. Packages come from
// HOTSPAN_STACK_PAGES.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.HOTSPAN_STACK_PAGES, "package.json"));
const puppeteer = require("puppeteer-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export const SIZES = {
  desktop: { width: 1360, height: 900 },
  phone: { width: 390, height: 844, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};
export const wait = (ms) => new Promise((done) => setTimeout(done, ms));
export const start = (executablePath) =>
  puppeteer.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });

// A page that keeps what goes wrong in `seen`, and every request that is not `own`.
export async function watched(browser, seen, { theme = "light", size = "desktop" }, own) {
  const page = await browser.newPage();
  page.on("console", (m) => {
    if (m.type() === "error" || m.type() === "warn") seen.console.push(m.text());
  });
  page.on("pageerror", (e) => seen.console.push(`${e.message} ${e.stack || ""}`.slice(0, 400)));
  page.on("dialog", (d) => {
    seen.dialogs.push(d.message());
    d.dismiss();
  });
  page.on("request", (r) => {
    if (!own(r.url()) && !r.url().startsWith("data:")) seen.requests.push(r.url());
  });
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: theme },
    { name: "prefers-reduced-motion", value: "reduce" },
  ]);
  await page.setViewport(SIZES[size]);
  return page;
}
export const nothing = () => ({ console: [], dialogs: [], requests: [] });
export const ready = (page) => page.waitForFunction(() => document.body.dataset.ready === "true", { timeout: 20000 });

// Everything is drawn when it comes into view.
export async function scroll(page) {
  await page.evaluate(async () => {
    for (let y = 0; y < document.body.scrollHeight; y += 500) {
      scrollTo(0, y);
      await new Promise((r) => setTimeout(r, 40));
    }
    scrollTo(0, 0);
  });
  await wait(200);
}

// What axe finds serious. The page's own policy forbids scripts from outside; the inspector's are let in beside it.
export async function violations(page) {
  await page.evaluate(axe);
  const result = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const said = (n) => `${n.target.join(" ")} ${(n.any[0] || n.all[0] || n.none[0] || {}).message || ""}`;
  return result.violations
    .filter((v) => ["serious", "critical"].includes(v.impact))
    .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map(said).join(" | ")}`.slice(0, 600));
}
