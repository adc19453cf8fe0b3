// How latency is distributed: by percentile, and over time with the load that went with it.

const LINES = ["l1", "l2", "l3", "l4", "l5", "l6"];

section("latency", "Latency", null, (box) => {
  const inner = h("div");
  box.append(inner);
  const draw = () => inner.replaceChildren(...distribution(), ...overTime());
  draw();
  onState(draw);
});

// Where a quantile stands on the axis: nines at even distances.
const nines = (q) => -Math.log10(1 - q);

function distribution() {
  const shown = shownSteps();
  const steps = [...shown]
    .filter((s) => s.p.latency.length > 2)
    .sort((a, b) => b.latency_ms.p95 - a.latency_ms.p95)
    .slice(0, 6);
  if (!steps.length) return [h("p.empty", {}, shown.length ? "Too few requests: two of a step make a distribution." : "No request was made.")];
  // Traces that were recorded without a load have no moment when they were due.
  const one = steps.length === 1 && R.run.origin !== "traces";
  const lines = steps.map((s, i) => ({ label: s.label, points: s.p.latency, stroke: LINES[i] }));
  if (one)
    lines.push({
      label: "from the actual start (service time)",
      points: steps[0].p.service,
      stroke: "l2",
      dash: [6, 4],
    });
  const at = (points, end) => points.map(([q, v]) => [nines(q), v]).filter(([x]) => x < end);
  // Where all requests end: the maximum stands at one request in n.
  const closed = lines.map((l, i) => {
    const n = steps[Math.min(i, steps.length - 1)].exchanges;
    const end = Math.max(Math.log10(n), 0.31);
    return [...at(l.points, end), [end, l.points[l.points.length - 1][1]]];
  });
  const xs = [...new Set(closed.flatMap((points) => points.map((p) => p[0])))].sort((a, b) => a - b);
  const series = closed.map((points) => {
    const known = new Map(points);
    return xs.map((x) => known.get(x));
  });
  const values = closed.flatMap((points) => points.map((p) => p[1])).filter((v) => v > 0);
  const log = Math.max(...values) / Math.min(...values) > 40;
  const last = Math.max(...xs);
  const splits = [0, 0.30103, 1, 1.30103, 2, 3, 4, 5, 6].filter((x) => x <= last + 0.01);
  const names = {
    0: "0",
    0.30103: "p50",
    1: "p90",
    1.30103: "p95",
    2: "p99",
    3: "p99.9",
    4: "p99.99",
    5: "p99.999",
    6: "p99.9999",
  };
  const quantileName = (x) =>
    x <= 0 ? "p0" : "p" + Number((100 * (1 - 10 ** -x)).toPrecision(x < 2 ? 3 : Math.ceil(x) + 2));
  const head = [
    { text: "Step" },
    { text: "n", num: true },
    { text: "mean", num: true },
    { text: "p50", num: true },
    { text: "p90", num: true },
    { text: "p95", num: true },
    { text: "p99", num: true },
    { text: "p99.9", num: true },
    { text: "max", num: true },
  ];
  const row = (label, s, l) => [
    label,
    { c: num(count(s.exchanges), s.exchanges) },
    ...["mean", "p50", "p90", "p95", "p99", "p999", "max"].map((q) => ({ c: num(ms(l[q]), l[q]), v: l[q] })),
  ];
  const rows = () =>
    shownSteps().flatMap((s) => [
      row(s.label, s, s.latency_ms),
      row(s.label + ", from the actual start", s, s.service_time_ms),
    ]);
  return [
    h("h3", {}, "Distribution"),
    h(
      "p.lead",
      {},
      `Each line says how long the fastest so many per cent took at most; the end of a line is the slowest request.${one ? " The dashed line counts from the actual start: where both differ, hotspan was late." : steps.length < shownSteps().length ? " The six steps with the highest p95." : ""}`,
    ),
    chart("Latency by percentile" + (one ? " of " + steps[0].label : ""), 280, (width) => ({
      data: [xs, ...series],
      scales: {
        x: { time: false, range: [0, last * 1.02] },
        y: log ? { distr: 3 } : { range: (u, a, b) => [0, b * 1.06] },
      },
      axes: [
        axis({ splits: () => splits.filter((x) => x !== 1.30103 || (0.3 / last) * (width - 80) > 34), values: (u, s) => s.map((x) => names[x] ?? ""), size: 30 }),
        log ? logAxis() : msAxis(),
      ],
      series: [
        {},
        ...lines.map((l) => ({
          stroke: color(l.stroke),
          width: 2,
          dash: l.dash,
          spanGaps: true,
          points: { show: false },
        })),
      ],
      tip: (u) => {
        const x = u.posToVal(u.cursor.left, "x");
        return [
          quantileName(x),
          ...lines.map((l, i) => {
            const point = closed[i].findLast((p) => p[0] <= x) || closed[i][0];
            return h("span", {}, swatch(l.stroke), l.label, " ", msUnit(point[1]));
          }),
        ];
      },
    })),
    h(
      "div.legend",
      {},
      lines.map((l) => h("span.cat", {}, swatch(l.stroke, l.dash), l.label)),
    ),
    behind("Percentiles in ms", head, rows),
  ];
}
const swatch = (c, dash) => h("span.line" + (dash ? ".dash" : ""), { "data-l": c, "aria-hidden": "true" });

// Counts by slice group and bucket, over the steps that have them.
function heatOf(steps) {
  const rich = steps.filter((s) => s.p.heat.length);
  if (!rich.length) return null;
  const n = P.load.started.length;
  const cells = Array.from({ length: n }, () => new Map());
  const starts = new Map();
  for (const s of rich) {
    s.p.heat_starts_ms.forEach((v, i) => starts.set(s.p.heat_first + i, v));
    s.p.heat.forEach((slice, at) => {
      for (let i = 1; i < slice.length; i++)
        if (slice[i]) cells[at].set(slice[0] + i - 1, (cells[at].get(slice[0] + i - 1) || 0) + slice[i]);
    });
  }
  // Between the latencies of two steps there may be buckets that none of them knows: sixteen to an octave of nanoseconds.
  const [first, last] = [Math.min(...starts.keys()), Math.max(...starts.keys())];
  for (let b = first; b <= last; b++) {
    const octave = Math.max(0, Math.floor(b / 16) - 1);
    if (!starts.has(b)) starts.set(b, ((b - 16 * octave) * 2 ** octave) / 1e6);
  }
  return { cells, starts, missing: steps.length - rich.length };
}
// The latency below which a share of a slice's requests lie, by bucket: the middle of the bucket.
function quantileOf(cells, starts, q) {
  const buckets = [...cells.keys()].sort((a, b) => a - b);
  const n = buckets.reduce((sum, b) => sum + cells.get(b), 0);
  if (!n) return null;
  const rank = Math.max(1, Math.ceil(q * n));
  let seen = 0;
  for (const b of buckets) {
    seen += cells.get(b);
    if (seen >= rank) return (starts.get(b) + (starts.get(b + 1) ?? starts.get(b) * 1.06)) / 2;
  }
  return null;
}

function overTime() {
  const steps = shownSteps();
  const heat = heatOf(steps);
  if (heat && tooShort()) return [h("p.empty", {}, TOO_SHORT)];
  if (!heat)
    return steps.length
      ? [h("p.empty", {}, "Pictures over time are kept for the twelve steps with most time only.")]
      : [];
  const total = steps.reduce((n, s) => n + s.exchanges, 0);
  const columns = grouping(total, heat.cells.length);
  const merged = [];
  for (let i = 0; i < heat.cells.length; i += columns) {
    const sum = new Map();
    heat.cells.slice(i, i + columns).forEach((cells) => cells.forEach((v, b) => sum.set(b, (sum.get(b) || 0) + v)));
    merged.push(sum);
  }
  // Rows of a height that can be seen: some buckets together, as many as make about forty of them.
  const rowsTogether = Math.max(1, 2 ** Math.ceil(Math.log2(heat.starts.size / 44)));
  const width = (columns * P.slice_ms) / 1000;
  const times = merged.map((_, i) => (i + 0.5) * width);
  const counts = merged.map((m) => [...m.values()].reduce((a, b) => a + b, 0));
  const q = (p) => merged.map((m) => quantileOf(m, heat.starts, p));
  const [p50, p95, p99] = [q(0.5), q(0.95), q(0.99)];
  const errors = coarser(course(steps).errors, columns);
  const perSecond = counts.map((n) => n / width);
  const lowest = Math.min(...[...heat.starts.values()].filter((v) => v > 0));
  const highest = Math.max(...heat.starts.values());
  const whole =
    state.filter >= 0
      ? STEPS[state.filter].label
      : heat.missing
        ? `the ${count(steps.length - heat.missing)} steps with most time`
        : "all steps";
  const head = [
    { text: "From the start" },
    { text: "requests", num: true },
    { text: "per s", num: true },
    { text: "errors", num: true },
    { text: "p50 ms", num: true },
    { text: "p95 ms", num: true },
    { text: "p99 ms", num: true },
  ];
  const sync = uPlot.sync("time-" + Math.random());
  const cursor = { sync: { key: sync.key }, y: false };
  const say = (i) =>
    i === null || counts[i] === undefined
      ? null
      : [
          `at ${clock(times[i])}`,
          `${plural(counts[i], "request", "requests")} due (${rate(perSecond[i])} per s)${errors[i] ? `, ${count(errors[i])} failed` : ""}`,
          `p50 ${msUnit(p50[i] ?? 0)} · p95 ${msUnit(p95[i] ?? 0)} · p99 ${msUnit(p99[i] ?? 0)}`,
        ];
  const lines = [
    [p50, "l3", "p50"],
    [p95, "l2", "p95"],
    [p99, "l4", "p99"],
  ];
  return [
    h("h3", {}, "Over time, with load"),
    h(
      "p.lead",
      {},
      `Every request of ${whole} stands in a cell by when it was due and how long it took; the stronger the colour, the more. Lines are percentiles of each column, from the cells and so within 3 %.`,
    ),
    chart(`Heat map of latency over time, ${whole}`, 300, () => ({
      data: [times, ...lines.map((l) => l[0])],
      scales: { x: { time: false, range: [0, merged.length * width] }, y: { distr: 3, range: [lowest, highest] } },
      // No lines over the cells.
      axes: [secondsAxis({ grid: { show: false } }), logAxis({ grid: { show: false } })],
      // As wide as the chart below, which has an axis on the right.
      padding: [10, 78, 0, 0],
      series: [{}, ...lines.map((l) => ({ stroke: color(l[1]), width: 2, spanGaps: false, points: { show: false } }))],
      hooks: { drawClear: [(u) => paintHeat(u, merged, heat.starts, width, rowsTogether)] },
      cursor,
      tip: (u, i) => say(i),
    })),
    h(
      "div.legend",
      {},
      lines.map((l) => h("span.cat", {}, swatch(l[1]), l[2])),
      h("span.cat", {}, h("span.ramp", { "aria-hidden": "true" }), "few to many requests"),
    ),
    chart(`Load over time, ${whole}`, 150, () => ({
      data: [times, perSecond, errors.map((n) => n / width), coarser(P.load.busy, columns).map((v) => v / columns)],
      scales: {
        x: { time: false, range: [0, merged.length * width] },
        y: { range: (u, a, b) => [0, Math.max(b * 1.1, 1)] },
        n: { range: (u, a, b) => [0, Math.max(b * 1.1, 1)] },
      },
      axes: [
        secondsAxis(),
        axis({ label: "requests per s", size: 58 }),
        axis({ scale: "n", side: 1, grid: { show: false }, label: "under way", size: 46, labelSize: 20 }),
      ],
      series: [
        {},
        { stroke: color("l1"), fill: css("--l1-soft"), width: 1.5, points: { show: false } },
        { show: errors.some((n) => n > 0), stroke: css("--bad"), width: 1.5, points: { show: false } },
        { scale: "n", stroke: css("--dim"), width: 1.5, dash: [5, 4], points: { show: false } },
      ],
      cursor,
      tip: (u, i) =>
        say(i) && [
          ...say(i),
          `${grouped(coarser(P.load.busy, columns)[i] / columns, 1)} requests of the run under way`,
        ],
    })),
    h(
      "div.legend",
      {},
      h("span.cat", {}, swatch("l1"), "requests due per s"),
      errors.some((n) => n > 0) ? h("span.cat", {}, swatch("bad"), "errors per s") : null,
      h("span.cat", {}, swatch("dim", true), "requests under way, whole run"),
    ),
    heat.missing > 0
      ? h(
          "p.small.dim",
          {},
          `Without ${plural(heat.missing, "step", "steps")}: cells are kept for the twelve with most time.`,
        )
      : null,
    behind("Latency over time", head, () =>
      times.map((t, i) => [
        clock(t),
        { c: count(counts[i]), v: counts[i] },
        rate(perSecond[i]),
        count(errors[i]),
        ms(p50[i]),
        ms(p95[i]),
        ms(p99[i]),
      ]),
    ),
  ].filter(Boolean);
}

function paintHeat(u, buckets, starts, width, together) {
  const merged = buckets.map((cells) => {
    const rows = new Map();
    cells.forEach((n, b) => {
      const row = b - (b % together);
      rows.set(row, (rows.get(row) || 0) + n);
    });
    return rows;
  });
  const start = (b) => {
    for (let at = b; at < b + together; at++) if (starts.has(at)) return starts.get(at);
    return Math.max(...starts.values());
  };
  const most = Math.max(...merged.map((m) => Math.max(0, ...m.values())), 1);
  const [r, g, b] = css("--heat").split(",").map(Number);
  const ctx = u.ctx;
  ctx.save();
  ctx.beginPath();
  ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  ctx.clip();
  merged.forEach((cells, i) => {
    const left = Math.round(u.valToPos(i * width, "x", true)),
      right = Math.round(u.valToPos((i + 1) * width, "x", true));
    for (const [bucket, n] of cells) {
      const low = Math.max(start(bucket), 1e-6);
      const top = Math.round(u.valToPos(start(bucket + together), "y", true)),
        bottom = Math.round(u.valToPos(low, "y", true));
      ctx.fillStyle = `rgba(${r},${g},${b},${(0.1 + 0.85 * Math.sqrt(n / most)).toFixed(3)})`;
      ctx.fillRect(left, top, Math.max(1, right - left), Math.max(1, bottom - top));
    }
  });
  ctx.restore();
}
