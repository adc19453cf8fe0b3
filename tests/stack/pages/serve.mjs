// Uses the pages of `hotspan serve` in a real browser and says what it saw: one JSON object on standard output for
// suite_serve.py, which does the checking. Usage: node serve.mjs CHROMIUM TASK.json, with packages from HOTSPAN_STACK_PAGES.
import fs from "node:fs";
import path from "node:path";
import { nothing, ready, scroll, SIZES, start, violations, wait, watched } from "./browser.mjs";

const [chromium, taskFile] = process.argv.slice(2);
const task = JSON.parse(fs.readFileSync(taskFile, "utf8"));
const { base, token } = task;
const browser = await start(chromium);
const open = (seen, look = {}) => watched(browser, seen, look, (url) => url.startsWith(base + "/"));

async function go(page, to) {
  const answer = await page.goto(base + to, { waitUntil: "load" });
  await ready(page);
  return answer;
}
// Clicks on what leads to another page of the server.
async function follow(page, act) {
  await Promise.all([page.waitForNavigation({ waitUntil: "load" }), act()]);
  await ready(page);
}
const texts = (page, selector) => page.$$eval(selector, (all) => all.map((e) => e.textContent.trim()));
const text = async (page, selector) => (await texts(page, selector))[0] ?? "";
const shot = (page, folder, name) =>
  folder
    ? (fs.mkdirSync(folder, { recursive: true }),
      page.screenshot({ path: path.join(folder, `serve-${name}.png`), fullPage: true }))
    : null;

async function look({ name, path: to, theme, size, shots, axe: examined }) {
  const seen = { name, ...nothing() };
  const page = await open(seen, { theme, size });
  seen.status = (await go(page, to)).status();
  await scroll(page);
  Object.assign(
    seen,
    await page.evaluate((room) => ({
      // Not innerWidth: on a phone that grows with what is too wide.
      overflow: document.documentElement.scrollWidth - room,
      pwned: globalThis.pwned ?? null,
      broken: document.body.textContent.includes("could not be drawn"),
      foreign: [
        ...document.querySelectorAll(
          "img, iframe, base, meta[http-equiv], marquee, [onload], [onerror], [onfocus], svg[onload], a[href^='javascript:'], form[action^='//']",
        ),
      ].map((e) => e.outerHTML.slice(0, 200)),
    }), page.viewport().width),
  );
  if (examined) seen.violations = await violations(page);
  await shot(page, shots, name);
  await page.close();
  return seen;
}

async function useList(page, uses, { runs }) {
  await go(page, `/runs/${runs[0]}`);
  await page.type("#tags", "tagged");
  await page.type("#text", "two\nlines");
  await follow(page, () => page.click("form.notes button"));
  uses.note = await page.$eval("#text", (e) => e.value);
  await go(page, "/");
  await page.type("#q", "tag:tagged");
  await follow(page, () => page.click(".search button"));
  uses.searched = [(await page.$$("table.runs tbody tr")).length, await text(page, "table.runs .pill")];
  await go(page, "/");
  const sides = { base: runs.slice(0, 2), head: runs.slice(2, 4) };
  for (const [side, ids] of Object.entries(sides))
    for (const id of ids) await page.click(`input[name=${side}][value="${id}"]`);
  await follow(page, () => page.click("form.picker button.primary"));
  const rows = (label) =>
    page.$$eval(`[role=region][aria-label="${label}"] tbody tr`, (all) =>
      all.map((tr) => [...tr.cells].map((c) => [c.textContent.trim(), c.querySelector("[data-v]")?.dataset.v])),
    );
  const operations = await rows("Operations");
  uses.compared = {
    ...sides,
    first: await text(page, "main .pill"),
    headline: await text(page, "h1"),
    steps: (await rows("Steps")).length,
    operations: operations.length,
    changes: operations.slice(0, 20).map((cells) => [cells[0][0], cells[4][1]]),
  };
}

async function useTrend(page, uses) {
  const points = () => page.$$eval('[role=region][aria-label="Runs of the trend"] tbody tr', (all) => all.length);
  await go(page, "/trend");
  uses.trend = { points: await points(), canvas: (await page.$$("canvas")).length };
  const operation = await page.$eval("optgroup:nth-of-type(2) option", (o) => o.value);
  await follow(page, () => page.select("select[aria-label='Step or operation']", operation));
  uses.trend.operation = new URL(page.url()).pathname + new URL(page.url()).search;
  uses.trend.operationPoints = await points();
  await scroll(page);
  const over = await page.$(".u-over");
  const { x, y, width, height } = await over.boundingBox();
  await page.mouse.move(x + width * 0.5, y + height * 0.5);
  await wait(100);
  await Promise.all([
    page.waitForNavigation({ waitUntil: "load" }),
    page.mouse.click(x + width * 0.5, y + height * 0.5),
  ]);
  uses.trend.opened = new URL(page.url()).pathname;
}

async function useTraces(page, uses, { runs }) {
  const run = runs.at(-1);
  const column = (n) =>
    page.$$eval("table.traces-list tbody tr", (all, n) => all.map((tr) => tr.cells[n].textContent.trim()), n);
  const values = (n) =>
    page.$$eval("table.traces-list tbody tr", (all, n) => all.map((tr) => Number(tr.cells[n].dataset.v)), n);
  const show = () => follow(page, () => page.click("main form button.primary"));
  const found = async () =>
    Number(((await text(page, "main .lead")).match(/^([\d,]+)/) ?? ["", "0"])[1].replaceAll(",", ""));
  const t = (uses.traces = {});
  await go(page, `/runs/${run}/traces`);
  t.all = Number(((await text(page, ".run-line")).match(/([\d,]+)\s*requests/) ?? ["", "0"])[1].replaceAll(",", ""));
  const step = await page.$$eval(
    "select[name=step] option",
    (all) => all.find((o) => o.textContent === "product").value,
  );
  await page.select("select[name=step]", step);
  await show();
  t.step = await column(1);
  await go(page, `/runs/${run}/traces`);
  await page.select("select[name=status]", "failed");
  await show();
  t.failed = await column(3);
  await go(page, `/runs/${run}/traces`);
  const all = await values(4);
  t.least = all[Math.floor(all.length / 2)];
  await page.type("input[name=min_ms]", String(t.least));
  await show();
  t.slow = await values(4);
  await go(page, `/runs/${run}/traces`);
  await page.type("input[name=text]", "select");
  await page.type("input[name=service]", "shop");
  await show();
  t.byText = await found();
  const traced = await page.$eval("table.traces-list tbody a", (a) => a.getAttribute("href"));
  await go(page, `/runs/${run}/traces`);
  await page.type("input[name=text]", "no span has this");
  await show();
  t.byNothing = (await page.$$("table.traces-list tbody tr")).length;
  await go(page, `/runs/${run}/traces`);
  if (await page.$("nav.pages a[rel=next]")) await follow(page, () => page.click("nav.pages a[rel=next]"));
  t.pageTwo = await text(page, "nav.pages span");
  await go(page, traced);
  await page.click("table.spans details summary");
  await wait(100);
  uses.trace = {
    rows: (await page.$$("table.wf tbody tr")).length,
    lit: (await page.$$("table.wf .lane:not(.top) .lit")).length,
    path: await page.$eval("table.wf tr.sum", (tr) => [tr.cells[2].textContent, tr.cells[3].textContent]),
    attributes: (await page.$$("dl.attributes dt")).length,
  };
}

// From a request of the report to the same one in the trace browser.
async function useLinks(page, uses, { runs }) {
  await page.goto(`${base}/runs/${runs.at(-1)}/report`, { waitUntil: "load" });
  await ready(page);
  await page.waitForSelector("#requests table.wf tbody tr");
  const rows = () => page.$$eval("table.wf tbody tr", (all) => all.length);
  const linked = (uses.linked = { rowsOfReport: await page.$$eval("#requests table.wf tbody tr", (all) => all.length) });
  linked.id = await page.$eval("#requests .waterfall a.mono", (a) => a.textContent);
  await page.$eval("#requests .waterfall a.mono", (a) => a.click());
  // A report has an origin of its own: the way leads over the entrance.
  await page.waitForFunction((id) => location.pathname.endsWith(id), { timeout: 20000 }, linked.id);
  await ready(page);
  linked.at = new URL(page.url()).pathname;
  linked.rows = await rows();
}

async function useEditor(page, uses, { scenario, file }) {
  const said = (kind) => page.waitForSelector(`.said.${kind}`, { timeout: 10000 });
  const stuck = () => page.$eval("main button.primary", (b) => b.disabled);
  const write = (change) =>
    page.evaluate((source) => {
      const area = document.getElementById("scenario-text");
      area.value = source;
      area.dispatchEvent(new Event("input"));
    }, change);
  await go(page, "/start");
  await follow(page, () => page.select("select[aria-label=Scenario]", scenario));
  await said("good");
  const good = await page.$eval("#scenario-text", (e) => e.value);
  const e = (uses.editor = { fine: await stuck() });
  await write(good.replace("target:", "tagret:"));
  await said("bad");
  e.place = await text(page, ".said button.name");
  e.message = await text(page, ".said p:nth-of-type(2)");
  e.stuck = await stuck();
  await page.click(".said button.name");
  e.selection = await page.$eval("#scenario-text", (a) => a.selectionStart);
  await shot(page, task.use.shots, "start-mistake");
  await write(good.replace(/target: .*/, "target: http://93.184.216.34/"));
  await page.waitForFunction(() => document.querySelector(".said").textContent.includes("public"), { timeout: 10000 });
  e.public = await text(page, ".said");
  // Saving: as it is, after somebody else changed the file, and under another name.
  const keep = async () => {
    await page.waitForFunction(() => ![...document.querySelectorAll("main .ways button")].at(-1).disabled);
    await page.$$eval("main .ways button", (all) => all.at(-1).click());
  };
  const kept = () => page.waitForFunction(() => document.querySelector(".ways [role=status]").textContent.startsWith("Saved"));
  const before = fs.readFileSync(file, "utf8");
  await write(good + "# seen\n");
  await said("good");
  e.savable = await page.$$eval("main .ways button", (all) => all.at(-1).textContent);
  await keep();
  await kept();
  e.saved = await text(page, ".ways [role=status]");
  e.savedText = fs.readFileSync(file, "utf8");
  fs.writeFileSync(file, before + "# by somebody else\n");
  await write(good);
  await said("good");
  await keep();
  await page.waitForFunction(() => document.querySelector(".said").textContent.includes("Not saved"));
  e.late = await text(page, ".said");
  await shot(page, task.use.shots, "start-late");
  await page.$eval("input[aria-label=File]", (i) => {
    i.value = "another.yaml";
    i.dispatchEvent(new Event("input"));
  });
  await said("good");
  await keep();
  await kept();
  e.another = await text(page, ".ways [role=status]");
  e.listed = await page.$$eval("select[aria-label=Scenario] option", (all) => all.some((o) => o.value === "another.yaml"));
}

async function useLive(page, uses) {
  const live = (uses.live = {});
  await follow(page, () => page.click("main button.primary"));
  const csrf = await page.$eval("#page", (e) => JSON.parse(e.textContent).csrf);
  const state = () => page.evaluate(async () => (await fetch("/live/state")).json());
  const until = (f, ...more) => page.waitForFunction(f, { timeout: 40000, polling: 200 }, ...more);
  await until(() => document.querySelectorAll("table.going .bar .seg").length > 0);
  const { look } = await state();
  Object.assign(live, {
    seconds: look.seconds.length,
    p95: look.now.p95,
    blame: look.blame.length,
    rows: (await page.$$("table.going tbody tr")).length,
    bars: (await page.$$("table.going .bar")).length,
  });
  live.second = JSON.stringify(
    await page
      .evaluate(async (csrf) => {
        const text = "target: http://127.0.0.1:1\nload: {users: 1, for: 1s}\nsteps: [GET /]\n";
        const answer = await fetch("/start", {
          method: "POST",
          body: new URLSearchParams({ csrf, scenario: "shop.yaml", text }),
        });
        return answer.json();
      }, csrf)
      .catch((e) => String(e)),
  );
  const press = (label) =>
    page.$$eval(".controls button", (all, label) => all.find((b) => b.textContent === label).click(), label);
  await press("More load");
  await until(() => document.querySelector(".controls output").textContent.includes("1.1"));
  live.factor = (await text(page, ".controls output")).replace(/\u202f/g, " ");
  await press("Pause");
  await until(() => document.querySelector(".controls button").textContent === "Resume");
  live.paused = await text(page, ".controls button");
  await press("Resume");
  await until(() => document.querySelector(".controls button").textContent === "Pause");
  live.resumed = await text(page, ".controls button");
  await press("Next stage");
  await until(() => [...document.querySelectorAll("p.small")].some((p) => p.textContent.includes("Stage 2 of 2")));
  live.stage = (await texts(page, "p.small")).find((t) => t.startsWith("Stage")) ?? "";
  await wait(2500);
  await shot(page, task.use.shots, "live-running");
  await page.setViewport(SIZES.phone);
  await wait(300);
  await shot(page, task.use.shots, "live-running-phone");
  await page.setViewport(SIZES.desktop);
  await Promise.all([page.waitForNavigation({ waitUntil: "load", timeout: 60000 }), press("Stop and report")]);
  await ready(page);
  live.landed = new URL(page.url()).pathname;
  live.reportTitle = await page.title();
}

async function use(what) {
  const uses = nothing();
  const page = await open(uses);
  await page.goto(`${base}/enter#${token}`, { waitUntil: "load" });
  await page.waitForFunction(() => location.pathname === "/", { timeout: 10000 });
  await ready(page);
  uses.entered = new URL(page.url()).pathname;
  await useList(page, uses, what);
  await useTrend(page, uses);
  await useTraces(page, uses, what);
  await useLinks(page, uses, what);
  await useEditor(page, uses, what);
  await useLive(page, uses);
  // The console tells of refusals that were asked for; they are what is wanted.
  uses.console = uses.console.filter((line) => !line.includes("409"));
  await go(page, "/");
  await page.click("#theme");
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  uses.theme = [await theme()];
  await go(page, "/trend");
  uses.theme.push(await theme());
  await page.click("#theme");
  await page.evaluate(() => localStorage.clear());
  await page.close();
  return uses;
}

const out = { uses: await use(task.use), looks: [] };
for (const each of task.looks) out.looks.push(await look(each));
await browser.close();
console.log(JSON.stringify(out));
