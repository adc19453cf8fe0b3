// One step or one operation followed over the runs of the folder: p50 and p95 of each run, and where its time went.

function trendPicker(box, t) {
  const go = (pairs) => location.assign(query("/trend", pairs));
  const scenarios = choice(
    t.scenarios.map((s) => [s, s]),
    t.scenario,
    { "aria-label": "Scenario" },
  );
  scenarios.addEventListener("change", () => {
    // Its first step, whatever it is called.
    go([
      ["scenario", scenarios.value],
      ["step", "*"],
    ]);
  });
  const id = (kind, list) => kind + JSON.stringify(list);
  const steps = t.steps.map((s) => [id("s", s), s[0] ? `${s[0]} · ${s[1]}` : s[1]]);
  const operations = t.operations.map((o) => [id("o", o), `${o[0]} · ${o[1]} (${o[2]})`]);
  const chosen = t.of.operation
    ? id("o", [t.of.service, t.of.operation, t.of.span])
    : id("s", [t.of.journey, t.of.step]);
  const option = ([value, text]) =>
    h("option", { value, selected: value === chosen }, text.length > 90 ? text.slice(0, 89) + "…" : text);
  const what = h(
    "select",
    { "aria-label": "Step or operation" },
    h("optgroup", { label: "Steps" }, steps.map(option)),
    operations.length ? h("optgroup", { label: "Operations of services" }, operations.map(option)) : null,
  );
  what.addEventListener("change", () => {
    const list = JSON.parse(what.value.slice(1));
    if (what.value[0] === "s")
      go([
        ["scenario", t.scenario],
        ["journey", list[0]],
        ["step", list[1]],
      ]);
    else
      go([
        ["scenario", t.scenario],
        ["service", list[0]],
        ["operation", list[1]],
        ["span", list[2]],
      ]);
  });
  box.append(h("div.fields", {}, field("Scenario", scenarios), field("Step or operation", what, "wide")));
}

const day = (run) => run.at.slice(5, 16);
const runAxis = (runs) =>
  axis({
    values: (u, at) => at.map((v) => (Number.isInteger(v) && runs[v] ? day(runs[v]) : "")),
    space: 90,
    size: 30,
    incrs: [1, 2, 5, 10, 20, 50, 100],
  });

// Opens the report of the run under the cursor.
function opens(el, runs) {
  el.addEventListener("click", () => {
    const at = el.at;
    if (at !== null && at !== undefined && runs[at]) location.assign(runs[at].link);
  });
  el.classList.add("click");
  return el;
}

// A line before each run from which on the level is another one; where it is named, how much another.
function paintChanges(u, events, named) {
  const ratio = devicePixelRatio;
  for (const run of new Set(events.map((e) => e.run))) {
    const [first] = events.filter((e) => e.run === run).sort((a, b) => Math.abs(Math.log(b.ratio)) - Math.abs(Math.log(a.ratio)));
    const px = u.valToPos(run - 0.5, "x", true);
    u.ctx.save();
    u.ctx.strokeStyle = u.ctx.fillStyle = css(first.ratio > 1 ? "--bad" : "--ok");
    u.ctx.setLineDash([5 * ratio, 4 * ratio]);
    u.ctx.lineWidth = 1.5 * ratio;
    u.ctx.beginPath();
    u.ctx.moveTo(px, u.bbox.top);
    u.ctx.lineTo(px, u.bbox.top + u.bbox.height);
    u.ctx.stroke();
    if (named && Number.isFinite(first.ratio)) {
      const right = px > u.bbox.left + 0.8 * u.bbox.width;
      u.ctx.font = `600 ${12 * ratio}px ${css("--font")}`;
      u.ctx.textAlign = right ? "right" : "left";
      u.ctx.textBaseline = "top";
      u.ctx.fillText(`× ${first.ratio.toFixed(2)}`, px + (right ? -6 : 6) * ratio, u.bbox.top + 2 * ratio);
    }
    u.ctx.restore();
  }
}

function trendLines(t) {
  const { points, runs } = t;
  const x = points.map((p) => p.run);
  const line = (l, values, more) => ({
    stroke: css("--" + l),
    width: 2,
    points: { show: true, size: 7, fill: css("--bg"), stroke: css("--" + l) },
    ...more,
  });
  const el = chart(`p50 and p95 of ${t.title} in each run`, 280, () => ({
    data: [x, points.map((p) => p.p50), points.map((p) => p.p95)],
    scales: {
      x: { time: false, range: () => [Math.min(...x) - 0.4, Math.max(...x) + 0.4] },
      y: { range: (u, a, b) => [0, b * 1.1] },
    },
    axes: [runAxis(runs), msAxis()],
    series: [{}, line("l1"), line("l2")],
    hooks: {
      draw: [(u) => paintChanges(u, t.events, true)],
    },
    tip: (u, idx) => {
      el.at = idx === null || idx === undefined ? null : x[idx];
      const p = points[idx];
      if (!p) return null;
      const run = runs[p.run];
      return [
        h("b", {}, run.name + " " + run.at),
        h("span", {}, h("span.line", { "data-l": "l2" }), `p95 ${msUnit(p.p95)}`),
        h("span", {}, h("span.line", { "data-l": "l1" }), `p50 ${msUnit(p.p50)}`),
        `${plural(p.n, t.of.operation ? "span" : "request", t.of.operation ? "spans" : "requests")}${run.tags.length ? " · " + run.tags.join(" ") : ""}`,
        run.doubt ? "Not counted: " + run.doubt : null,
        "Click: its report",
      ];
    },
  }));
  return opens(el, runs);
}

// Stacked bars of each run's mean by category.
function trendBlame(t) {
  const { points, runs } = t;
  const seen = CATEGORY_NAMES.filter((c) => points.some((p) => (p.categories[c] || 0) > 0));
  if (!seen.length) return null;
  const x = points.map((p) => p.run);
  const total = points.map((p) => seen.reduce((sum, c) => sum + (p.categories[c] || 0), 0));
  const el = chart(`Where the time of ${t.title} went in each run`, 240, () => ({
    data: [x, total],
    scales: {
      x: { time: false, range: () => [Math.min(...x) - 0.5, Math.max(...x) + 0.5] },
      y: { range: (u, a, b) => [0, (b || 1) * 1.1] },
    },
    axes: [runAxis(runs), msAxis()],
    series: [{}, { paths: () => null, points: { show: false } }],
    cursor: { points: { show: false } },
    hooks: {
      draw: [
        (u) => {
          const unit = Math.abs(u.valToPos(1, "x", true) - u.valToPos(0, "x", true));
          const width = Math.max(2, Math.min(unit * 0.62, 46 * devicePixelRatio));
          points.forEach((p) => {
            let sum = 0;
            for (const c of seen) {
              const value = p.categories[c] || 0;
              if (value <= 0) continue;
              const top = u.valToPos(sum + value, "y", true),
                bottom = u.valToPos(sum, "y", true);
              u.ctx.fillStyle = color(c);
              u.ctx.fillRect(u.valToPos(p.run, "x", true) - width / 2, top, width, bottom - top);
              sum += value;
            }
          });
          paintChanges(u, t.events, false);
        },
      ],
    },
    tip: (u, idx) => {
      el.at = idx === null || idx === undefined ? null : x[idx];
      const p = points[idx];
      if (!p) return null;
      return [
        h("b", {}, runs[p.run].at),
        `${msUnit(total[idx])} on average`,
        ...seen
          .filter((c) => p.categories[c] > 0)
          .sort((a, b) => p.categories[b] - p.categories[a])
          .map((c) =>
            h("span", {}, category(c), ` ${msUnit(p.categories[c])} (${percent(p.categories[c] / total[idx])})`),
          ),
      ];
    },
  }));
  return h(
    "div",
    {},
    h("h2", {}, "Where the time went"),
    h(
      "p.lead",
      {},
      t.of.operation
        ? "Own time on the critical path in a request with this operation."
        : "Mean corrected latency of a request by category.",
    ),
    opens(el, runs),
    legend(seen),
  );
}

pages.trend = (box, page) => {
  const t = page.trend;
  box.append(h("h1.headline.plain", {}, "Trend over runs"));
  if (!t.scenarios.length) {
    box.append(
      h(
        "p.empty",
        {},
        "No run has a report yet. One step or one operation is followed over all runs of a scenario as soon as there are some.",
      ),
    );
    return;
  }
  trendPicker(box, t);
  box.append(h("h2", {}, name(t.title)));
  if (!t.points.length) {
    box.append(h("p.empty", {}, "No run of this scenario has it."));
    return;
  }
  for (const e of t.events)
    box.append(
      h(
        "p",
        {},
        pill(e.ratio > 1 ? "bad" : "ok", e.ratio > 1 ? "slower" : "faster"),
        " ",
        `${words(e.measure)} ${msOf(e, e.before)} → ${msOf(e, e.after)} since `,
        link(t.runs[e.run].link, t.runs[e.run].at),
        t.runs[e.run].commit ? h("span", {}, ", commit ", h("code", {}, t.runs[e.run].commit.slice(0, 12))) : null,
        h("span.dim", {}, ` (${times(e.ratio)}, p ${e.p < 0.001 ? "<" + NARROW + "0.001" : fixed(e.p, 3)})`),
      ),
    );
  box.append(
    h(
      "p.lead",
      {},
      `${plural(t.points.length, "run", "runs")} in order of time; a point opens its report.`,
      t.few ? " " + t.few : "",
      t.few || t.events.length
        ? ""
        : " No change of its own level was found; what moves all steps and operations of a run together is taken for the machine's.",
    ),
  );
  box.append(
    trendLines(t),
    h(
      "div.legend",
      {},
      h("span.cat", {}, h("span.line", { "data-l": "l2" }), "p95"),
      h("span.cat", {}, h("span.line", { "data-l": "l1" }), "p50"),
    ),
  );
  const blame = trendBlame(t);
  if (blame) box.append(blame);
  // Columns that say nothing are left out.
  const [commits, doubts] = ["commit", "doubt"].map((what) => t.points.some((p) => t.runs[p.run][what]));
  box.append(
    h("h2", {}, "Runs"),
    table(
      [
        { text: "Run" },
        { text: "n", num: true },
        { text: "p50 ms", num: true },
        { text: "p95 ms", num: true },
        { text: "mean ms", num: true },
        ...(commits ? [{ text: "Commit" }] : []),
        ...(doubts ? [{ text: "Doubt" }] : []),
      ],
      [...t.points].reverse().map((p) => {
        const run = t.runs[p.run];
        return [
          {
            c: h(
              "span",
              {},
              link(run.link, run.at),
              " ",
              run.tags.map((tag) => pill("", tag)),
            ),
            v: run.at,
          },
          { c: count(p.n), v: p.n },
          { c: num(ms(p.p50), p.p50), v: p.p50 },
          { c: num(ms(p.p95), p.p95), v: p.p95 },
          { c: num(ms(p.mean), p.mean), v: p.mean },
          ...(commits ? [{ c: run.commit ? h("code", {}, run.commit.slice(0, 12)) : "", v: run.commit || "" }] : []),
          ...(doubts ? [{ c: run.doubt || "", v: run.doubt || "" }] : []),
        ];
      }),
      { caption: "Runs of the trend", sort: true, copy: true, class: doubts ? "points doubts" : "points" },
    ),
  );
};
const msOf = (e, value) => (e.time ? msUnit(value) : e.measure === "error_rate" ? percent(value) : calls(value));
