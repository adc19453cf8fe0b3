// Named problems as cards: what, whose time, how sure, what a fix could save, what to do.

section(
  "findings",
  "Findings",
  "Named problems, worst first. Impact is what removing the cause could save at best, from the retimed requests; it is never a sum of durations.",
  (box) => {
    if (!R.findings.length) {
      box.append(
        h(
          "p.empty",
          {},
          R.verdict.kind === "healthy"
            ? "None. No detector found a problem that is worth a name."
            : "None: the run does not carry any; the first lines of this report say why.",
        ),
      );
      return;
    }
    const list = h("div.cards");
    R.findings.forEach((f, i) => list.append(card(f, i)));
    box.append(list);
    const none = h("p.empty", { hidden: true }, "No finding in this step.");
    box.append(none);
    onState(() => {
      let shown = 0;
      R.findings.forEach((f, i) => {
        const hide = state.filter >= 0 && stepOf(f) !== state.filter;
        document.getElementById("finding-" + (i + 1)).hidden = hide;
        shown += hide ? 0 : 1;
      });
      none.hidden = shown > 0;
    });
  },
);

const stepOf = (f) => {
  const s = STEPS.find((s) => s.name === f.step.name && s.journey === f.step.journey);
  return s ? s.index : -1;
};

function impactBars(f, step) {
  const rows = ["mean", "p95", "p99"].filter((q) => step && f.impact_ms[q] > 0);
  if (!rows.length) return null;
  const most = Math.max(...rows.map((q) => step.latency_ms[q]));
  return h(
    "div.impact",
    {
      role: "img",
      "aria-label": rows
        .map((q) => `${q} from ${msUnit(step.latency_ms[q])} to ${msUnit(step.latency_ms[q] - f.impact_ms[q])} at best`)
        .join("; "),
    },
    rows.map((q) => {
      const now = step.latency_ms[q],
        left = Math.max(0, now - f.impact_ms[q]);
      const kept = h("span.kept"),
        saved = h("span.saved");
      kept.style.width = (100 * left) / most + "%";
      saved.style.width = (100 * (now - left)) / most + "%";
      return [h("span.q", {}, q), h("span.track", {}, kept, saved), h("span.v", {}, `${ms(now)} → ${msUnit(left)}`)];
    }),
  );
}

function card(f, i) {
  const words = W.findings[i],
    index = stepOf(f),
    step = STEPS[index];
  const facts = h("dl.facts");
  const fact = (label, content) => {
    if (content) facts.append(h("dt", {}, label), h("dd", {}, content));
  };
  fact("Where", words.place && sentence(words.place));
  fact("Evidence", words.evidence && sentence(words.evidence));
  fact("Also", words.also && sentence(words.also));
  fact("Impact", [sentence(words.impact), impactBars(f, step)]);
  fact("Confidence", sentence(words.confidence));
  if (f.related.length)
    fact(
      "Same cause",
      h(
        "ul.plain",
        {},
        f.related.map((r) => h("li", {}, category(r.category), " ", name(r.name))),
      ),
    );
  const trees = requestsOf(f, step);
  const roles = new Map(trees.map(({ tree, role }) => [tree.trace_id, role]));
  fact(
    "Requests",
    f.exemplars.length
      ? h(
          "ul.plain.traces",
          {},
          f.exemplars.map((id, at) => {
            const role = roles.get(id);
            const open = () => openRequest(i, id);
            return h(
              "li",
              {},
              role
                ? h("button.name.plainly", { type: "button", onclick: open, title: "Show this request" }, role)
                : h("span.dim", {}, "not kept"),
              h("span", {}, traceRef(id, f.exemplar_urls && f.exemplar_urls[at])),
            );
          }),
        )
      : null,
  );
  const evidence = Object.entries(f.evidence);
  return h(
    "article.card",
    { id: "finding-" + (i + 1), class: "card " + f.severity, "aria-labelledby": `finding-${i + 1}-title` },
    h(
      "header",
      {},
      h("span.no", { "aria-hidden": "true" }, String(i + 1)),
      h("span.pill", { class: "pill " + f.severity }, f.severity),
      category(f.contributor.category),
      h("a.link", { href: "#finding-" + (i + 1), "aria-label": `Link to finding ${i + 1}` }, "#"),
    ),
    h("h3", { id: `finding-${i + 1}-title` }, sentence(words.title)),
    h("p.advice", {}, h("strong", {}, "Do: "), sentence(words.advice)),
    f.remedy ? h("pre.remedy", { tabindex: "0" }, f.remedy) : null,
    facts,
    trees.length ? requestBox(f, i, step, trees) : null,
    evidence.length
      ? h(
          "details.behind",
          {},
          h("summary", {}, `Numbers of this finding (${evidence.length})`),
          table(
            [{ text: "Number" }, { text: "Value", num: true }],
            evidence.map(([k, v]) => [h("code", {}, k), { c: num(String(v), v), v }]),
            { caption: `Numbers of finding ${i + 1}`, class: "narrow" },
          ),
        )
      : null,
  );
}

// Whole requests of a finding, in the order of its exemplars: its own, and those of its step.
function requestsOf(f, step) {
  const kept = [...P.requests, ...((step && step.p.trees) || [])];
  return f.exemplars
    .map((id, at) => {
      const tree = kept.find((t) => t.trace_id === id);
      const own = step && step.p.trees.find((t) => t.trace_id === id);
      const role = at === 0 ? "most of it" : own ? ROLES[own.role].toLowerCase() : "another";
      return tree && { tree, role };
    })
    .filter(Boolean);
}

const requestBoxes = new Map();
// The waterfall of a finding: drawn when it is opened, what it is about marked.
function requestBox(f, i, step, trees) {
  const owners = new Set(P.marked[i].map((n) => OWNERS[n]));
  const of = f.contributor;
  let shown = trees[0];
  const inner = h("div.request-body");
  const words = h("span", {});
  const title = () => {
    const time = shown.tree.path.reduce((sum, [o, from, to]) => sum + (owners.has(OWNERS[o]) ? to - from : 0), 0);
    words.replaceChildren(
      `${shown === trees[0] ? "The request that shows it best" : "A request of it"}: ${msUnit(shown.tree.moments[3] / 1e6)}`,
      time ? `, ${msUnit(time / 1e6)} of it here` : "",
    );
  };
  const draw = () => {
    title();
    if (!details.open) return inner.replaceChildren();
    const at = f.exemplars.indexOf(shown.tree.trace_id);
    inner.replaceChildren(
      trees.length > 1
        ? h(
            "div.tabs.roles",
            { role: "group", "aria-label": "Which request" },
            trees.map((t) =>
              h(
                "button.tab",
                {
                  type: "button",
                  "aria-pressed": String(t === shown),
                  onclick: () => {
                    shown = t;
                    draw();
                  },
                },
                `${t.role[0].toUpperCase()}${t.role.slice(1)} · ${msUnit(t.tree.moments[3] / 1e6)}`,
              ),
            ),
          )
        : "",
      waterfall(shown.tree, {
        label: step ? step.label : of.name,
        role: "Request",
        owners: OWNERS,
        client: CLIENT,
        trace: traceRef(shown.tree.trace_id, f.exemplar_urls && f.exemplar_urls[at]),
        marked: owners,
      }),
    );
  };
  const details = h("details.behind.request", {}, h("summary", {}, words), inner);
  details.addEventListener("toggle", draw);
  draw();
  requestBoxes.set(i, (id) => {
    const wanted = trees.find(({ tree }) => tree.trace_id === id);
    if (!wanted) return null;
    shown = wanted;
    if (details.open) draw();
    else details.open = true;
    return details;
  });
  return details;
}

function openRequest(i, id) {
  const opened = requestBoxes.has(i) ? requestBoxes.get(i)(id) : null;
  if (opened) opened.scrollIntoView({ block: "nearest" });
  return opened;
}
// A link to a trace that only a finding has.
function openFinding(id) {
  for (const i of requestBoxes.keys()) {
    const opened = openRequest(i, id);
    if (opened) return opened;
  }
  return null;
}
