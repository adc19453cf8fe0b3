// What a fix would bring: sliders, computed from the sample of real requests.

section(
  "what-if",
  "What if",
  "Move a slider: the latency that would be left if that work took less time, all else as it was. Computed here, from the sample of real requests; where calls overlap, only what a request would really gain counts.",
  (box) => {
    const inner = h("div.sliding");
    box.append(stepTabs(), inner);
    const draw = () => {
      const s = focused();
      inner.replaceChildren(
        ...((s && s.p.sample.length && sliders(s)) || [
          h("p.empty", {}, s && s.p.sample.length ? "No work of this step is known that could take less time." : "No request of this step has blame."),
        ]),
      );
    };
    draw();
    onState(draw);
    if (R.what_if.length)
      add(box, [
        h("h3.asked", {}, "Asked for with --what-if"),
        R.what_if.map((w, i) => [
          h(
            "p",
            {},
            name(w.change),
            ": ",
            sentence(W.what_if[i].about),
            W.what_if[i].range ? [" ", sentence(W.what_if[i].range)] : null,
          ),
          w.steps.some((st) => st.exchanges_changed)
            ? table(
                [
                  { text: "Step" },
                  { text: "requests changed", num: true },
                  { text: "p50 before", num: true },
                  { text: "after", num: true },
                  { text: "p95 before", num: true },
                  { text: "after", num: true },
                  { text: "p99 before", num: true },
                  { text: "after", num: true },
                ],
                w.steps.map((st) => [
                  st.step.name,
                  { c: count(st.exchanges_changed) },
                  ...["p50", "p95", "p99"].flatMap((q) => [
                    { c: num(ms(st.before_ms[q]), st.before_ms[q]) },
                    { c: num(ms(st.after_ms[q]), st.after_ms[q]) },
                  ]),
                ]),
                { caption: w.change, copy: true },
              )
            : null,
        ]),
      ]);
  },
);

function weightedQuantiles(values, total, wanted) {
  values.sort((a, b) => a[0] - b[0]);
  return wanted.map((q) => {
    let seen = 0;
    for (const [v, w] of values) {
      seen += w;
      if (seen >= q * total) return v;
    }
    return values.length ? values[values.length - 1][0] : 0;
  });
}

function sliders(s) {
  const inBand = [0, 0, 0, 0];
  s.p.sample.forEach((row) => {
    inBand[row[0]]++;
  });
  const weights = s.bands.map((b, i) => (inBand[i] ? b.exchanges / inBand[i] : 0));
  const total = s.bands.reduce((n, b, i) => n + (inBand[i] ? b.exchanges : 0), 0);
  const saves = new Map();
  s.p.sample.forEach((row) => {
    for (let i = 4; i < row.length; i += 3)
      if (row[i] >= 0) saves.set(row[i], (saves.get(row[i]) || 0) + row[i + 2] * weights[row[0]]);
  });
  const all = s.p.sample.reduce((sum, row) => sum + row[2] * weights[row[0]], 0);
  const owners = [...saves]
    .sort((a, b) => b[1] - a[1])
    // A server that sends no spans is no work that somebody could shorten, and what takes next to nothing gains nothing.
    .filter(([o, v]) => v > 0.0005 * all && OWNERS[o].category !== "untraced" && OWNERS[o].category !== "generator")
    .slice(0, 8);
  if (!owners.length) return null;
  const left = new Map(owners.map(([o]) => [o, 1]));
  const compute = () => {
    const values = [];
    let sum = 0;
    for (const row of s.p.sample) {
      let less = 0;
      for (let i = 4; i < row.length; i += 3) {
        const f = left.get(row[i]);
        if (f !== undefined && f < 1) less += (1 - f) * row[i + 2];
      }
      const v = Math.max(0, row[2] - less) / 1000;
      values.push([v, weights[row[0]]]);
      sum += v * weights[row[0]];
    }
    const [p50, p95, p99] = weightedQuantiles(values, total, [0.5, 0.95, 0.99]);
    return { mean: sum / Math.max(total, 1), p50, p95, p99 };
  };
  const before = compute();
  const names = ["mean", "p50", "p95", "p99"];
  const out = h("div.after", { "aria-live": "polite" });
  const show = () => {
    const after = compute();
    const most = Math.max(...names.map((q) => s.latency_ms[q]), 1e-9);
    out.replaceChildren(
      ...names.map((q) => {
        // What the sample says changes is taken from what all requests had.
        const now = s.latency_ms[q],
          then = Math.max(0, now - Math.max(0, before[q] - after[q]));
        const kept = h("span.kept"),
          saved = h("span.saved");
        kept.style.width = (100 * then) / most + "%";
        saved.style.width = (100 * (now - then)) / most + "%";
        return h(
          "div.impact",
          {},
          h("span.q", {}, q),
          h("span.track", { "aria-hidden": "true" }, kept, saved),
          h(
            "span.v",
            {},
            num(ms(now), now),
            " → ",
            h("b", {}, num(msUnit(then), then)),
            now > 0 && then < now ? h("span.dim", {}, ` −${percent(1 - then / now)}`) : null,
          ),
        );
      }),
    );
  };
  const rows = owners.map(([o], i) => {
    const c = OWNERS[o],
      id = "what-if-" + i;
    const value = h("output", { for: id }, "100" + NARROW + "%");
    const range = h("input", { type: "range", id, min: "0", max: "100", step: "5", value: "100" });
    range.addEventListener("input", () => {
      left.set(o, Number(range.value) / 100);
      value.textContent = range.value + NARROW + "%";
      range.setAttribute("aria-valuetext", range.value + " % of its time");
      show();
    });
    return h(
      "div.slider",
      {},
      h("label", { for: id }, category(c.category), " ", h("span.what", { title: c.name }, c.name)),
      range,
      value,
    );
  });
  const reset = h(
    "button.tab",
    {
      type: "button",
      onclick: () => {
        left.forEach((_, o) => left.set(o, 1));
        rows.forEach((r) => {
          r.querySelector("input").value = "100";
          r.querySelector("output").textContent = "100" + NARROW + "%";
        });
        show();
      },
    },
    "As it was",
  );
  show();
  return [
    h(
      "div.two.sliders",
      {},
      h("div", {}, rows, reset),
      h(
        "div",
        {},
        h("h3", {}, `Latency of `, name(s.label)),
        out,
        h(
          "p.small.dim",
          {},
          `About: from ${plural(s.p.sample.length, "sampled request", "sampled requests")} of ${count(total)}. Work that others wait for in a queue would gain more than this.`,
        ),
      ),
    ),
  ];
}
