// Whose time it was: every step, then one step by latency band, by contributor and over time.

// More steps than this are not shown at once: so many are read by nobody, and make a page slow to open.
const MANY = 60,
  SHOWN = 40;
const partsOf = (categories, of) => CATEGORY_NAMES.map((c) => [c, of(categories[c])]);

section(
  "steps",
  "Steps",
  "Latency in ms from the moment a request was due. Bars show where the mean went; their length is the mean against that of the slowest step.",
  (box) => {
    let every = false;
    const draw = () => {
      const steps = shownSteps();
      const longest = Math.max(...steps.map((s) => s.latency_ms.mean), 1e-9);
      const head = [
        { text: "Step" },
        { text: "Requests", num: true },
        { text: "per s", num: true },
        { text: "Errors", num: true },
        { text: "mean", num: true },
        { text: "p50", num: true },
        { text: "p95", num: true },
        { text: "p99", num: true },
        { text: "max", num: true },
        { text: "Where the mean went", pic: true },
      ];
      // Of very many steps those with most time, in their order, until all are asked for.
      const most = every || steps.length <= MANY ? null : new Set([...steps].sort((a, b) => timeOf(b) - timeOf(a)).slice(0, SHOWN));
      const rows = (most ? steps.filter((s) => most.has(s)) : steps).map((s) => {
        const cell = (v, f = ms) => ({ c: num(f(v), v), v });
        const row = [
          {
            c: h(
              "button.name",
              { type: "button", onclick: () => setStep(s.index, false), title: "Show this step in the pictures below" },
              s.label,
            ),
            v: s.label,
          },
          cell(s.exchanges, count),
          cell(s.rate_per_s, rate),
          { c: h("span", { class: s.errors ? "bad" : null }, num(count(s.errors), s.errors)), v: s.errors },
          cell(s.latency_ms.mean),
          cell(s.latency_ms.p50),
          cell(s.latency_ms.p95),
          cell(s.latency_ms.p99),
          cell(s.latency_ms.max),
          {
            c: bar(
              partsOf(s.categories, (c) => c.mean_ms),
              longest,
              { text: "share", label: s.label, note: `n = ${count(s.exchanges)}` },
            ),
            md: "",
          },
        ];
        row.step = s.index;
        return row;
      });
      box.replaceChildren(
        rows.length
          ? table(head, rows, { sort: true, copy: true, caption: "Steps", class: "steps" })
          : h("p.empty", {}, "No request was made."),
        most
          ? h(
              "p.row",
              {},
              h(
                "button.tab",
                {
                  type: "button",
                  onclick: () => {
                    every = true;
                    draw();
                  },
                },
                `Show all ${count(steps.length)} steps`,
              ),
              h("span.dim.small", {}, ` These are the ${SHOWN} with most time.`),
            )
          : "",
        legend(seenCategories(steps)),
        STEPS.length > withData.length
          ? h(
              "p.small",
              {},
              `Without any request: ${STEPS.filter((s) => !s.exchanges)
                .map((s) => s.label)
                .slice(0, 20)
                .join(", ")}.`,
            )
          : null || "",
      );
      box.append(...checks(steps));
      const failing = steps.filter((s) => s.words.failures.length);
      if (failing.length)
        box.append(
          h("h3", {}, "Errors"),
          h(
            "dl.facts.wide.errors",
            {},
            failing.slice(0, 20).map((s) => [
              h("dt", {}, s.label, h("small", {}, `${count(s.errors)} of ${plural(s.exchanges, "request", "requests")}`)),
              h(
                "dd",
                {},
                s.words.failures.map((f) => h("div", {}, sentence(f))),
              ),
            ]),
          ),
        );
    };
    draw();
    onState(draw);
  },
);

// Checks: those that failed are seen at once; what held is said in a line, with its table behind it.
function checks(steps) {
  const all = steps.flatMap((s) => s.checks.filter((c) => c.passed + c.failed > 0).map((c) => [s, c]));
  if (!all.length) return [];
  const [failed, held] = [all.filter(([, c]) => c.failed), all.filter(([, c]) => !c.failed)];
  const head = [
    { text: "Step" },
    { text: "Check" },
    { text: "passed", num: true },
    { text: "failed", num: true },
    { text: "seen instead" },
  ];
  const row = ([s, c]) => [
    s.label,
    name(c.name),
    { c: num(count(c.passed), c.passed), v: c.passed },
    { c: h("span", { class: c.failed ? "bad" : null }, num(count(c.failed), c.failed)), v: c.failed },
    c.seen ? h("span.what", { title: c.seen }, c.seen) : "",
  ];
  const times = held.reduce((sum, [, c]) => sum + c.passed, 0);
  const holds = `${plural(held.length, "check", "checks")} held`;
  const more = held.length
    ? behind(`${failed.length || held.length === 1 ? holds : "All " + holds}, in ${plural(times, "answer", "answers")}`, head.slice(0, 3), () =>
        held.slice(0, 200).map((each) => row(each).slice(0, 3)),
      )
    : "";
  // What is said stands on paper too.
  if (more) more.classList.add("told");
  return [
    h("h3", {}, "Checks"),
    failed.length
      ? table(head, failed.slice(0, 100).map(row), { sort: true, copy: true, caption: "Failed checks", class: "checks" })
      : "",
    more,
  ];
}

const BANDS = [
  ["to_p50", "typical half", "up to p50"],
  ["p50_to_p90", "p50 to p90", "above the median"],
  ["p90_to_p99", "p90 to p99", "around p95"],
  ["above_p99", "above p99", "the worst 1 %"],
];

section(
  "blame",
  "Whose time it was",
  "Every nanosecond that a request took belongs to exactly one owner, so the parts add up to the latency in each row.",
  (box) => {
    const inner = h("div");
    box.append(stepTabs(), inner);
    const draw = () => {
      const s = focused();
      if (!s) return inner.replaceChildren(h("p.empty", {}, "No request was made."));
      const top = Math.max(...s.bands.map((b) => b.mean_ms), 1e-9);
      const bands = table(
        [
          { text: "Latency band" },
          { text: "n", num: true },
          { text: "mean ms", num: true },
          { text: "Where it went", pic: true },
        ],
        s.bands.map((b, i) => [
          h("span.band", {}, BANDS[i][1], h("small.dim", {}, " ", BANDS[i][2])),
          { c: num(count(b.exchanges), b.exchanges), v: b.exchanges },
          { c: num(b.exchanges ? ms(b.mean_ms) : "–", b.mean_ms), v: b.mean_ms },
          {
            c: b.exchanges
              ? bar(
                  partsOf(b.categories, (v) => v),
                  top,
                  { label: BANDS[i][1], note: `n = ${count(b.exchanges)}` },
                )
              : h("span.dim", {}, "no request"),
          },
        ]),
        { caption: `${s.label} by latency band`, copy: true, class: "bands" },
      );
      inner.replaceChildren(
        h(
          "div.two",
          {},
          h(
            "div",
            {},
            h("h3", {}, "By latency band"),
            bands,
            s.words.slow.length
              ? h(
                  "ul.says",
                  {},
                  s.words.slow.map((w) => h("li", {}, sentence(w))),
                )
              : null,
          ),
          h("div", {}, h("h3", {}, "Over time"), blameOverTime()),
        ),
        legend(CATEGORY_NAMES.filter((c) => s.categories[c].mean_ms > 0)),
        h("h3", {}, "Who owns the time"),
        ...contributors(s),
      );
    };
    draw();
    onState(draw);
  },
);

function blameOverTime() {
  const s = focused();
  const steps = s && s.p && s.p.slices ? [s] : [];
  if (!steps.length) return h("p.empty", {}, "Kept for the twelve steps with most time only.");
  if (tooShort()) return h("p.empty", {}, TOO_SHORT);
  const all = course(steps);
  // Blame of a sampled run is that of the requests that were recorded.
  const known = R.telemetry.traced && R.telemetry.traced < R.telemetry.exchanges ? s.joined : s.exchanges;
  const by = grouping(known, all.exchanges.length);
  const weight = coarser(all.weight, by);
  const seen = CATEGORY_NAMES.filter((c) => all.categories[c]);
  const times = weight.map((_, i) => ((i + 0.5) * by * P.slice_ms) / 1000);
  const mean = {};
  seen.forEach((c) => {
    mean[c] = coarser(all.categories[c], by).map((v, i) => (weight[i] ? v / weight[i] : null));
  });
  // Stacked: each series is the sum of itself and those below; drawn from the top so that the lower ones cover it.
  const stack = [];
  let below = times.map(() => 0);
  for (const c of seen) {
    below = below.map((v, i) => (mean[c][i] === null ? null : v + mean[c][i]));
    stack.push([c, below]);
  }
  stack.reverse();
  const rows = () =>
    times.map((t, i) => [
      clock(t),
      { c: num(count(weight[i]), weight[i]), v: weight[i] },
      ...seen.map((c) => ({ c: ms(mean[c][i]), v: mean[c][i] })),
    ]);
  return [
    chart(`Mean latency of ${s.label} over time, stacked by category`, 230, () => ({
      data: [times, ...stack.map((x) => x[1])],
      scales: {
        x: { time: false, range: [0, (times.length * by * P.slice_ms) / 1000] },
        y: { range: (u, a, b) => [0, Math.max(b * 1.05, 0.001)] },
      },
      axes: [secondsAxis(), msAxis({ label: "mean ms per request" })],
      series: [
        {},
        ...stack.map(([c]) => ({
          stroke: color(c),
          fill: color(c),
          width: 0.5,
          points: { show: false },
          paths: uPlot.paths.bars({ size: [1.001, Infinity], gap: 0 }),
        })),
      ],
      cursor: { points: { show: false } },
      tip: (u, i) =>
        i === null || weight[i] === undefined
          ? null
          : [
              `at ${clock(times[i])}, n = ${count(weight[i])}`,
              ...seen
                .filter((c) => mean[c][i] > 0)
                .reverse()
                .map((c) => h("span", {}, category(c), " ", msUnit(mean[c][i]))),
            ],
    })),
    h(
      "p.small.dim",
      {},
      `${plural(known, "request", "requests")}${known < s.exchanges ? ` with server spans of ${count(s.exchanges)}` : ""}, each column ${clock((by * P.slice_ms) / 1000)}`,
    ),
    behind(
      `Blame of ${s.label} over time`,
      [{ text: "From the start" }, { text: "n", num: true }, ...seen.map((c) => ({ text: c + " ms", num: true }))],
      rows,
    ),
  ];
}

function contributors(s) {
  const shown = s.contributors.filter((c, i) => i < 60 && (i < 8 || c.share >= 0.0005 || (c.tail_share || 0) >= 0.001));
  const rest = s.contributors.slice(shown.length);
  const most = Math.max(...shown.map((c) => c.mean_ms), 1e-9);
  const tailBand = s.bands[2];
  const head = [
    { text: "Category" },
    { text: "What" },
    { text: "Service" },
    { text: "calls", num: true, title: "calls per request with server spans" },
    { text: "call p50", num: true },
    { text: "call p95", num: true },
    { text: "mean ms", num: true, title: "on the critical path, per request" },
    { text: "share", num: true },
    { text: "at p95", num: true, title: "share of the latency of the requests between p90 and p99" },
    { text: "", pic: true, sr: "Time" },
  ];
  const rows = shown.map((c, i) => {
    const width = h("span.seg", { "data-c": c.category });
    width.style.width = Math.max(0.5, (100 * c.mean_ms) / most) + "%";
    const long = clean(s.words.labels[i] || c.name);
    return [
      category(c.category),
      { c: h("span.what", { title: c.name + (c.code ? " at " + c.code : "") }, long), v: long, md: long },
      c.service || "–",
      {
        c: num(c.calls_per_exchange ? calls(c.calls_per_exchange) : "", c.calls_per_exchange),
        v: c.calls_per_exchange,
      },
      { c: ms(c.call_p50_ms), v: c.call_p50_ms ?? -1 },
      { c: ms(c.call_p95_ms), v: c.call_p95_ms ?? -1 },
      { c: num(ms(c.mean_ms), c.mean_ms), v: c.mean_ms },
      { c: num(shareOf(c.share, c.mean_ms), c.share), v: c.share },
      { c: c.tail_share === null ? "–" : num(percent(c.tail_share), c.tail_share), v: c.tail_share ?? -1 },
      { c: h("div.bar.thin", { "aria-hidden": "true" }, width), md: "" },
    ];
  });
  const restMean = rest.reduce((sum, c) => sum + c.mean_ms, 0) + s.contributors_omitted.mean_ms;
  const restShare = rest.reduce((sum, c) => sum + c.share, 0) + s.contributors_omitted.share;
  const more = rest.length + s.contributors_omitted.count;
  // Of the rows above: where requests were sampled, their mean is not quite that of all.
  const parts = CATEGORY_NAMES.reduce((sum, c) => sum + s.categories[c].mean_ms, 0);
  const whole = Math.abs(parts - s.latency_ms.mean) < 0.02 + s.latency_ms.mean / 1000 ? s.latency_ms.mean : parts;
  const foot = [];
  if (more)
    foot.push([
      "",
      `${count(more)} more`,
      "",
      "",
      "",
      "",
      { c: ms(restMean) },
      { c: shareOf(restShare, restMean) },
      "",
      "",
    ]);
  foot.push([
    "all",
    "",
    "",
    "",
    "",
    "",
    { c: num(ms(whole), whole) },
    { c: percent(1) },
    "",
    "",
  ]);
  return [
    table(head, rows, {
      sort: true,
      copy: true,
      caption: `Who owns the time of ${s.label}`,
      foot,
      class: "contributors",
    }),
    h(
      "p.small.dim",
      {},
      plural(s.exchanges, "request", "requests") +
        ". " +
        (tailBand.exchanges
          ? `“at p95” is the share of the latency of the ${plural(tailBand.exchanges, "request", "requests")} between p90 and p99. `
          : "") +
        (s.joined ? `Calls are counted over the ${count(s.joined)} with server spans, on the critical path or not.` : ""),
    ),
  ];
}
