// The answer: what is slow and why, the numbers that matter with their n, what to do, thresholds.

function figure(label, value, unit, note, v, tone) {
  return h(
    "div.figure",
    { class: "figure" + (tone ? " " + tone : "") },
    h("dt", {}, label),
    h(
      "dd",
      {},
      h("strong.num", { "data-v": v }, value),
      unit ? h("span.unit", {}, unit) : null,
      note ? h("small", {}, note) : null,
    ),
  );
}

section("answer", null, null, (box) => {
  const t = R.telemetry,
    load = R.load;
  const kind = R.verdict.kind;
  box.append(
    h(
      "p.kicker",
      {},
      {
        bottleneck: "The bottleneck",
        healthy: "No bottleneck",
        failing: "Requests fail",
        untraced: "Not traced",
        generator_bound: "Not to be trusted",
        no_data: "No data",
      }[kind] || kind,
    ),
  );
  box.append(h("h1.headline", {}, sentence(W.headline)));
  box.append(h("p.run-line", {}, sentence(W.run), h("br"), sentence(W.totals)));

  const main = focused();
  const errors = STEPS.reduce((n, s) => n + s.errors, 0);
  const figures = h("dl.figures");
  if (main) {
    figures.append(
      figure(
        "p95 of " + main.label,
        ms(main.latency_ms.p95),
        "ms",
        `p50 ${ms(main.latency_ms.p50)} · p99 ${ms(main.latency_ms.p99)} · n${NARROW}${count(main.exchanges)}`,
        main.latency_ms.p95,
      ),
    );
    const top = CATEGORY_NAMES.map((c) => [c, main.categories[c].share]).sort((a, b) => b[1] - a[1])[0];
    if (top[1] > 0)
      figures.append(
        figure(
          "largest part of its mean",
          percent(top[1]).replace(NARROW + "%", ""),
          "%",
          `${top[0]}, ${msUnit(main.categories[top[0]].mean_ms)} of ${msUnit(main.latency_ms.mean)}`,
          top[1],
        ),
      );
  }
  figures.append(
    figure(
      "requests",
      count(t.exchanges),
      "",
      R.run.origin === "traces" ? "from traces, no load was made" : t.exchanges > 1 && load.achieved_per_s !== null ? `${rate(load.achieved_per_s)} per s` : "",
      t.exchanges,
    ),
  );
  figures.append(
    figure(
      "errors",
      errors ? percent(errors / t.exchanges).replace(NARROW + "%", "") : "0",
      errors ? "%" : "",
      errors ? plural(errors, "request", "requests") : `of ${plural(t.exchanges, "request", "requests")}`,
      errors,
      errors ? "bad" : "",
    ),
  );
  figures.append(
    figure(
      "joined with server spans",
      t.traced ? percent(t.coverage).replace(NARROW + "%", "") : "–",
      t.traced ? "%" : "",
      t.traced ? `${count(t.joined)} of ${plural(t.traced, "traced request", "traced requests")}` : "no request was traced",
      t.coverage,
      t.traced && t.coverage < 0.9 ? "bad" : "",
    ),
  );
  box.append(figures);

  const total = CATEGORY_NAMES.reduce((sum, c) => sum + R.verdict.categories[c], 0);
  if (total > 0 && t.exchanges) {
    const mean = P.total_ms / STEPS.reduce((n, s) => n + s.bands.reduce((m, b) => m + b.exchanges, 0), 0);
    const parts = CATEGORY_NAMES.map((c) => [c, R.verdict.categories[c] * mean]);
    box.append(
      h(
        "div.whole",
        {},
        h("p.small", {}, t.exchanges === 1 ? `Where its ${msUnit(mean)} went` : `Where the mean of ${msUnit(mean)} went, over all ${count(t.exchanges)} requests`),
        bar(parts, mean, { text: "share", label: "All requests" }),
        legend(CATEGORY_NAMES.filter((c) => R.verdict.categories[c] > 0)),
      ),
    );
  }

  const todo = R.findings
    .map((f, i) => [f, i])
    .filter(([f]) => f.severity !== "info")
    .slice(0, 3);
  if (todo.length) {
    const seen = new Set();
    const list = h("ol.todo");
    for (const [, i] of todo) {
      const words = plain(W.findings[i].advice);
      if (seen.has(words)) continue;
      seen.add(words);
      list.append(
        h(
          "li",
          {},
          sentence(W.findings[i].advice),
          " ",
          h("span.dim", {}, "Impact: ", sentence(W.findings[i].impact), "."),
          " ",
          h("a", { href: "#finding-" + (i + 1) }, "Evidence"),
        ),
      );
    }
    box.append(h("h2.sub", {}, "What to do"), list);
  }
  const warnings = W.messages.filter((m) => m.warning);
  if (warnings.length) {
    box.append(
      h(
        "div.warnings",
        {},
        h("h2.sub", {}, "Before you trust the numbers"),
        h(
          "ul",
          {},
          warnings.slice(0, 6).map((m) => h("li", {}, sentence(m.text), m.way_out ? [" ", sentence(m.way_out)] : null)),
          warnings.length > 6 ? h("li", {}, h("a", { href: "#evidence" }, `${warnings.length - 6} more`)) : null,
        ),
      ),
    );
  }
  if (R.thresholds.length) {
    const rows = R.thresholds.map((t, i) => [
      name(t.expression),
      { c: num(W.thresholds[i], t.actual), v: t.actual },
      {
        c: h("span.pill", { class: "pill " + (t.passed ? "ok" : "bad") }, t.passed ? "passed" : "failed"),
        v: t.passed ? 1 : 0,
      },
    ]);
    box.append(
      h("h2.sub", { id: "thresholds" }, "Thresholds"),
      table([{ text: "Asked for" }, { text: "Measured", num: true }, { text: "", sr: "Result" }], rows, {
        caption: "Thresholds",
        copy: true,
        class: "narrow",
      }),
    );
  }
});
