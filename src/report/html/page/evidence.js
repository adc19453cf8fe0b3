// How much was seen and repaired, how hotspan itself did, and how to read all this.

section("evidence", "Evidence", "How much was seen, what had to be repaired, and how hotspan itself did.", (box) => {
  const t = R.telemetry;
  box.append(
    h(
      "dl.facts.wide",
      {},
      W.facts.map(([label, words]) => [h("dt", {}, label), h("dd", {}, sentence(words))]),
    ),
  );
  const messages = W.messages;
  if (messages.length)
    box.append(
      h("h3", {}, "Warnings and notes"),
      h(
        "ul.messages",
        {},
        messages.map((m) =>
          h(
            "li",
            { class: m.warning ? "warning" : "note" },
            h("span.pill", { class: "pill " + (m.warning ? "warning" : "info") }, m.warning ? "warning" : "note"),
            " ",
            sentence(m.text),
            m.way_out ? [" ", sentence(m.way_out)] : null,
          ),
        ),
      ),
    );
  const rows = [
    ["Requests", t.exchanges],
    ["Traced (sent with the sampled flag)", t.traced],
    ["Joined with server spans", t.joined],
    ["Spans read", t.spans],
    ["Spans received", t.spans_received],
    ["Spans rejected", t.spans_rejected],
    ["Spans dropped", t.spans_dropped],
    ["Spans of other traces", t.spans_foreign],
    ["Spans that came twice", t.duplicates],
    ["Spans without their parent, joined elsewhere", t.orphans],
    ["Spans clipped to their parent", t.clipped],
    ["Spans moved to their caller's clock", t.shifted],
    ["Spans with starts in whole milliseconds", t.coarse_starts],
    ["Database calls", t.gaps.database_calls],
    ["… that name no statement", t.gaps.without_statement],
    ["External calls", t.gaps.external_calls],
    ["… that name no peer", t.gaps.without_peer],
  ].map(([label, v]) => [label, { c: num(count(v), v), v }]);
  rows.push(
    ["Largest clock skew", { c: num(msUnit(t.clock_skew_max_ms), t.clock_skew_max_ms) }],
    ["Time of children after their parent's end", { c: num(msUnit(t.async_tail_ms), t.async_tail_ms) }],
  );
  if (t.span_cover !== null)
    rows.push(["Server time that some span covers", { c: num(percent(t.span_cover), t.span_cover) }]);
  const l = R.load,
    load = [
      ["Requests due", count(l.offered), l.offered],
      ["Sent", count(l.sent), l.sent],
      ["Not sent", count(l.not_sent), l.not_sent],
      ["Late", count(l.late), l.late],
      ["Walks of a journey", count(l.iterations), l.iterations],
      ["Most users", count(l.users_max), l.users_max],
      ["Schedule delay p99", msUnit(l.schedule_delay_p99_ms), l.schedule_delay_p99_ms],
      [
        "hotspan's share of its cores",
        l.generator_cpu_share === null ? "–" : percent(l.generator_cpu_share),
        l.generator_cpu_share,
      ],
    ].map(([label, text, v]) => [label, { c: num(text, v), v }]);
  const own = generatorOverTime();
  box.append(
    h(
      "div.two",
      {},
      h(
        "div",
        {},
        h("h3", {}, "Telemetry"),
        table([{ text: "What" }, { text: "n", num: true }], rows, { caption: "Telemetry", copy: true }),
      ),
      h(
        "div",
        {},
        h("h3", {}, "Load generator"),
        table([{ text: "What" }, { text: "Value", num: true }], load, { caption: "Load generator", copy: true }),
        own ? [h("h3", {}, "hotspan itself over time"), own] : null,
      ),
    ),
  );
  if (R.operations.length) {
    const head = [
      { text: "Operation" },
      { text: "Service" },
      { text: "Kind" },
      { text: "Category" },
      { text: "calls", num: true },
      { text: "errors", num: true },
      { text: "own ms, all", num: true },
      { text: "p50", num: true },
      { text: "p95", num: true },
      { text: "p99", num: true },
    ];
    const make = () =>
      R.operations
        .slice(0, 200)
        .map((o) => [
          h("span.what", { title: o.name }, o.name),
          o.service || "–",
          o.kind,
          category(o.category),
          { c: num(count(o.calls), o.calls), v: o.calls },
          { c: count(o.errors), v: o.errors },
          { c: num(ms(o.own_ms), o.own_ms), v: o.own_ms },
          { c: ms(o.duration_ms.p50), v: o.duration_ms.p50 },
          { c: ms(o.duration_ms.p95), v: o.duration_ms.p95 },
          { c: ms(o.duration_ms.p99), v: o.duration_ms.p99 },
        ]);
    const details = h(
      "details.behind",
      {},
      h("summary", {}, `Server operations (${count(R.operations.length + R.operations_omitted)})`),
    );
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1)
        details.append(table(head, make(), { sort: true, copy: true, caption: "Server operations" }));
    });
    box.append(details);
  }
});

// Cores that hotspan used, and how late its event loop was.
function generatorOverTime() {
  const series = R.load.generator.series;
  if (series.length < 3) return null;
  const xs = series.map((p) => p.at_s);
  return h(
    "div",
    {},
    chart("Cores that hotspan used and the lag of its event loop over time", 150, () => ({
      data: [xs, series.map((p) => p.cpu_cores), series.map((p) => p.event_loop_lag_ms)],
      scales: {
        x: { time: false },
        y: { range: (u, a, b) => [0, Math.max(b * 1.15, 0.1)] },
        lag: { range: (u, a, b) => [0, Math.max(b * 1.15, 1)] },
      },
      axes: [
        secondsAxis(),
        axis({ label: "cores", size: 58 }),
        axis({ scale: "lag", side: 1, grid: { show: false }, label: "lag ms", size: 46 }),
      ],
      series: [
        {},
        { stroke: css("--l1"), fill: css("--l1-soft"), width: 1.5, points: { show: false } },
        { scale: "lag", stroke: css("--l2"), width: 1.5, points: { show: false } },
      ],
      tip: (u, i) =>
        i === null
          ? null
          : [
              `at ${clock(xs[i])}`,
              `${series[i].cpu_cores.toFixed(2)} cores, busiest thread ${percent(series[i].busiest_thread)}`,
              `event loop ${msUnit(series[i].event_loop_lag_ms)} late`,
              `${count(series[i].in_flight)} under way, ${count(series[i].done)} done`,
            ],
    })),
    h(
      "div.legend",
      {},
      h("span.cat", {}, swatch("l1"), "cores used"),
      h("span.cat", {}, swatch("l2"), "event loop lag"),
    ),
    behind(
      "hotspan itself over time",
      [
        { text: "From the start" },
        { text: "cores", num: true },
        { text: "lag ms", num: true },
        { text: "under way", num: true },
        { text: "memory MB", num: true },
      ],
      () =>
        series.map((p) => [
          clock(p.at_s),
          p.cpu_cores.toFixed(2),
          ms(p.event_loop_lag_ms),
          count(p.in_flight),
          (p.memory_bytes / 1e6).toFixed(0),
        ]),
    ),
  );
}

section("reading", "How to read this", null, (box) => {
  box.append(
    h(
      "dl.facts.wide",
      {},
      h("dt", {}, "Latency"),
      h(
        "dd",
        {},
        "counts from the moment a request was due (corrected), so that a service which holds up the load generator cannot hide it. Service time counts from the actual start.",
      ),
      h("dt", {}, "Blame"),
      h(
        "dd",
        {},
        "divides each request's latency along its critical path: what it really waited for. Work beside a longer call owns nothing. The parts of every row, band and bar add up to the latency.",
      ),
      h("dt", {}, "Latency bands"),
      h(
        "dd",
        {},
        "are the typical half (up to p50), p50 to p90, p90 to p99 and the worst 1 %. A part that is as large in all bands makes every request slow; one that grows makes some slow.",
      ),
      h("dt", {}, "At p95"),
      h("dd", {}, "is the share among the requests between p90 and p99: those around the p95 that is named."),
      h("dt", {}, "Impact"),
      h(
        "dd",
        {},
        "is what removing a cause could save at best, from retimed requests, not a sum of durations. Impacts of several findings do not add up.",
      ),
      h("dt", {}, "n"),
      h(
        "dd",
        {},
        "is the number of requests behind a number. Three digits are shown; report.json has microseconds. “<0.1 %” is more than nothing and “100 %” is all.",
      ),
    ),
    h("h3", {}, "Categories"),
    table(
      [{ text: "Category" }, { text: "Whose time it is" }],
      CATEGORIES.map(([c, words]) => [category(c), words]),
      { caption: "Categories" },
    ),
    h("p.small", {}, sentence(W.files)),
    h(
      "p.small.dim",
      {},
      `hotspan ${R.run.hotspan_version} · run ${R.run.id}${R.run.git_commit ? " · commit " + R.run.git_commit : ""} · ${R.schema}. `,
      h("span.keys", {}, "Keys: Tab and Enter everywhere; / for the step menu; t for the theme. "),
      "Time series by uPlot (MIT licence, © Leon Sorokin).",
    ),
  );
});
