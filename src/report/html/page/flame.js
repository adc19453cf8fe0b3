// The critical path of all requests of a step as one flame graph: width is time that clients waited.

section(
  "flame",
  "Critical path of all requests",
  "Every request's critical path, laid over each other. A box is as wide as the time that clients waited below it; what is beside its children is its own. Click a box to enlarge it, Escape to go back.",
  (box) => {
    const inner = h("div");
    const search = h("input", {
      type: "search",
      placeholder: "Find a name",
      "aria-label": "Find a name in the flame graph",
      id: "flame-search",
    });
    box.append(stepTabs(), h("div.row", {}, search), inner);
    let top = 0,
      shown = null;
    const draw = (step) => {
      const s = focused();
      if (shown !== s) {
        shown = s;
        top = 0;
      }
      inner.replaceChildren(
        ...(s && s.p.flame.length > 1
          ? flame(s, top, search.value, (i) => {
              top = i;
              draw();
              const el = inner.querySelector(".frame");
              if (el) el.focus();
            })
          : [
              h(
                "p.empty",
                {},
                s && !s.p.rich ? "Kept for the twelve steps with most time only." : "No blame, no path.",
              ),
            ]),
      );
    };
    search.addEventListener("input", () => draw());
    draw();
    onState(draw);
  },
);

function flame(s, top, wanted, zoom) {
  const nodes = s.p.flame.map(([parent, owner, folded, own, exchanges], i) => ({
    i,
    parent,
    owner: owner >= 0 ? OWNERS[owner] : null,
    folded,
    own,
    exchanges,
    total: own,
    kids: [],
    depth: 0,
  }));
  for (let i = nodes.length - 1; i > 0; i--) nodes[nodes[i].parent].total += nodes[i].total;
  for (let i = 1; i < nodes.length; i++) {
    nodes[nodes[i].parent].kids.push(nodes[i]);
    nodes[i].depth = nodes[nodes[i].parent].depth + 1;
  }
  nodes.forEach((n) => n.kids.sort((a, b) => b.total - a.total));
  const root = nodes[top] || nodes[0],
    requests = Math.max(nodes[0].exchanges, 1);
  const title = (n) => (n.i === 0 ? s.label : n.owner ? n.owner.name : `${n.folded} smaller`);
  const box = h("div.flame", { role: "group", "aria-label": `Flame graph of ${s.label}` });
  const words = wanted.trim().toLowerCase();
  let found = 0,
    deepest = 0;
  const put = (n, left, width, level) => {
    if (width < 0.0006 && n !== root) return;
    deepest = Math.max(deepest, level);
    const who = n.owner;
    const hit = words && title(n).toLowerCase().includes(words);
    if (hit) found += n.total;
    const el = h(
      "button.frame",
      {
        type: "button",
        tabindex: n === root || width > 0.02 ? "0" : "-1",
        "data-c": who ? who.category : n.i === 0 ? "step" : "folded",
        "aria-label": `${title(n)}${who ? ", " + who.category + (who.service ? ", " + who.service : "") : ""}: ${msUnit(n.total / requests)} per request, ${percent(n.total / nodes[0].total)}`,
      },
      width > 0.03 ? h("span", {}, title(n)) : null,
    );
    if (words) el.classList.add(hit ? "hit" : "miss");
    el.style.left = 100 * left + "%";
    el.style.width = 100 * width + "%";
    el.style.top = 21 * level + "px";
    el.addEventListener("click", () => zoom(n.folded ? n.parent : n.i));
    el.addEventListener("mousemove", (event) =>
      tip.show(event, [
        h("b", {}, title(n)),
        who
          ? h(
              "span",
              {},
              category(who.category),
              who.service ? " " + who.service : "",
              who.system ? " → " + who.system : "",
            )
          : null,
        `${msUnit(n.total / requests)} per request, ${percent(n.total / nodes[0].total)} of the latency`,
        n.own !== n.total ? `${msUnit(n.own / requests)} of it its own` : null,
        `on the path of ${count(n.exchanges)} of ${count(nodes[0].exchanges)} requests`,
      ]),
    );
    el.addEventListener("mouseleave", tip.hide);
    box.append(el);
    let at = left;
    for (const kid of n.kids) {
      const w = (width * kid.total) / Math.max(n.total, 1e-12);
      put(kid, at, w, level + 1);
      at += w;
    }
  };
  const above = [];
  for (let n = root; n.parent >= 0; n = nodes[n.parent]) above.unshift(nodes[n.parent]);
  put(root, 0, 1, 0);
  box.style.height = 21 * (deepest + 1) + "px";
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") zoom(root.parent >= 0 ? root.parent : 0);
  });
  const head = [
    { text: "Category" },
    { text: "What" },
    { text: "Service" },
    { text: "Depth", num: true },
    { text: "Requests", num: true },
    { text: "own ms per request", num: true },
    { text: "with all below", num: true },
  ];
  const rows = () =>
    [...nodes]
      .sort((a, b) => b.own - a.own)
      .slice(0, 100)
      .map((n) => [
        n.owner ? category(n.owner.category) : "–",
        title(n),
        n.owner ? n.owner.service : "",
        { c: String(n.depth), v: n.depth },
        { c: count(n.exchanges), v: n.exchanges },
        { c: num(ms(n.own / requests), n.own / requests) },
        { c: ms(n.total / requests), v: n.total },
      ]);
  return [
    h(
      "p.crumbs",
      {},
      above.map((n) => [h("button.tab", { type: "button", onclick: () => zoom(n.i) }, title(n).slice(0, 40)), " › "]),
      h("b", {}, title(root)),
      h("span.dim", {}, `  ${msUnit(root.total / requests)} per request, n = ${count(nodes[0].exchanges)}`),
      words ? h("span.dim", {}, ` · ${percent(Math.min(1, found / nodes[0].total))} in what matches`) : null,
    ),
    box,
    legend(CATEGORY_NAMES.filter((c) => nodes.some((n) => n.owner && n.owner.category === c))),
    behind(`Critical path of ${s.label}`, head, rows),
  ];
}
