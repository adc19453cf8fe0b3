// A run while it goes on: asked for once a second, drawn anew where something changed.

const FACTORS = [
  0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8, 10,
];
const nextFactor = (factor, more) =>
  more
    ? FACTORS.find((f) => f > factor + 1e-6) || factor
    : [...FACTORS].reverse().find((f) => f < factor - 1e-6) || factor;

// A chart whose data come later: `data()` is asked each time it is told to draw.
function liveChart(label, data, options) {
  let u = null;
  const el = h("div.chart", { role: "img", "aria-label": label });
  const draw = drawn(el, (width) => {
    const built = {
      width,
      height: 190,
      legend: { show: false },
      padding: [10, 12, 0, 0],
      cursor: { points: { size: 6 }, drag: { x: false, y: false } },
      ...options(),
    };
    el.replaceChildren();
    u = new uPlot(built, data(), el);
    if (built.tip) {
      u.over.addEventListener("mousemove", (event) => {
        const lines = u.cursor.left >= 0 ? built.tip(u, u.cursor.idx) : null;
        if (lines) tip.show(event, lines);
        else tip.hide();
      });
      u.over.addEventListener("mouseleave", tip.hide);
    }
    return () => {
      u.destroy();
      u = null;
    };
  });
  el.style.minHeight = "190px";
  return {
    el,
    update: () => {
      if (u) u.setData(data());
      else draw();
    },
  };
}

function liveCharts(get) {
  const line = (l, more) => ({ stroke: css("--" + l), width: 2, points: { show: false }, ...more });
  const seconds = () => get().seconds.map((s) => s[0]);
  const grow = { range: (u, a, b) => [0, (b || 1) * 1.12] };
  // Ten seconds at least, so that the first points do not stand at the far end.
  const since = { time: false, range: (u, a, b) => [a || 0, Math.max(b || 0, (a || 0) + 10)] };
  const anyFailed = () => get().seconds.some((s) => s[5] > 0);
  const rateChart = liveChart(
    "Requests per second that ended, and arrivals that were due",
    () => [
      seconds(),
      get().seconds.map((s) => s[1]),
      get().seconds.map((s) => (get().open_model ? s[3] : null)),
      get().seconds.map((s) => (anyFailed() ? s[5] : null)),
    ],
    () => ({
      scales: { x: since, y: grow },
      axes: [secondsAxis(), axis({ size: 58, label: "per second", values: (u, at) => at.map((v) => rate(v).replace(/\.0+$/, "")) })],
      series: [{}, line("l1", { fill: css("--l1-soft") }), line("l6", { dash: [6, 4] }), line("bad")],
      tip: (u, i) => {
        const s = get().seconds[i];
        return (
          s && [
            clock(s[0]),
            `${rate(s[1])} requests per second`,
            get().open_model ? `${rate(s[3])} due` : null,
            `${rate(s[5])} failed`,
            `${count(s[4])} ${get().open_model ? "under way" : "users"}`,
          ]
        );
      },
    }),
  );
  const latencyChart = liveChart(
    "p50, p95 and p99 of each second",
    () => [seconds(), ...[0, 1, 2].map((q) => get().latency.map((p) => (p ? p[q] : null)))],
    () => ({
      scales: { x: since, y: grow },
      axes: [secondsAxis(), msAxis()],
      series: [{}, line("l1"), line("l2"), line("l4")],
      tip: (u, i) => {
        const p = get().latency[i];
        return p && [clock(get().seconds[i][0]), `p99 ${msUnit(p[2])}`, `p95 ${msUnit(p[1])}`, `p50 ${msUnit(p[0])}`];
      },
    }),
  );
  const blameSeen = () => CATEGORY_NAMES.filter((c) => get().blame.some((b) => b[1][c] > 0));
  const blameChart = liveChart(
    "Mean latency by category as spans come in",
    () => [get().blame.map((b) => b[0]), get().blame.map((b) => Object.values(b[1]).reduce((sum, v) => sum + v, 0))],
    () => ({
      scales: {
        x: {
          time: false,
          range: (u, a, b) => {
            const from = Math.min(a || 0, seconds()[0] || 0);
            return [from, Math.max(b || 0, seconds().at(-1) || 0, from + 10)];
          },
        },
        y: grow,
      },
      axes: [secondsAxis(), msAxis()],
      series: [{}, { paths: () => null, points: { show: false } }],
      cursor: { points: { show: false }, drag: { x: false, y: false } },
      hooks: {
        draw: [
          (u) => {
            const all = get().blame;
            const unit = Math.abs(u.valToPos(1, "x", true) - u.valToPos(0, "x", true));
            all.forEach(([at, parts], i) => {
              const from = i ? Math.max(all[i - 1][0], at - 3) : at - 1;
              let sum = 0;
              for (const c of blameSeen()) {
                const v = parts[c] || 0;
                if (!v) continue;
                u.ctx.fillStyle = color(c);
                const top = u.valToPos(sum + v, "y", true),
                  bottom = u.valToPos(sum, "y", true),
                  right = u.valToPos(at, "x", true);
                u.ctx.fillRect(
                  right - (at - from) * unit,
                  top,
                  Math.max(1, (at - from) * unit - (unit > 6 ? 1 : 0)),
                  bottom - top,
                );
                sum += v;
              }
            });
          },
        ],
      },
      tip: (u, i) => {
        const b = get().blame[i];
        return (
          b && [
            clock(b[0]),
            ...Object.entries(b[1])
              .sort((x, y) => y[1] - x[1])
              .map(([c, v]) => h("span", {}, category(c), " ", msUnit(v))),
          ]
        );
      },
    }),
  );
  const blameLegend = h("div");
  const key = (l, text, dash) =>
    h("span.cat", {}, h("span.line", { class: "line" + (dash ? " dash" : ""), "data-l": l }), text);
  return {
    el: h(
      "div",
      {},
      h(
        "div.two.charts",
        {},
        h(
          "div",
          {},
          h("h3", {}, "Requests"),
          rateChart.el,
          h(
            "div.legend",
            {},
            key("l1", "ended"),
            get().open_model ? key("l6", "due", true) : null,
            key("bad", "failed"),
          ),
        ),
        h(
          "div",
          {},
          h("h3", {}, "Latency"),
          latencyChart.el,
          h("div.legend", {}, key("l4", "p99"), key("l2", "p95"), key("l1", "p50")),
        ),
      ),
      h("h3", {}, "Blame as it happens"),
      blameChart.el,
      blameLegend,
    ),
    update: () => {
      rateChart.update();
      latencyChart.update();
      blameChart.update();
      const seen = blameSeen();
      blameLegend.replaceChildren(
        seen.length
          ? legend(seen)
          : h(
              "p.small.dim",
              {},
              get().expects_spans
                ? "Blame comes when the spans of the first requests are complete, some seconds after they ended."
                : "No server spans are expected in this run.",
            ),
      );
    },
  };
}

function liveFigures(look) {
  const l = look.load;
  const now = look.now;
  const figure = (title, value, unit, small, bad) =>
    h(
      "div.figure",
      { class: "figure" + (bad ? " bad" : "") },
      h("dt", {}, title),
      h("dd", {}, h("strong", {}, value), unit ? h("span.unit", {}, unit) : null, small ? h("small", {}, small) : null),
    );
  return h(
    "dl.figures",
    {},
    figure("Requests", rate(now.rate), "per second", `${count(l.done)} so far`),
    figure(
      look.open_model ? "Under way" : "Users",
      count(l.users),
      "",
      l.users_planned !== null ? `of ${count(l.users_planned)} planned` : `${count(l.in_flight)} requests`,
    ),
    figure(
      "p95, last 10 s",
      now.p95 === null ? "–" : ms(now.p95),
      "ms",
      now.p50 === null ? "" : `p50 ${ms(now.p50)}, p99 ${ms(now.p99)}`,
    ),
    figure(
      "Errors",
      count(l.errors),
      "",
      l.checks_failed
        ? `${plural(l.checks_failed, "check", "checks")} did not hold`
        : l.done
          ? percent(l.errors / l.done)
          : "",
      l.errors > 0,
    ),
    figure(
      "Joined",
      look.spans.traced ? percent(look.spans.joined / look.spans.traced) : "–",
      "",
      plural(look.spans.stored, "span", "spans"),
    ),
    figure(
      "Generator",
      look.generator.limit ? "busy" : "fine",
      "",
      look.generator.limit || `${percent(look.generator.busiest_thread)} of its busiest core`,
      Boolean(look.generator.limit),
    ),
  );
}

function liveStages(look) {
  const l = look.load;
  const total = look.stages.reduce((sum, s) => sum + s.seconds, 0) || 1;
  const bars = h(
    "div.stages",
    { role: "img", "aria-label": look.stage ? `Stage ${look.stage[0] + 1} of ${look.stages.length}` : "Stages" },
    look.stages.map((s, i) => {
      const part = h("span", { title: s.words });
      part.style.flexGrow = String(s.seconds / total);
      const done = look.stage ? (i < look.stage[0] ? 1 : i === look.stage[0] ? look.stage[1] : 0) : 0;
      part.append(wide(h("i"), 0, done));
      return part;
    }),
  );
  const at = look.stage && look.stages[look.stage[0]];
  const words = [
    at ? `${look.stages.length > 1 ? `Stage ${look.stage[0] + 1} of ${look.stages.length}: ` : ""}${at.words}` : "",
    look.status || l.left_s === null ? "" : l.paused ? "paused" : `${clock(l.left_s)} left`,
    l.stopping ? "stopping: what is under way may end" : "",
  ].filter(Boolean);
  return h("div", {}, look.stages.length ? bars : null, h("p.small.dim", {}, words.join(" · ")));
}

function liveSteps(look) {
  const most = Math.max(...look.rows.map((r) => r.mean_ms || 0), 1e-9);
  return h(
    "div",
    {},
    h("h3", {}, "Steps"),
    table(
      [
        { text: "Step" },
        { text: "per second", num: true },
        { text: "errors", num: true },
        { text: "p50 ms", num: true },
        { text: "p95 ms", num: true },
        { text: "p99 ms", num: true },
        { pic: true, text: "Blame of the last 20 s" },
        { text: "joined", num: true },
      ],
      look.rows.map((r) => [
        h("span", {}, name(r.name), r.journey ? h("small.dim", {}, " " + r.journey) : null),
        rate(r.rate),
        h("span", { class: r.errors ? "bad" : null }, count(r.errors)),
        r.p50 === null ? "–" : ms(r.p50),
        r.p95 === null ? "–" : ms(r.p95),
        r.p99 === null ? "–" : ms(r.p99),
        r.mean_ms
          ? bar(
              CATEGORY_NAMES.filter((c) => r.categories[c]).map((c) => [c, r.categories[c]]),
              most,
              { label: r.name },
            )
          : h("span.dim.small", {}, "not yet"),
        r.blamed ? percent(r.joined / r.blamed) : "",
      ]),
      { caption: "Steps", class: "going" },
    ),
  );
}

function liveContributors(look) {
  if (!look.contributors.length) return null;
  return h(
    "div",
    {},
    h("h3", {}, "Top contributors, last 20 s"),
    table(
      [
        { text: "Who" },
        { text: "Category" },
        { text: "calls", num: true },
        { text: "mean ms", num: true },
        { text: "share", num: true },
      ],
      look.contributors.map((c) => [
        h("span", {}, h("span.what", { title: c.name }, c.name), h("small.dim", {}, " " + c.service)),
        category(c.category),
        c.calls ? calls(c.calls) : "–",
        ms(c.mean_ms),
        percent(c.share),
      ]),
      { caption: "Top contributors", class: "top-contributors" },
    ),
  );
}

function liveControls(page, get, say) {
  const change = async (fields) => {
    try {
      const { ok, value } = await send("/live/change", page.csrf, fields);
      say(ok ? value.done : value.error, !ok);
    } catch {
      say("The server does not answer.", true);
    }
  };
  const button = (text, fields, kind) =>
    h(
      "button",
      { type: "button", class: kind || null, onclick: () => change(typeof fields === "function" ? fields() : fields) },
      text,
    );
  const factor = h("output", { "aria-label": "Load, as a multiple of what is planned" }, "×" + NARROW + "1");
  const pause = button("Pause", () => ({ change: get().load.paused ? "resume" : "pause" }));
  const step = (more) => () => ({ change: "factor", factor: String(nextFactor(get().load.factor, more)) });
  const less = button("Less load", step(false)),
    more = button("More load", step(true));
  const next = button("Next stage", { change: "next_stage" });
  const stop = button("Stop and report", { change: "stop" }, "primary");
  const now = button("Stop at once", { change: "stop_now" }, "danger");
  const all = [pause, less, more, next, stop, now];
  return {
    el: h(
      "div.controls",
      { role: "group", "aria-label": "The load" },
      pause,
      less,
      factor,
      more,
      next,
      h("span.apart"),
      stop,
      now,
    ),
    update(look, running) {
      all.forEach((b) => {
        b.disabled = !running || !look;
      });
      if (!look) return;
      pause.textContent = look.load.paused ? "Resume" : "Pause";
      factor.textContent = "×" + NARROW + String(Math.round(look.load.factor * 100) / 100);
      next.disabled = next.disabled || look.stages.length < 2;
    },
  };
}

pages.live = (box, page) => {
  let state = page.state;
  const head = h("h1.headline.plain");
  const sub = h("p.run-line");
  const problem = h("div");
  const told = h("p.small", { role: "status", "aria-live": "polite" });
  const dynamic = h("div"),
    below = h("div"),
    notes = h("ul.says-list");
  const get = () => state.look;
  const controls = liveControls(page, get, (text, bad) => {
    told.className = "small" + (bad ? " bad" : "");
    told.textContent = clean(text);
  });
  let charts = null;
  // Only a page that saw it run goes on to the report by itself.
  let sawRunning = false;
  const over = () => state.state === "ended" || state.state === "failed";
  const update = () => {
    const look = get();
    head.textContent = clean(look ? look.name : state.scenario);
    const after = state.state === "running" && look && look.status;
    const doing = {
      starting: "starting",
      running: after ? "load is over" : "running",
      ended: "over",
      failed: "failed",
    }[state.state];
    // What is said at a terminal names its keys; here there are none.
    const status = after ? look.status.replace(/ \(Ctrl-C[^)]*\)/, "") : "";
    sub.replaceChildren(
      pill(state.state === "failed" ? "bad" : state.state === "ended" ? "ok" : "", doing),
      ...[look ? look.target : "", state.scenario, status].filter(Boolean).map((t) => " · " + clean(t)),
    );
    problem.replaceChildren();
    if (state.state === "failed")
      problem.append(
        h(
          "div.warnings",
          {},
          h("p.sub", {}, "It could not run"),
          h(
            "ul",
            {},
            state.said.slice(-6).map((l) => h("li", {}, l)),
          ),
        ),
      );
    if (state.run && over())
      problem.append(
        h(
          "p.ways",
          {},
          h("a.button.primary", { href: `/runs/${state.run}/report` }, "Its report"),
          h("a.button", { href: `/runs/${state.run}` }, "The run"),
        ),
      );
    controls.el.hidden = over();
    controls.update(look, state.state === "running" && look && !look.status && !look.load.stopping);
    if (look) {
      dynamic.replaceChildren(liveStages(look), liveFigures(look));
      if (!charts) {
        charts = liveCharts(get);
        dynamic.after(charts.el);
      }
      charts.update();
      below.replaceChildren(liveSteps(look), add(h("div"), [liveContributors(look)]));
      notes.replaceChildren(...look.notes.map((n) => h("li", {}, n)));
    }
  };
  if (!state) {
    box.append(
      h("h1.headline.plain", {}, "No run yet"),
      h("p.lead", {}, "A run that is started here is watched here."),
      h("p", {}, link("/start", "Start one")),
    );
    return;
  }
  box.append(head, sub, problem, controls.el, told, dynamic, below, notes);
  update();
  const ask = async () => {
    if (!over()) sawRunning = true;
    try {
      const answer = await fetch("/live/state");
      if (answer.ok) {
        const fresh = await answer.json();
        // What was last seen stays while the report is made.
        state = { ...fresh, look: fresh.look || (fresh.number === state.number ? state.look : null) };
        update();
      }
    } catch {
      told.textContent = "The server does not answer; is it still running?";
    }
    if (sawRunning && state.state === "ended" && state.run) location.assign(`/runs/${state.run}/report`);
    else if (!over()) setTimeout(ask, 1000);
  };
  if (!over()) ask();
};
