// Two sides compared: the verdict first, then steps with what changed in them, then every operation.

const CHANGES = {
  more_calls: "more calls",
  fewer_calls: "fewer calls",
  more_errors: "more errors",
  new: "new",
  vanished: "vanished",
};
const times = (ratio) => "×" + NARROW + fixed(ratio, 2);
const shift = (value) =>
  h("span.num", { class: "num " + (value > 0 ? "up" : value < 0 ? "down" : ""), "data-v": value }, signed(value));

// A ratio with its interval on a logarithmic scale of a quarter to four times.
function ratioPicture(change) {
  if (!change) return h("span.dim", {}, "too few");
  const at = (ratio) => Math.min(1, Math.max(0, 0.5 + Math.log(Math.max(ratio, 1e-9)) / (2 * Math.log(4))));
  const { ratio, low, high, verdict } = change;
  const kind = verdict === "regressed" ? "slower" : verdict === "improved" ? "faster" : "";
  const said = low === null ? times(ratio) : `${times(ratio)}, between ${times(low)} and ${times(high)}`;
  const dot = h("span.dot");
  dot.style.left = 100 * at(ratio) + "%";
  const zero = h("span.zero");
  zero.style.left = "50%";
  return h(
    "div.range",
    { class: "range " + kind, role: "img", "aria-label": said, title: said },
    zero,
    low === null || high === null ? null : wide(h("span.span"), at(low), at(high)),
    dot,
  );
}

// A change of milliseconds from the middle: to the right is slower.
function shiftPicture(value, most, c) {
  const half = Math.min(0.5, Math.abs(value) / (2 * Math.max(most, 1e-9)));
  const part = wide(h("span.part", { "data-c": c }), value < 0 ? 0.5 - half : 0.5, value < 0 ? 0.5 : 0.5 + half);
  return h("div.shift", { role: "img", "aria-label": signed(value) + " ms" }, h("span.zero"), part);
}

function compareSides(box, page) {
  const side = (name, ids) =>
    h(
      "div.side-box",
      {},
      h("h3", {}, name === "base" ? "Base, before" : "Head, after"),
      h(
        "ul",
        {},
        ids.map((id) => {
          const run = page.runs[id];
          return h("li", {}, runLink(id, run.name), h("small", {}, ` ${run.at} ${run.tags.join(" ")}`));
        }),
      ),
    );
  box.append(h("div.versus", {}, side("base", page.base), side("head", page.head)));
  const other = [...page.head.map((id) => ["base", id]), ...page.base.map((id) => ["head", id])];
  box.append(
    h("p.small", {}, link(query("/compare", other), "The other way round"), " · ", link("/", "Pick other runs")),
  );
}

function compareStep(step) {
  const most = Math.max(...step.attribution.map((p) => Math.abs(p.change_ms)), Math.abs(step.others_change_ms), 1e-9);
  const parts = step.attribution
    .filter((p) => p.mean_ms.base || p.mean_ms.head || p.change_ms)
    .sort((a, b) => Math.abs(b.change_ms) - Math.abs(a.change_ms)).slice(0, 12);
  const rows = parts.map((p) => [
    {
      c: h(
        "span",
        {},
        h("span.what", { title: p.name }, p.name),
        p.service ? h("small.dim", {}, " " + p.service) : null,
      ),
      v: p.name,
    },
    { c: category(p.category), v: p.category },
    { c: `${ms(p.mean_ms.base)} → ${ms(p.mean_ms.head)}`, v: p.mean_ms.head },
    { c: `${calls(p.calls_per_exchange.base)} → ${calls(p.calls_per_exchange.head)}`, v: p.calls_per_exchange.head },
    { c: shift(p.change_ms), v: p.change_ms },
    { c: shiftPicture(p.change_ms, most, p.category) },
  ]);
  return h(
    "div",
    {},
    h(
      "h3",
      {},
      name(step.name),
      h("span.dim.small", {}, ` ${ms(step.base.mean_ms)} → ${ms(step.head.mean_ms)} ms on average `),
      pill(step.verdict),
    ),
    rows.length
      ? table(
          [
            { text: "Who" },
            { text: "Category" },
            { text: "mean ms", num: true },
            { text: "calls", num: true },
            { text: "change, ms", num: true },
            { pic: true, sr: "Change" },
          ],
          rows,
          { caption: `What changed in ${step.name}`, sort: true, class: "parts" },
        )
      : h("p.empty", {}, "No contributor of this step changed."),
  );
}

function compareOperations(box, c) {
  box.append(
    h("h2", {}, "Operations"),
    h(
      "p.lead",
      {},
      "Spans of services by name and kind, the largest change of own time first; the interval is that of the p95 of their duration, on a scale of a quarter to four times.",
    ),
  );
  if (!c.operations.length) return box.append(h("p.empty", {}, "Neither side has server spans."));
  const most = Math.max(...c.operations.map((o) => Math.abs(o.change_ms_per_exchange)), 1e-9);
  const rows = c.operations
    .slice(0, 200)
    .map((o) => [
      {
        c: h("span", {}, h("span.what", { title: o.name }, o.name), h("small.dim", {}, ` ${o.service} · ${o.kind}`)),
        v: o.name,
      },
      { c: category(o.category), v: o.category },
      { c: `${calls(o.calls_per_exchange.base)} → ${calls(o.calls_per_exchange.head)}`, v: o.calls_per_exchange.head },
      { c: `${ms(o.mean_ms_per_exchange.base)} → ${ms(o.mean_ms_per_exchange.head)}`, v: o.mean_ms_per_exchange.head },
      { c: shift(o.change_ms_per_exchange), v: o.change_ms_per_exchange },
      { c: shiftPicture(o.change_ms_per_exchange, most, o.category) },
      { c: ratioPicture(o.p95) },
      { c: pill(o.verdict), v: o.verdict },
    ]);
  box.append(
    table(
      [
        { text: "Operation" },
        { text: "Category" },
        { text: "calls", num: true },
        { text: "own mean ms", num: true },
        { text: "change, ms", num: true },
        { pic: true, sr: "Change" },
        { text: "p95", pic: false },
        { text: "Verdict" },
      ],
      rows,
      { caption: "Operations", sort: true, copy: true, class: "operations" },
    ),
  );
  const left = c.operations_omitted + Math.max(0, c.operations.length - 200);
  if (left)
    box.append(
      h(
        "p.small.dim",
        {},
        `${plural(left, "operation", "operations")} with less change are left out; hotspan compare --format json has them.`,
      ),
    );
}

function compareStructure(box, c) {
  if (!c.structure.length) return;
  box.append(
    h("h2", {}, "What is called"),
    h("p.lead", {}, "Calls that are new, gone, more or fewer in a request of a step."),
  );
  box.append(
    table(
      [
        { text: "What" },
        { text: "Change" },
        { text: "Step" },
        { text: "base", num: true },
        { text: "head", num: true },
      ],
      c.structure.slice(0, 100).map((s) => [
        {
          c: h(
            "span",
            {},
            key(s.category),
            " ",
            h("span.what", { title: s.name }, s.name),
            h("small.dim", {}, " " + s.service),
          ),
          v: s.name,
        },
        { c: pill(s.alarm ? "warning" : "", CHANGES[s.kind] || words(s.kind)), v: s.kind },
        { c: name(s.step), v: s.step },
        { c: calls(s.base), v: s.base },
        { c: calls(s.head), v: s.head },
      ]),
      { caption: "Changes of what is called", sort: true },
    ),
  );
}

pages.compare = (box, page) => {
  const c = page.comparison;
  box.append(
    h(
      "p.verdict",
      {},
      pill(c.verdict.status + " large", words(c.verdict.status)),
      c.verdict.regressions && c.verdict.status !== "invalid" ? h("span.dim", {}, plural(c.verdict.regressions, "regression", "regressions")) : null,
    ),
    h("h1.headline", {}, c.verdict.headline),
  );
  const allowable = c.verdict.reasons.filter((r) => page.allowable.includes(r.reason));
  if (c.verdict.reasons.length)
    box.append(
      h(
        "div.warnings",
        {},
        h("p.sub", {}, c.verdict.status === "invalid" ? "Why these runs cannot be compared" : "Doubts"),
        h(
          "ul",
          {},
          c.verdict.reasons.map((r) => h("li", {}, r.text)),
        ),
        allowable.length
          ? h(
              "p",
              {},
              link(
                query("/compare", [
                  ...page.base.map((id) => ["base", id]),
                  ...page.head.map((id) => ["head", id]),
                  ...allowable.map((r) => ["allow", r.reason]),
                ]),
                "Compare all the same",
              ),
            )
          : null,
      ),
    );
  if (c.verdict.allowed.length)
    box.append(
      h(
        "ul.says-list",
        {},
        c.verdict.allowed.map((r) => h("li", {}, "Let pass: " + r.text)),
      ),
    );
  compareSides(box, page);
  const d = c.design;
  const found = d.smallest_detectable_change;
  box.append(
    h(
      "p.small.dim",
      {},
      `${plural(d.runs.base, "run", "runs")} against ${count(d.runs.head)}, ${d.interleaved ? "in turn" : "not in turn"}, ${d.same_machine ? "on one machine" : "on different machines"}; changes below ${percent(d.min_effect)} do not count. `,
      found
        ? `A change of ${percent(found)} would have been seen.`
        : "With so few runs no change could be told from chance.",
    ),
  );
  // The lower quartile only where it alone shows a change.
  const shows = (change, s) => change && change.verdict === s.verdict;
  const changed = (s) => s.verdict === "regressed" || s.verdict === "improved";
  const withP25 = c.steps.some((s) => changed(s) && shows(s.p25, s) && !shows(s.p50, s) && !shows(s.p95, s));
  const sides = (change) => ({
    c: change ? `${ms(change.base_ms)} → ${ms(change.head_ms)}` : "–",
    v: change ? change.ratio : 0,
  });
  box.append(
    h("h2", {}, "Steps"),
    table(
      [
        { text: "Step" },
        { text: "requests", num: true },
        { text: "errors", num: true },
        { text: "mean ms", num: true },
        { text: "p50", num: true },
        { text: "p95", num: true },
        ...(withP25 ? [{ text: "p25", num: true }] : []),
        { pic: true, sr: "p95 as a ratio" },
        { text: "Verdict" },
      ],
      c.steps.map((s) => [
        { c: h("span", {}, name(s.name), h("small.dim", {}, " " + s.journey)), v: s.name },
        { c: `${count(s.base.exchanges)} → ${count(s.head.exchanges)}`, v: s.head.exchanges },
        { c: `${percent(s.base.error_share)} → ${percent(s.head.error_share)}`, v: s.head.error_share },
        { c: `${ms(s.base.mean_ms)} → ${ms(s.head.mean_ms)}`, v: s.head.mean_ms },
        sides(s.p50),
        sides(s.p95),
        ...(withP25 ? [sides(s.p25)] : []),
        { c: ratioPicture(s.p95) },
        { c: pill(s.verdict), v: s.verdict },
      ]),
      { caption: "Steps", sort: true, copy: true, class: "sides" },
    ),
  );
  compareOperations(box, c);
  box.append(
    h("h2", {}, "Where the change comes from"),
    h("p.lead", {}, "Time on the critical path of a request by who spent it. To the right is slower."),
  );
  const moved = [...c.steps].sort((a, b) => Math.abs(b.change_ms) - Math.abs(a.change_ms));
  moved.slice(0, 4).forEach((s) => box.append(compareStep(s)));
  if (moved.length > 4) {
    const rest = h("details.behind", {}, h("summary", {}, `${plural(moved.length - 4, "more step", "more steps")}`));
    rest.addEventListener("toggle", () => {
      if (rest.open && rest.children.length === 1) moved.slice(4, 60).forEach((s) => rest.append(compareStep(s)));
    });
    box.append(rest);
  }
  compareStructure(box, c);
};
