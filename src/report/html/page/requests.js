// Real requests: a waterfall of the typical, the p95 and the worst one, and a sample of all.

const ROLES = { typical: "Typical", slow: "Near p95", worst: "Worst" };
let wantedRole = "slow";

section(
  "requests",
  "Real requests",
  "Client and servers on one time axis, clocks set right. Solid is the critical path: what the request waited for. Pale is a span's whole length.",
  (box) => {
    const inner = h("div");
    box.append(stepTabs(), inner);
    const draw = () => {
      const s = focused();
      if (!s) return inner.replaceChildren(h("p.empty", {}, "No request was made."));
      const trees = s.p.trees;
      if (!trees.length)
        return inner.replaceChildren(
          h(
            "p.empty",
            {},
            s.p.rich
              ? "No request of this step is kept."
              : "Whole requests are kept for the twelve steps with most time only.",
          ),
          sampleOf(s),
        );
      const tree = trees.find((t) => t.role === wantedRole) || trees[trees.length - 1];
      const tabs = h(
        "div.tabs.roles",
        { role: "group", "aria-label": "Which request" },
        trees.map((t) =>
          h(
            "button.tab",
            {
              type: "button",
              id:
                "trace-" +
                t.trace_id +
                (trees.findIndex((o) => o.trace_id === t.trace_id) === trees.indexOf(t) ? "" : "-" + t.role),
              "aria-pressed": String(t === tree),
              onclick: () => {
                wantedRole = t.role;
                draw();
              },
            },
            `${ROLES[t.role]} · ${msUnit(t.moments[3] / 1e6)}`,
          ),
        ),
      );
      const words = {
        label: s.label,
        role: `${ROLES[tree.role]} request`,
        owners: OWNERS,
        client: CLIENT,
        trace: traceRef(tree.trace_id, (s.exemplars.find((e) => e.trace_id === tree.trace_id) || {}).url),
      };
      inner.replaceChildren(tabs, waterfall(tree, words), sampleOf(s));
    };
    draw();
    onState(draw);
    openTrace = (id) => {
      for (const s of withData) {
        const tree = s.p.trees.find((t) => t.trace_id === id);
        if (tree) {
          wantedRole = tree.role;
          setStep(s.index, false);
          return document.getElementById("trace-" + id);
        }
      }
      return openFinding(id);
    };
  },
);
let openTrace = () => null;

// The sample: [band, at ms, µs, flags, (owner, µs, µs to save)…].
function sampleOf(s) {
  const rows = s.p.sample;
  if (!rows.length) return h("p.empty", {}, "No request of this step has blame.");
  const dots = rows
    .map((row) => {
      let best = -1,
        time = -1;
      const by = {};
      for (let i = 4; i < row.length; i += 3)
        if (row[i] >= 0) {
          const c = OWNERS[row[i]].category;
          by[c] = (by[c] || 0) + row[i + 1];
          if (by[c] > time) {
            time = by[c];
            best = c;
          }
        }
      return { t: row[1] / 1000, v: row[2] / 1000, c: best, failed: row[3] & 1, row };
    })
    .sort((a, b) => a.t - b.t);
  const seen = CATEGORY_NAMES.filter((c) => dots.some((d) => d.c === c));
  const values = dots.map((d) => d.v).filter((v) => v > 0);
  const log = Math.max(...values) / Math.min(...values) > 20;
  const el = chart(
    `Sampled requests of ${s.label} by time and latency, coloured by their largest category`,
    240,
    () => ({
      data: [dots.map((d) => d.t), dots.map((d) => Math.max(d.v, 0.001))],
      scales: { x: { time: false, range: (u, a, b) => [Math.min(a, 0), Math.max(b, 0.1)] }, y: log ? { distr: 3 } : { range: (u, a, b) => [0, b * 1.06] } },
      axes: [secondsAxis(), log ? logAxis() : msAxis()],
      series: [{}, { paths: () => null, points: { show: false } }],
      cursor: { points: { show: false } },
      hooks: {
        draw: [
          (u) => {
            const size = 2.6 * devicePixelRatio;
            for (const d of dots) {
              u.ctx.fillStyle = color(d.c);
              u.ctx.globalAlpha = 0.75;
              u.ctx.beginPath();
              u.ctx.arc(u.valToPos(d.t, "x", true), u.valToPos(Math.max(d.v, 0.001), "y", true), size, 0, 7);
              u.ctx.fill();
              if (d.failed) {
                u.ctx.strokeStyle = css("--bad");
                u.ctx.lineWidth = 1.5 * devicePixelRatio;
                u.ctx.stroke();
              }
            }
            u.ctx.globalAlpha = 1;
          },
        ],
      },
      tip: (u) => {
        let best = null,
          near = 18 ** 2;
        for (const d of dots) {
          const dx = u.valToPos(d.t, "x") - u.cursor.left,
            dy = u.valToPos(Math.max(d.v, 0.001), "y") - u.cursor.top;
          if (dx * dx + dy * dy < near) {
            near = dx * dx + dy * dy;
            best = d;
          }
        }
        if (!best) return null;
        const parts = [];
        for (let i = 4; i < best.row.length; i += 3)
          parts.push(
            best.row[i] < 0
              ? `others ${msUnit(best.row[i + 1] / 1000)}`
              : h(
                  "span",
                  {},
                  category(OWNERS[best.row[i]].category),
                  " ",
                  OWNERS[best.row[i]].name.slice(0, 60),
                  " ",
                  msUnit(best.row[i + 1] / 1000),
                ),
          );
        return [`${msUnit(best.v)} at ${clock(best.t)}${best.failed ? ", failed" : ""}`, ...parts.slice(0, 8)];
      },
    }),
  );
  const drawnOf = s.bands.reduce((n, b) => n + b.exchanges, 0);
  return h(
    "div",
    {},
    h("h3", {}, "A sample of all"),
    h(
      "p.lead",
      {},
      `${plural(rows.length, "request", "requests")} of ${count(drawnOf)}, drawn by the hash of their ids, as many from each latency band, so that slow ones are seen; the colour is where most of a request's time went.`,
    ),
    el,
    legend(seen),
  );
}
