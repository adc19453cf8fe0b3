// The waterfall of one request: client and servers on one time axis, for the report and for the trace browser.

const MARKS = {
  error: ["!", "failed: the span has an error status"],
  shifted: ["⇄", "moved: its clock disagreed with its caller's"],
  clipped: ["✂", "clipped: it reaches beyond its parent"],
  async: ["↷", "nobody waited for it: not on the path"],
  moved: ["⤴", "joined elsewhere: the parent that it names never came, or another span wraps it"],
  finding: ["◆", "what the finding is about"],
};

// Rows of a waterfall: the client's own phases, then spans in the order of a tree, runs of the same call in one row.
function rowsOf(tree, owners) {
  const spans = tree.spans.map(([parent, service, instance, text, kind, owner, from, to, marks], i) => ({
    i,
    parent,
    service: tree.texts[service],
    instance: tree.texts[instance],
    text: tree.texts[text],
    kind,
    owner: owners[owner],
    from,
    to,
    marks,
    kids: [],
    path: [],
  }));
  const client = {
    text: "request",
    client: true,
    owner: null,
    from: 0,
    to: tree.moments[3],
    kids: [],
    path: [],
    marks: [],
    kind: "client",
    service: "hotspan",
  };
  for (const [owner, from, to, span] of tree.path) {
    const piece = { owner: owners[owner], from, to };
    (span >= 0 ? spans[span] : client).path.push(piece);
  }
  spans.forEach((s) => (s.parent >= 0 ? spans[s.parent] : client).kids.push(s));
  const rows = [];
  const walk = (node, depth) => {
    rows.push({ ...node, depth, group: null });
    const kids = [...node.kids].sort((a, b) => a.from - b.from || a.i - b.i);
    for (let i = 0; i < kids.length;) {
      let j = i;
      const same = (a, b) =>
        !a.kids.length && !b.kids.length && a.owner === b.owner && a.text === b.text && a.service === b.service;
      while (j + 1 < kids.length && same(kids[i], kids[j + 1])) j++;
      if (j - i >= 3)
        rows.push({
          ...kids[i],
          depth: depth + 1,
          group: kids.slice(i, j + 1),
          to: Math.max(...kids.slice(i, j + 1).map((k) => k.to)),
          path: kids.slice(i, j + 1).flatMap((k) => k.path),
          marks: [...new Set(kids.slice(i, j + 1).flatMap((k) => k.marks))],
        });
      else for (let k = i; k <= j; k++) walk(kids[k], depth + 1);
      i = j + 1;
    }
  };
  walk(client, 0);
  return rows;
}

function niceTicks(length, wanted) {
  const raw = length / wanted,
    unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((v) => v >= raw) || raw;
  const out = [];
  for (let t = 0; t <= length * 1.0001; t += step) out.push(t);
  return out;
}

// tree: as data.rs has it; label: its step; role: what request it is, in words; owners: by number; trace: its id as it is shown;
// client: what its own row is called; marked: owners whose spans and time are pointed out.
function waterfall(tree, { label, role, owners, trace, client = "client, hotspan", marked = new Set() }) {
  const length = Math.max(tree.moments[3], 1),
    begin = 0;
  const rows = rowsOf(tree, owners).map((row) => {
    const mine = (!row.client && marked.has(row.owner)) || row.path.some((p) => marked.has(p.owner));
    return mine ? { ...row, marks: ["finding", ...row.marks] } : row;
  });
  const at = (t) => (100 * (t - begin)) / length;
  const place = (el, from, to) => {
    const a = Math.max(0, at(from)),
      b = Math.min(100, at(to));
    el.style.left = a + "%";
    el.style.width = Math.max(b - a, 0.12) + "%";
    return el;
  };
  const onPath = (path) => path.reduce((sum, p) => sum + p.to - p.from, 0);
  const own = (row) => (row.client ? "client" : row.owner.category);
  const ticks = h(
    "div.ticks",
    { "aria-hidden": "true" },
    niceTicks(length / 1e6, 6).map((t) => {
      const el = h("span", {}, ms(t).replace(/\.0+$/, "") + (t === 0 ? NARROW + "ms" : ""));
      const at = (100 * t * 1e6) / length;
      el.style.left = at + "%";
      // The last one ends at its mark where there is no room beyond.
      if (at > 92) el.style.transform = "translateX(-100%)";
      return el;
    }),
  );
  const lane = h("div.lane.top");
  const merged = [];
  for (const [owner, from, to] of tree.path) {
    const last = merged[merged.length - 1];
    const mine = marked.has(owners[owner]);
    if (last && last.category === owners[owner].category && last.mine === mine && last.to === from) last.to = to;
    else merged.push({ category: owners[owner].category, mine, from, to });
  }
  const lit = (category, mine) => h("span.lit", { class: "lit" + (mine ? " mine" : ""), "data-c": category });
  merged.forEach((p) => lane.append(place(lit(p.category, p.mine), p.from, p.to)));
  const body = h("tbody");
  body.append(
    h(
      "tr.sum",
      {},
      h("th", { scope: "row" }, h("span.label", {}, "critical path")),
      h("td.n", {}, ""),
      h("td.n", {}, ms(length / 1e6)),
      h("td.n", {}, ms(onPath(tree.path.map(([, from, to]) => ({ from, to }))) / 1e6)),
      h("td.pic", {}, lane),
    ),
  );
  for (const row of rows) {
    const bars = h("div.lane");
    for (const span of row.group || [row])
      if (!row.client) bars.append(place(h("span.rail", { "data-c": own(row) }), span.from, span.to));
    if (row.client) bars.append(place(h("span.rail.client"), 0, length));
    row.path.forEach((p) => bars.append(place(lit(p.owner.category, marked.has(p.owner)), p.from, p.to)));
    if (row.client)
      tree.moments.slice(0, 3).forEach((m, i) => {
        if (m > 0) {
          const el = h("span.moment", { title: ["begun", "sent", "first byte"][i] });
          el.style.left = at(m) + "%";
          bars.append(el);
        }
      });
    const words = row.client
      ? name(label)
      : h(
          "span",
          {},
          row.group ? h("b.times", {}, `${row.group.length} ×`) : null,
          h(
            "span.op",
            {},
            row.owner.category === "app" || row.owner.category === "network" || row.owner.category === "queue"
              ? row.text
              : row.owner.name || row.text,
          ),
        );
    const lines = row.client
      ? [
          `${msUnit(length / 1e6)} from due to end`,
          ...row.path.map((p) =>
            h("span", {}, category(p.owner.category), ` ${p.owner.name} ${msUnit((p.to - p.from) / 1e6)}`),
          ),
        ].slice(0, 12)
      : [
          h("b", {}, row.text),
          `${row.service || "unknown service"}${row.instance ? " · " + row.instance : ""} · ${row.kind}`,
          h("span", {}, category(row.owner.category), " ", row.owner.name),
          row.group
            ? `${row.group.length} calls`
            : `${msUnit((row.to - row.from) / 1e6)}, from ${msUnit(row.from / 1e6)}`,
          `${msUnit(onPath(row.path) / 1e6)} of its own on the critical path`,
          ...row.marks.map((m) => MARKS[m][0] + " " + MARKS[m][1]),
        ];
    const tr = h(
      "tr",
      { class: row.marks.includes("async") ? "off" : row.marks.includes("finding") ? "mine" : null },
      h(
        "th",
        { scope: "row", vars: { "--depth": String(Math.min(row.depth, 12)) } },
        h(
          "span.label",
          {},
          row.client ? null : key(own(row)),
          words,
          row.marks.map((m) =>
            h("span.mk", { "data-m": m, title: MARKS[m][1] }, MARKS[m][0], h("span.sr", {}, " " + MARKS[m][1])),
          ),
        ),
        row.client ? h("small", {}, client) : h("small", {}, row.service),
      ),
      h("td.n", {}, row.client ? "0" : ms(row.from / 1e6)),
      h("td.n", {}, ms((row.to - row.from) / 1e6)),
      h("td.n", { class: "n" + (row.path.length ? " hot" : "") }, row.path.length ? ms(onPath(row.path) / 1e6) : ""),
      h("td.pic", {}, bars),
    );
    tr.addEventListener("mousemove", (event) => tip.show(event, lines));
    tr.addEventListener("mouseleave", tip.hide);
    body.append(tr);
  }
  const marks = [...new Set(rows.flatMap((r) => r.marks))];
  return h(
    "div.waterfall",
    {},
    h(
      "p.small",
      {},
      `${role} of `,
      name(label),
      `, due ${clock(tree.at_ms / 1000)} after the start`,
      tree.status ? `, status ${tree.status}` : "",
      tree.failed ? ", failed" : "",
      `, ${plural(tree.spans.length + tree.omitted, "span", "spans")}. Trace `,
      trace || h("span.mono", {}, tree.trace_id),
    ),
    tree.spans.length
      ? null
      : h("p.empty", {}, "No server span was joined to this request; only the client's phases are known."),
    h(
      "div.scroll",
      { tabindex: "0", role: "region", "aria-label": "Waterfall" },
      h(
        "table.wf",
        {},
        h("caption.sr", {}, `Waterfall of the ${role} of ${label}; times in ms`),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Span"),
            h("th.n", { scope: "col", title: "ms after the request was due" }, "at"),
            h("th.n", { scope: "col", title: "ms" }, "took"),
            h("th.n", { scope: "col", title: "own ms on the critical path" }, "on path"),
            h("th.pic", { scope: "col" }, h("span.sr", {}, "Time axis"), ticks),
          ),
        ),
        body,
      ),
    ),
    legend(
      CATEGORY_NAMES.filter(
        (c) => merged.some((p) => p.category === c) || rows.some((r) => !r.client && r.owner.category === c),
      ),
    ),
    marks.length
      ? h(
          "ul.marks",
          {},
          marks.map((m) => h("li", {}, h("span.mk", { "data-m": m, "aria-hidden": "true" }, MARKS[m][0]), MARKS[m][1])),
        )
      : null,
    tree.omitted
      ? h(
          "p.small.dim",
          {},
          `${plural(tree.omitted, "span is", "spans are")} left out: shorter than those shown and not on the path.`,
        )
      : null,
  );
}
