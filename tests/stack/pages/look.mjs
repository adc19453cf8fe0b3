// Opens reports in a real browser and says what it saw: one JSON object on standard output for suite_pages.py, which
// does the checking. Usage: node look.mjs CHROMIUM TASK.json, with packages from HOTSPAN_STACK_PAGES.
import fs from "node:fs";
import path from "node:path";
import { nothing, ready, scroll, start, violations, wait, watched } from "./browser.mjs";

const [chromium, taskFile] = process.argv.slice(2);
const task = JSON.parse(fs.readFileSync(taskFile, "utf8"));
const browser = await start(chromium);

async function open(file, { theme, size, hash = "" }, seen) {
  const page = await watched(browser, seen, { theme, size }, (url) => url.startsWith("file://" + file));
  const began = performance.now();
  await page.goto("file://" + file + hash, { waitUntil: "load" });
  await ready(page);
  seen.openedMs = Math.round(performance.now() - began);
  return page;
}

const numbers = (page, table) =>
  page.evaluate((name) => {
    const region = [...document.querySelectorAll("[role=region]")].find((r) => r.getAttribute("aria-label") === name);
    return region
      ? [...region.querySelectorAll("tbody tr")].map((tr) =>
          [...tr.cells].map((c) => {
            const n = c.querySelector("[data-v]");
            return { text: c.textContent.trim(), v: n && n.dataset.v !== "" ? Number(n.dataset.v) : null };
          }),
        )
      : null;
  }, table);

const out = { looks: [], uses: {} };

for (const look of task.looks) {
  const seen = { ...nothing(), name: look.name };
  const page = await open(look.file, look, seen);
  await scroll(page);
  // Not innerWidth: on a phone that grows with what is too wide.
  seen.overflow = await page.evaluate((room) => document.documentElement.scrollWidth - room, page.viewport().width);
  seen.canvases = await page.evaluate(() => document.querySelectorAll("canvas").length);
  seen.foreign = await page.evaluate(() => ({
    pwned: globalThis.pwned === undefined ? null : String(globalThis.pwned),
    tags: [
      ...document.querySelectorAll(
        "iframe, object, embed, link, base, form, img, audio, video, svg script, meta[http-equiv=refresh]",
      ),
    ].map((e) => e.tagName),
    scripts: document.scripts.length,
    handlers: [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on")))
      .length,
    links: [...document.querySelectorAll("a")]
      .map((a) => a.getAttribute("href"))
      .filter((href) => !/^(#|https?:)/.test(href)),
    controls: (
      document.body.innerText.match(/[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g) || []
    ).length,
  }));
  if (look.axe) seen.violations = await violations(page);
  if (look.text) seen.text = await page.evaluate(() => document.getElementById("main").textContent);
  if (look.shots) {
    await page.evaluate(() => document.querySelector(".top").style.setProperty("position", "static"));
    fs.mkdirSync(look.shots, { recursive: true });
    for (const section of await page.$$("main > section")) {
      const id = await section.evaluate((e) => e.id);
      await section.screenshot({ path: path.join(look.shots, `${look.name}-${id}.png`) });
    }
  }
  out.looks.push(seen);
  await page.close();
}

if (task.use) {
  const seen = nothing();
  const { uses } = out;
  const page = await open(task.use.file, {}, seen);
  await scroll(page);
  uses.openedMs = seen.openedMs;
  uses.headline = await page.$eval("h1", (e) => e.textContent);
  uses.steps = await numbers(page, "Steps");
  uses.telemetry = await numbers(page, "Telemetry");
  uses.figures = await page.$$eval(".figure strong", (all) => all.map((e) => Number(e.dataset.v)));
  uses.cards = await page.$$eval("article.card h3", (all) => all.map((e) => e.textContent));
  uses.waterfall = await page.$$eval("table.wf tbody tr", (rows) =>
    rows.map((tr) => [...tr.cells].slice(0, 4).map((c) => c.textContent.trim())),
  );
  uses.behind = await page.evaluate(async () => {
    const made = [];
    for (const d of document.querySelectorAll("details.behind")) {
      d.open = true;
      await new Promise((r) => setTimeout(r, 30));
      made.push([d.querySelector("summary").textContent, d.querySelectorAll("tbody tr").length]);
    }
    return made;
  });
  // Copying.
  await page.evaluate(() => {
    globalThis.copied = null;
    Object.defineProperty(navigator, "clipboard", {
      configurable: true,
      value: {
        writeText: async (t) => {
          globalThis.copied = t;
        },
      },
    });
  });
  await page.click("#copy-all");
  await wait(50);
  uses.copied = await page.evaluate(() => globalThis.copied);
  uses.said = await page.$eval("#live", (e) => e.textContent);
  // Sorting, both ways.
  const order = async () => (await numbers(page, "Steps")).map((row) => row[6].v);
  const button = (await page.$$("table.steps .sort"))[6];
  await button.click();
  uses.sortedDown = await order();
  await button.click();
  uses.sortedUp = await order();
  // One step.
  const step = await page.$eval("#step-filter", (e) => e.options[2].textContent);
  await page.select("#step-filter", await page.$eval("#step-filter", (e) => e.options[2].value));
  await wait(100);
  uses.filtered = {
    step,
    rows: (await numbers(page, "Steps")).map((r) => r[0].text),
    hash: await page.evaluate(() => location.hash),
  };
  const again = await open(task.use.file, { hash: uses.filtered.hash }, seen);
  uses.linked = (await numbers(again, "Steps")).map((r) => r[0].text);
  await again.close();
  await page.select("#step-filter", "-1");
  // A link to a finding and to a request.
  const deep = await open(task.use.file, { hash: "#finding-1" }, seen);
  const there = (when, ...what) => deep.waitForFunction(when, { timeout: 10000 }, ...what).then(() => true, () => false);
  await there(() => document.activeElement.id === "finding-1");
  uses.toFinding = await deep.evaluate(() => {
    const e = document.getElementById("finding-1");
    return e ? Math.round(e.getBoundingClientRect().top) : null;
  });
  uses.focusedAt = await deep.evaluate(() => document.activeElement.id);
  const trace = await deep.$eval(".roles .tab:last-child", (e) => e.id);
  await deep.evaluate((id) => {
    location.hash = "#" + id;
  }, trace);
  uses.toTrace = await there((id) => document.querySelector(".roles .tab[aria-pressed=true]")?.id === id, trace);
  await deep.close();
  // The request of a finding, and what of it the finding is about.
  const shown = await open(task.use.file, { hash: "#finding-1" }, seen);
  uses.request = { before: await shown.$$eval("#finding-1 table.wf", (all) => all.length) };
  await shown.click("#finding-1 details.request summary");
  await wait(100);
  Object.assign(
    uses.request,
    await shown.$eval("#finding-1", (card) => ({
      rows: [...card.querySelectorAll("table.wf tbody tr")].map((tr) =>
        [...tr.cells].slice(0, 4).map((c) => c.textContent.trim()),
      ),
      mine: card.querySelectorAll("table.wf tr.mine").length,
      lit: card.querySelectorAll("table.wf .lit.mine").length,
      said: card.querySelector(".marks")?.textContent ?? "",
    })),
  );
  if (task.use.shots) await (await shown.$("#finding-1")).screenshot({ path: path.join(task.use.shots, "finding-request.png") });
  await shown.close();
  // What if.
  const after = () =>
    page.$$eval("#what-if .after .impact", (rows) =>
      rows.map((r) => [...r.querySelectorAll("[data-v]")].map((e) => Number(e.dataset.v))),
    );
  uses.asItWas = await after();
  await page.$eval("#what-if input[type=range]", (e) => {
    e.value = "0";
    e.dispatchEvent(new Event("input", { bubbles: true }));
  });
  uses.without = await after();
  // Flame graph: into the first box below the step and back by key.
  const frames = () => page.$$eval(".flame .frame", (all) => all.length);
  uses.frames = [await frames()];
  await page.$eval(".flame .frame:nth-child(2)", (e) => e.click());
  uses.frames.push(await frames());
  await page.focus(".flame .frame");
  await page.keyboard.press("Escape");
  uses.frames.push(await frames());
  await page.type("#flame-search", "select");
  uses.hits = await page.$$eval(".flame .frame.hit", (all) => all.length);
  await page.$eval("#flame-search", (e) => e.blur());
  // Keys and theme.
  await page.evaluate(() => {
    scrollTo(0, 0);
    document.activeElement.blur();
  });
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  uses.themes = [await background()];
  await page.keyboard.press("t");
  uses.themes.push(await background());
  await page.keyboard.press("/");
  uses.menuFocused = await page.evaluate(() => document.activeElement.id);
  const untouched = await open(task.use.file, {}, seen);
  await untouched.keyboard.press("Tab");
  uses.firstTab = await untouched.evaluate(() => document.activeElement.textContent);
  await untouched.close();
  uses.print = (await page.pdf({ format: "A4", printBackground: true })).length;
  // As on paper: A4 within its margins is about 690 pixels wide.
  await page.emulateMediaType("print");
  await page.setViewport({ width: 690, height: 1000 });
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  await wait(100);
  uses.paper = await page.evaluate(() => ({
    // What is wider than the paper makes a browser shrink all of it.
    wide: Math.max(...[...document.querySelectorAll("canvas, svg, table")].map((e) => Math.ceil(e.getBoundingClientRect().right))),
    cut: [...document.querySelectorAll(".figure dt")].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent),
    rows: new Set([...document.querySelectorAll(".figure")].map((e) => Math.round(e.getBoundingClientRect().top))).size,
    controls: [...document.querySelectorAll("input, select")].filter((e) => e.checkVisibility()).map((e) => e.id || e.type),
  }));
  await page.evaluate(() => dispatchEvent(new Event("afterprint")));
  await page.emulateMediaType(null);
  uses.seen = seen;
  await page.close();
}
await browser.close();
process.stdout.write(JSON.stringify(out));
