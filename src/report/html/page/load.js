// What load does to it: saturation with the fitted law, and the mix by load level.

section("load", "Load and saturation", null, (box) => {
  const s = R.saturation,
    levels = s.levels;
  if (W.load.length)
    box.append(
      h(
        "ul.says",
        {},
        W.load.map((w) => h("li", {}, sentence(w))),
      ),
    );
  box.append(...searched(), ...changed());
  if (levels.length < 2) {
    box.append(
      h(
        "p.empty",
        {},
        levels.length
          ? `One load level only: ${rate(levels[0].achieved_per_s)} per s with ${grouped(levels[0].concurrency, 1)} requests under way. `
          : "",
        s.cannot_tell.map((t) => t[0].toUpperCase() + t.slice(1)).join(" "),
      ),
    );
    if (!levels.length) return;
  }
  if (levels.length > 1) box.append(h("div.two", {}, throughput(s), latencyByLoad(s)));
  const cats = CATEGORY_NAMES.filter((c) => levels.some((l) => l.categories[c] > 0));
  const longest = Math.max(...levels.map((l) => l.mean_ms), 1e-9);
  box.append(
    h("h3", {}, "By load level"),
    table(
      [
        { text: "Offered per s" },
        { text: "done per s", num: true },
        { text: "users", num: true },
        { text: "under way", num: true },
        { text: "n", num: true },
        { text: "mean ms", num: true },
        { text: "Where it went", pic: true },
      ],
      levels.map((l) => [
        { c: num(rate(l.offered_per_s), l.offered_per_s), v: l.offered_per_s },
        { c: num(rate(l.achieved_per_s), l.achieved_per_s), v: l.achieved_per_s },
        { c: l.users ? grouped(l.users, 1) : "–", v: l.users },
        { c: grouped(l.concurrency, 1), v: l.concurrency },
        { c: num(count(l.exchanges), l.exchanges), v: l.exchanges },
        { c: num(ms(l.mean_ms), l.mean_ms), v: l.mean_ms },
        {
          c: bar(
            cats.map((c) => [c, l.categories[c]]),
            longest,
            { label: `${rate(l.offered_per_s)} per s`, note: `n = ${count(l.exchanges)}` },
          ),
          md: "",
        },
      ]),
      { caption: "Load levels", copy: true, class: "levels" },
    ),
    legend(cats),
  );
});

function dots(u, points, c) {
  u.ctx.setLineDash([]);
  for (const [x, y] of points) {
    u.ctx.fillStyle = css("--" + c);
    u.ctx.strokeStyle = css("--panel");
    u.ctx.lineWidth = 1.5 * devicePixelRatio;
    u.ctx.beginPath();
    u.ctx.arc(u.valToPos(x, "x", true), u.valToPos(y, "y", true), 5 * devicePixelRatio, 0, 7);
    u.ctx.fill();
    u.ctx.stroke();
  }
}

// Throughputs that mean something; names of two lines that are close stand on their outer sides.
function levels(u, lines) {
  const known = lines.filter(([value]) => value).map(([value, ...what]) => [u.valToPos(value, "y", true), value, ...what]);
  const close = known.length > 1 && Math.abs(known[0][0] - known[1][0]) < 18 * devicePixelRatio;
  const lowest = Math.max(...known.map(([y]) => y));
  for (const [y, value, c, text] of known) level(u, y, c, `${text} ${rate(value)}`, close && y === lowest);
}

// A dashed line with its name.
function level(u, y, c, text, below) {
  u.ctx.save();
  u.ctx.strokeStyle = u.ctx.fillStyle = css("--" + c);
  u.ctx.lineWidth = 1.25 * devicePixelRatio;
  u.ctx.setLineDash([4, 4]);
  u.ctx.beginPath();
  u.ctx.moveTo(u.bbox.left, y);
  u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
  u.ctx.stroke();
  u.ctx.font = `${11.5 * devicePixelRatio}px ${css("--font")}`;
  u.ctx.textAlign = "right";
  u.ctx.textBaseline = below ? "top" : "bottom";
  u.ctx.fillText(text, u.bbox.left + u.bbox.width - 4, below ? y + 3 : y - 2);
  u.ctx.restore();
}

function throughput(s) {
  const points = s.levels.map((l) => [l.concurrency, l.achieved_per_s]);
  const most = Math.max(...points.map((p) => p[0])) * 1.5;
  const xs = Array.from({ length: 160 }, (_, i) => ((i + 1) / 160) ** 2 * most);
  const shape =
    s.contention && s.coherency ? (n) => n / (1 + s.contention[0] * (n - 1) + s.coherency[0] * n * (n - 1)) : null;
  // The law's shape is in the report; its scale is that which meets the levels best.
  const gamma = shape
    ? points.reduce((sum, [n, x]) => sum + x * shape(n), 0) / points.reduce((sum, [n]) => sum + shape(n) ** 2, 0)
    : 0;
  const law = shape ? xs.map((n) => Math.max(0, gamma * shape(n))) : xs.map(() => null);
  const inside = Math.max(...points.map((p) => p[0]));
  return h(
    "div",
    {},
    h("h3", {}, "Throughput over concurrency"),
    chart("Throughput over requests under way, with the fitted law", 250, () => ({
      data: [
        xs,
        law.map((v, i) => (xs[i] <= inside * 1.02 ? v : null)),
        law.map((v, i) => (xs[i] >= inside * 0.98 ? v : null)),
      ],
      scales: {
        x: { time: false, range: [0, most] },
        y: { range: [0, Math.max(...points.map((p) => p[1]), ...law.filter((v) => v !== null)) * 1.15] },
      },
      axes: [axis({ label: "requests under way", labelSize: 18, size: 34 }), axis({ label: "per s", size: 58 })],
      series: [
        {},
        { stroke: css("--l1"), width: 2, pxAlign: 0, points: { show: false } },
        { stroke: css("--l1"), width: 2, pxAlign: 0, dash: [6, 5], points: { show: false } },
      ],
      hooks: {
        draw: [
          (u) => {
            levels(u, [
              [s.capacity_per_s, "bad", "capacity"],
              [s.knee_per_s, "dim", "knee"],
            ]);
            dots(u, points, "l1");
          },
        ],
      },
      cursor: { points: { show: false } },
      tip: (u) => {
        const n = u.posToVal(u.cursor.left, "x");
        return [`${grouped(n, 1)} under way`, shape ? `law: ${rate(Math.max(0, gamma * shape(n)))} per s` : null];
      },
    })),
    h(
      "p.small.dim",
      {},
      shape
        ? `The Universal Scalability Law, fitted: contention ${percent(s.contention[0])} (work that must wait its turn; 95 % sure: ${percent(s.contention[1])} to ${percent(s.contention[2])}), coherency ${s.coherency[0] < 1e-9 ? "none" : s.coherency[0].toPrecision(2)} (work that grows with every pair of requests). Dots are the load levels (n below); the line is dashed beyond what was offered.`
        : "The points do not carry a fitted law; dots are the load levels (n below).",
    ),
  );
}

function latencyByLoad(s) {
  const cats = CATEGORY_NAMES.filter((c) => s.levels.some((l) => l.categories[c] > 0));
  const sorted = [...s.levels].sort((a, b) => a.concurrency - b.concurrency);
  const xs = sorted.map((l) => l.concurrency);
  const stack = [];
  let below = sorted.map(() => 0);
  cats.forEach((c) => {
    below = below.map((v, i) => v + sorted[i].categories[c]);
    stack.push([c, below]);
  });
  stack.reverse();
  return h(
    "div",
    {},
    h("h3", {}, "Latency over concurrency"),
    chart("Mean latency over requests under way, stacked by category", 250, () => ({
      data: [xs, ...stack.map((x) => x[1])],
      scales: { x: { time: false }, y: { range: (u, a, b) => [0, b * 1.1] } },
      axes: [axis({ label: "requests under way", labelSize: 18, size: 34 }), msAxis({ label: "mean ms" })],
      series: [{}, ...stack.map(([c]) => ({ stroke: color(c), fill: color(c), width: 0.5, points: { show: false } }))],
      hooks: {
        draw: [
          (u) => {
            dots(
              u,
              sorted.map((l) => [l.concurrency, l.mean_ms]),
              "text",
            );
          },
        ],
      },
      cursor: { points: { show: false } },
      tip: (u, i) =>
        i === null
          ? null
          : [
              `${grouped(xs[i], 1)} under way, ${rate(sorted[i].achieved_per_s)} per s, n = ${count(sorted[i].exchanges)}`,
              `mean ${msUnit(sorted[i].mean_ms)}`,
              ...cats
                .filter((c) => sorted[i].categories[c] > 0)
                .map((c) => h("span", {}, category(c), " ", msUnit(sorted[i].categories[c]))),
            ],
    })),
    h("p.small.dim", {}, "Means of the load levels (n below); the parts add up to the mean at each dot."),
  );
}

// What a search for the capacity tried, where there was one.
function searched() {
  const c = R.capacity;
  if (!c) return [];
  const said = [
    c.capacity_per_s === null
      ? "The search found no capacity."
      : `The search found a capacity of ${rate(c.capacity_per_s)} per s.`,
    c.holds_per_s === null ? "No rate held." : `${rate(c.holds_per_s)} per s held.`,
    c.breaks_per_s === null ? "" : `${rate(c.breaks_per_s)} per s did not.`,
  ];
  const head = [
    { text: "Rate per s" },
    { text: "from", num: true },
    { text: "for", num: true },
    { text: "n", num: true },
    { text: "errors", num: true },
    { text: "p50 ms", num: true },
    { text: "p95 ms", num: true },
    { text: "broke by" },
  ];
  const rows = c.probes.map((p) => [
    { c: num(rate(p.rate_per_s), p.rate_per_s), v: p.rate_per_s },
    { c: clock(p.at_s), v: p.at_s },
    { c: clock(p.length_s), v: p.length_s },
    { c: num(count(p.exchanges), p.exchanges), v: p.exchanges },
    { c: num(count(p.errors), p.errors), v: p.errors },
    { c: num(ms(p.p50_ms), p.p50_ms), v: p.p50_ms },
    { c: num(ms(p.p95_ms), p.p95_ms), v: p.p95_ms },
    p.broke ? name(p.broke) : h("span.pill.ok", {}, "held"),
  ]);
  return [
    h("h3", {}, "Search for the capacity"),
    h(
      "p",
      {},
      said.join(" "),
      c.broke_by ? [" Broke by ", name(c.broke_by), "."] : "",
      c.cut_short ? ` ${c.cut_short}` : "",
    ),
    table(head, rows, { sort: true, copy: true, caption: "Search for the capacity", class: "probes" }),
  ];
}

// What was done to the load while it ran, and what tracing costs.
function changed() {
  const out = [];
  if (R.load.changes.length)
    out.push(
      h("h3", {}, "Changed while it ran"),
      h(
        "ul.plain",
        {},
        R.load.changes.slice(0, 50).map((c) => h("li", {}, `at ${clock(c.at_s)}: `, name(c.what))),
      ),
    );
  const t = R.trace_cost;
  if (t) {
    const row = (label, r) => [
      label,
      { c: num(r.ratio.toFixed(3), r.ratio) },
      `${r.low.toFixed(3)} to ${r.high.toFixed(3)}`,
    ];
    out.push(
      h("h3", {}, "What tracing costs"),
      table(
        [{ text: "With tracing, times" }, { text: "ratio", num: true }, { text: "95 % sure" }],
        [row("p50", t.p50), row("p95", t.p95), row("rate", t.rate)],
        { caption: "What tracing costs", class: "narrow" },
      ),
      h(
        "p.small.dim",
        {},
        `${t.pairs} pairs of ${clock(t.stretch_s)} with and without; ${plural(t.exchanges_on, "request", "requests")} with, ${count(t.exchanges_off)} without.`,
      ),
    );
  }
  return out;
}
