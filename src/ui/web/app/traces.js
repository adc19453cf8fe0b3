// The trace browser: exchanges of a run by filters, and one of them with its spans.

pages.traces = (box, page) => {
  const { run, asked, traces: t } = page;
  box.append(
    h("p.crumbs", {}, link("/", "Runs"), " / ", runLink(run.id, run.name)),
    h("h1.headline.plain", {}, "Traces"),
    h("p.run-line", {}, `${run.at} · ${plural(t.exchanges, "request", "requests")}`),
  );
  const list = h(
    "datalist",
    { id: "services" },
    t.services.map((s) => h("option", { value: s })),
  );
  const form = h(
    "form.fields",
    { method: "get", action: `/runs/${run.id}/traces`, role: "search" },
    field(
      "Step",
      choice([["", "All steps"], ...t.steps.map(([i, s]) => [String(i), s])], asked.step, { name: "step" }),
    ),
    field(
      "Status",
      choice(
        [
          ["", "Any"],
          ["failed", "Failed"],
          ["fine", "Not failed"],
          ["2xx", "2xx"],
          ["3xx", "3xx"],
          ["4xx", "4xx"],
          ["5xx", "5xx"],
          ...(/^\d+$/.test(asked.status) ? [[asked.status, asked.status]] : []),
        ],
        asked.status,
        { name: "status" },
      ),
    ),
    field(
      "At least, ms",
      h("input", { name: "min_ms", value: asked.min_ms, inputmode: "decimal", placeholder: "0" }),
      "short",
    ),
    field(
      "Service",
      h("input", { name: "service", value: asked.service, list: "services", placeholder: "any" }),
      "wide",
    ),
    field(
      "Text in a span's name or attribute",
      h("input", {
        name: "text",
        value: asked.text,
        type: "search",
        placeholder: "SELECT, http.route=/orders, user 17 …",
      }),
      "wide",
    ),
    field(
      "Order",
      choice(
        [
          ["", "Slowest first"],
          ["time", "By time"],
        ],
        asked.order,
        { name: "order" },
      ),
    ),
    h("button.primary", {}, "Show"),
    list,
  );
  box.append(form);
  const filtered = ["step", "status", "min_ms", "service", "text"].some((n) => asked[n] !== "");
  box.append(
    h(
      "p.lead",
      {},
      filtered ? `${plural(t.found, "request matches", "requests match")}. ` : "",
      t.note ? t.note + " " : "",
      filtered ? link(`/runs/${run.id}/traces`, "Show all") : null,
    ),
  );
  if (!t.rows.length) {
    box.append(
      h(
        "p.empty",
        {},
        t.exchanges
          ? "No request matches. Take a filter away."
          : "This run has no requests of its own; hotspan analyze wrote what it found into the report.",
      ),
    );
    return;
  }
  const most = Math.max(...t.rows.map((r) => r.ms), 1e-9);
  const rows = t.rows.map((r) => {
    const to = `/runs/${run.id}/traces/${r.trace}`;
    const bar = h(
      "div.lat",
      { class: "lat" + (r.failed ? " failed" : ""), "aria-hidden": "true" },
      wide(h("span"), 0, r.ms / most),
    );
    return [
      {
        c: h(
          "span",
          {},
          link(to, h("span.mono", {}, r.trace.slice(0, 8) + "…")),
          h("span.sr", {}, " trace " + r.trace),
        ),
        v: r.trace,
      },
      { c: name(r.step), v: r.step },
      { c: clock(r.at_ms / 1000), v: r.at_ms },
      { c: h("span", { class: r.failed ? "bad" : null }, r.status || r.why), v: r.status || r.why },
      { c: num(ms(r.ms), r.ms), v: r.ms },
      { c: bar },
      { c: r.spans === null ? "" : count(r.spans), v: r.spans || 0 },
      { c: r.services.join(", "), v: r.services.join(", ") },
    ];
  });
  box.append(
    table(
      [
        { text: "Trace" },
        { text: "Step" },
        { text: "at", num: true, title: "after the start of the run" },
        { text: "Status" },
        { text: "ms", num: true, title: "corrected latency" },
        { pic: true, sr: "Latency" },
        { text: "spans", num: true },
        { text: "Services" },
      ],
      rows,
      { caption: "Requests", class: "traces-list" },
    ),
  );
  const pages = Math.ceil(t.shown / t.per_page);
  if (pages > 1) {
    const to = (n) =>
      query(`/runs/${run.id}/traces`, [...Object.entries(asked).filter(([k]) => k !== "page"), ["page", n || ""]]);
    box.append(
      h(
        "nav.pages",
        { "aria-label": "Pages of requests" },
        t.page > 0 ? h("a.button", { href: to(t.page - 1), rel: "prev" }, "Previous") : null,
        h("span", {}, `Page ${count(t.page + 1)} of ${count(pages)}`),
        t.page + 1 < pages ? h("a.button", { href: to(t.page + 1), rel: "next" }, "Next") : null,
      ),
    );
  }
};

const spanTime = (ns) => msUnit(ns / 1e6);
function attributeList(map) {
  const pairs = Object.entries(map);
  return h(
    "dl.attributes",
    {},
    pairs.map(([k, v]) => [h("dt", {}, k), h("dd", {}, typeof v === "string" ? v : JSON.stringify(v))]),
  );
}

function spanDetails(s) {
  const details = h(
    "details",
    {},
    h("summary", {}, plural(Object.keys(s.attributes).length, "attribute", "attributes")),
  );
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    details.append(
      attributeList({ ...s.attributes, ...(s.status_message ? { "status message": s.status_message } : {}) }),
      h("span.small.dim", {}, "resource"),
      attributeList(s.resource),
      s.events.map((e) =>
        h("div", {}, h("span.small.dim", {}, "event "), h("code", {}, e.name), attributeList(e.attributes)),
      ),
      s.links.length ? h("p.small.dim", {}, plural(s.links.length, "link", "links") + " to other traces") : null,
    );
  });
  return details;
}

pages.trace = (box, page) => {
  const { run, trace: t } = page;
  box.append(
    h(
      "p.crumbs",
      {},
      link("/", "Runs"),
      " / ",
      runLink(run.id, run.name),
      " / ",
      link(`/runs/${run.id}/traces`, "Traces"),
    ),
    h("h1.headline.plain", {}, "Trace"),
    h(
      "p.run-line",
      {},
      h("span.mono", {}, page.id),
      " ",
      h("button.copy", { type: "button", onclick: () => copyText(page.id, "The id of the trace", "copied") }, "Copy"),
    ),
  );
  let at = 0;
  const inner = h("div");
  const tabs = h("div.tabs", { role: "group", "aria-label": "Request of the trace" });
  const draw = () => {
    const one = t.requests[at];
    const owners = one.owners.map(([category, service, system, name, code]) => ({
      category,
      service,
      system,
      name,
      code,
    }));
    inner.replaceChildren(waterfall(one.tree, { label: one.step, role: "Request", owners }));
    if (t.requests.length > 1)
      tabs.replaceChildren(
        ...t.requests.map((r, i) =>
          h(
            "button.tab",
            {
              type: "button",
              "aria-pressed": String(i === at),
              onclick: () => {
                at = i;
                draw();
              },
            },
            `${r.step} · ${msUnit(r.tree.moments[3] / 1e6)}`,
          ),
        ),
      );
  };
  if (t.requests.length) {
    box.append(
      h(
        "p.lead",
        {},
        "Client and servers on one time axis, clocks set right. Solid is the critical path: what the request waited for. Pale is a span's whole length.",
      ),
      tabs,
      inner,
    );
    draw();
  } else
    box.append(h("p.empty", {}, "No request of this trace can be shown with its spans; they are listed as they came."));
  box.append(
    h("h2", {}, "Spans as they came"),
    h(
      "p.lead",
      {},
      `${plural(t.spans.length + t.spans_omitted, "span", "spans")}, on the clocks of those who sent them.`,
      t.spans_omitted ? ` ${plural(t.spans_omitted, "is", "are")} left out; hotspan spans --trace has them all.` : "",
    ),
  );
  if (!t.spans.length) return box.append(h("p.empty", {}, "No server span came for this trace."));
  const first = Math.min(...t.spans.map((s) => s.start_ns));
  box.append(
    table(
      [
        { text: "Span" },
        { text: "Service" },
        { text: "Kind" },
        { text: "at ms", num: true },
        { text: "took ms", num: true },
        { text: "Status" },
        { text: "More" },
      ],
      t.spans.map((s) => [
        { c: h("code", {}, s.name), v: s.name },
        { c: s.service, v: s.service },
        { c: s.kind, v: s.kind },
        { c: ms((s.start_ns - first) / 1e6), v: s.start_ns - first },
        { c: ms((s.end_ns - s.start_ns) / 1e6), v: s.end_ns - s.start_ns },
        { c: s.status === "error" ? h("span.bad", {}, "error") : s.status === "unset" ? "" : s.status, v: s.status },
        { c: spanDetails(s) },
      ]),
      { caption: "Spans as they came", sort: true, class: "spans" },
    ),
  );
};
