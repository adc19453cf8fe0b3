// Services and the ways between them, with the time that requests spent on each.

// Ways on the map at most: those with most time.
const MAPPED = 30;
// Peers of one category that a service calls, drawn each for itself at most; the others are one place.
const PEERS = 6;

section(
  "map",
  "Service map",
  "Every millisecond of all requests is on a box (a service's own code), on a line (the way to a service) or in a call of something that sends no spans. Lines are as thick as their time.",
  (box) => {
    const requests = Math.max(R.telemetry.exchanges, 1);
    const ways = P.ways.filter((w) => w.calls > 0 || w.time_ms > 0);
    if (!ways.length)
      return box.append(
        h(
          "p.empty",
          {},
          R.telemetry.joined
            ? "No call from one service to another, or to a database or a peer, was seen."
            : "No server span was joined, so no way is known.",
        ),
      );
    box.append(picture(ways, requests));
    const more = gathered(ways).length - MAPPED;
    if (more > 0) box.append(h("p.small.dim", {}, `${count(more)} ways with less time are in the table only.`));
    const who = (w) => (w.from === null ? "client" : w.from || "unknown service");
    const to = (w) => (w.to === null ? w.peer || w.category : w.to || "unknown service");
    box.append(
      h(
        "p.small.dim",
        {},
        `Per request, over all ${plural(requests, "request", "requests")} of the run; waiting in queues, the client's own phases and time that no span covers are not on the map.`,
      ),
    );
    const head = [
      { text: "From" },
      { text: "To" },
      { text: "Category" },
      { text: "calls per request", num: true },
      { text: "ms per request", num: true },
      { text: "share", num: true },
    ];
    box.append(
      behind("Ways between services", head, () =>
        ways.map((w) => [
          who(w),
          to(w),
          category(w.category),
          { c: w.calls ? calls(w.calls / requests) : "–", v: w.calls },
          { c: num(ms(w.time_ms / requests), w.time_ms / requests), v: w.time_ms },
          { c: percent(w.time_ms / P.total_ms), v: w.time_ms },
        ]),
      ),
    );
    box.append(
      behind(
        "Services",
        [
          { text: "Service" },
          { text: "Spans", num: true },
          { text: "Requests", num: true },
          { text: "own ms per request", num: true },
          { text: "share", num: true },
        ],
        () =>
          P.services.map((s) => [
            s.name || "unknown service",
            { c: num(count(s.spans), s.spans) },
            { c: num(count(s.exchanges), s.exchanges) },
            { c: ms(s.own_ms / requests) },
            { c: percent(s.own_ms / P.total_ms) },
          ]),
      ),
    );
  },
);

// Below this width the places stand below one another, each set in below who calls it.
const NARROW_MAP = 620;

function picture(all, requests) {
  const graph = graphOf(gathered(all).slice(0, MAPPED));
  const box = h("div.scroll", { tabindex: "0", role: "region", "aria-label": "Service map" });
  drawn(box, (width) => {
    box.replaceChildren(width < NARROW_MAP ? mapDown(graph, requests, width) : mapAcross(graph, requests));
  });
  return box;
}

// The ways, most time first, with all but the first peers of a service and category as one.
function gathered(ways) {
  const seen = new Map();
  const rest = new Map();
  const key = (w) => `${w.from}:${w.category}`;
  const kept = ways.filter((w) => {
    if (w.to !== null) return true;
    seen.set(key(w), (seen.get(key(w)) || 0) + 1);
    if (seen.get(key(w)) <= PEERS) return true;
    if (!rest.has(key(w))) rest.set(key(w), []);
    rest.get(key(w)).push(w);
    return false;
  });
  const sum = (of, what) => of.reduce((total, w) => total + w[what], 0);
  for (const others of rest.values())
    kept.push(
      others.length === 1
        ? others[0]
        : {
            ...others[0],
            peer: `${count(others.length)} others`,
            calls: sum(others, "calls"),
            time_ms: sum(others, "time_ms"),
          },
    );
  return kept.sort((a, b) => b.time_ms - a.time_ms);
}

function graphOf(ways) {
  const nodes = new Map();
  const node = (id, label, kind, c) => {
    if (!nodes.has(id)) nodes.set(id, { id, label, kind, c, level: null, own: 0, ins: [], outs: [] });
    return nodes.get(id);
  };
  node("client", "client", "client", null);
  const own = new Map(P.services.map((s) => [s.name, s.own_ms]));
  const edges = ways
    .map((w) => {
      const from =
        w.from === null ? node("client") : node("s:" + w.from, w.from || "unknown service", "service", "app");
      const to =
        w.to !== null
          ? node("s:" + w.to, w.to || "unknown service", "service", "app")
          : node(`p:${w.from}:${w.category}:${w.peer}`, w.peer || w.category, "peer", w.category);
      return { from, to, w };
    })
    .filter((e) => e.from !== e.to);
  edges.forEach((e) => {
    e.from.outs.push(e);
    e.to.ins.push(e);
  });
  nodes.forEach((n) => {
    if (n.kind === "service") n.own = own.get(n.label) || 0;
  });
  // Traces without a client's span begin at the services that nobody calls.
  const client = nodes.get("client");
  for (const n of [...nodes.values()])
    if (n.kind === "service" && !n.ins.length) {
      const e = { from: client, to: n, w: { category: "network", calls: 0, time_ms: 0 } };
      edges.push(e);
      client.outs.push(e);
      n.ins.push(e);
    }
  // Levels by the shortest way from the client; what it does not reach stands below the callers it has.
  const enter = (start) => {
    for (let front = [start], depth = start.level; front.length; depth++) {
      const next = [];
      for (const n of front)
        for (const e of n.outs)
          if (e.to.level === null) {
            e.to.level = depth + 1;
            e.to.above = n;
            next.push(e.to);
          }
      front = next;
    }
  };
  client.level = 0;
  enter(client);
  for (const n of nodes.values())
    if (n.level === null) {
      n.level = 1;
      n.above = client;
      enter(n);
    }
  return { nodes: [...nodes.values()], edges, most: Math.max(...edges.map((e) => e.w.time_ms), 1e-9) };
}

const wayLabel = (e, requests) =>
  e.w.calls || e.w.time_ms ? `${e.w.calls ? calls(e.w.calls / requests) + "× · " : ""}${ms(e.w.time_ms / requests)} ms` : "";

// A name as long as there is room for it, with its end, which often tells more than its middle.
const ruler = document.createElement("canvas").getContext("2d");
function fitted(text, width) {
  ruler.font = "650 13px " + getComputedStyle(document.body).fontFamily;
  const wide = (t) => ruler.measureText(t).width > width;
  if (!wide(text)) return text;
  const signs = [...text];
  const end = signs.slice(-Math.min(8, Math.floor(signs.length / 2))).join("");
  let keep = signs.length - 8;
  while (keep > 1 && wide(signs.slice(0, keep).join("") + "…" + end)) keep--;
  return signs.slice(0, keep).join("") + "…" + end;
}

function mapOf(graph, width, height) {
  const pad = 14;
  const el = svg("svg", {
    viewBox: `${-pad} ${-pad} ${width + 2 * pad} ${height + 2 * pad}`,
    class: "map",
    role: "img",
    "aria-label": `Service map: ${graph.nodes.length} places, ${graph.edges.length} ways; the table below has the numbers`,
  });
  el.style.maxWidth = width + 2 * pad + "px";
  return el;
}

function way(e, d, graph, requests) {
  const path = svg("path", {
    d,
    "data-c": e.w.category,
    class: "way",
    "stroke-width": (1.5 + 9 * Math.sqrt(e.w.time_ms / graph.most)).toFixed(1),
  });
  path.addEventListener("mousemove", (event) =>
    tip.show(event, [
      h("b", {}, `${e.from.label} → ${e.to.label}`),
      h("span", {}, category(e.w.category)),
      e.w.calls ? `${calls(e.w.calls / requests)} calls per request (${count(e.w.calls)})` : null,
      `${msUnit(e.w.time_ms / requests)} per request, ${percent(e.w.time_ms / P.total_ms)} of all`,
    ]),
  );
  path.addEventListener("mouseleave", tip.hide);
  return path;
}

function place(n, requests, [x, y, width, height], before) {
  const share = n.own / Math.max(P.total_ms, 1e-9);
  const inTime = n.ins.reduce((sum, e) => sum + e.w.time_ms, 0),
    inCalls = n.ins.reduce((sum, e) => sum + e.w.calls, 0);
  const second =
    n.kind === "client"
      ? plural(requests, "request", "requests")
      : n.kind === "service"
        ? `${before || ""}own ${ms(n.own / requests)} ms · ${percent(share)}`
        : `${calls(inCalls / requests)}× · ${ms(inTime / requests)} ms · ${percent(inTime / Math.max(P.total_ms, 1e-9))}`;
  const peer = n.kind === "peer";
  const indent = n.c ? (peer ? 34 : 26) : 10;
  const short = fitted(clean(n.label), width - indent - (peer ? 18 : 10));
  const g = svg("g", { transform: `translate(${x},${y})`, class: "place " + n.kind });
  g.append(svg("rect", { width, height, rx: peer ? height / 2 : 8 }));
  if (n.c) g.append(svg("rect", { x: peer ? 18 : 10, y: 12, width: 10, height: 10, rx: 2, "data-c": n.c, class: "dot" }));
  // Within a picture of its own, which clips what is too long.
  g.append(
    svg(
      "svg",
      { width: width - 8, height },
      svg("text", { x: indent, y: 21, class: "place-name" }, short),
      svg("text", { x: peer ? 18 : 10, y: 40, class: "place-own" }, second),
    ),
  );
  g.addEventListener("mousemove", (event) =>
    tip.show(event, [
      h("b", {}, n.label),
      n.c ? category(n.c) : null,
      second,
      peer ? `${count(inCalls)} calls` : null,
    ]),
  );
  g.addEventListener("mouseleave", tip.hide);
  return g;
}

// Places below one another, as for a phone: each below its caller, ways on the left; what else calls it on the right.
function mapDown(graph, requests, room) {
  const high = 52,
    gap = 12,
    step = 22;
  const order = [];
  const walk = (n) => {
    n.row = order.length;
    order.push(n);
    const below = graph.nodes.filter((m) => m.above === n);
    const time = (m) => m.ins.reduce((sum, e) => sum + e.w.time_ms, 0);
    below.sort((a, b) => (a.kind === "service") - (b.kind === "service") || time(b) - time(a)).forEach(walk);
  };
  walk(graph.nodes[0]);
  const width = room - 28;
  const others = graph.edges.filter((e) => e.to.above !== e.from);
  const at = (n) => [n.level * step, n.row * (high + gap), width - n.level * step - (others.length ? 26 : 0), high];
  const el = mapOf(graph, width, order.length * (high + gap) - gap);
  for (const e of graph.edges) {
    const [x1, y1, w1] = at(e.from),
      [x2, y2, w2] = at(e.to);
    const d =
      e.to.above === e.from
        ? `M${x1 + 11},${y1 + high} V${y2 + high / 2} H${x2}`
        : `M${x1 + w1},${y1 + high / 2} C${x1 + w1 + 34},${y1 + high / 2} ${x2 + w2 + 34},${y2 + high / 2} ${x2 + w2},${y2 + high / 2}`;
    const line = way(e, d, graph, requests);
    line.setAttribute("stroke-linejoin", "round");
    el.append(line);
  }
  for (const n of order) {
    const in0 = n.ins.find((e) => e.from === n.above);
    el.append(place(n, requests, at(n), in0 && wayLabel(in0, requests) ? `way ${wayLabel(in0, requests)} · ` : ""));
  }
  return el;
}

// Places in columns by how far they are from the client.
function mapAcross(graph, requests) {
  const { nodes, edges } = graph;
  const columns = [];
  nodes.forEach((n) => (columns[n.level] = columns[n.level] || []).push(n));
  const W0 = 188,
    H0 = 52,
    GX = 130,
    GY = 22;
  // Few crossings: each column in the order of its callers' places.
  columns.forEach((column, x) => {
    if (x)
      column.forEach((n) => {
        const ys = n.ins.filter((e) => e.from.level < x).map((e) => e.from.y ?? 0);
        n.order = ys.length ? ys.reduce((a, b) => a + b, 0) / ys.length : 1e9;
      });
    column.sort((a, b) => (a.order ?? 0) - (b.order ?? 0) || b.own - a.own);
    column.forEach((n, y) => {
      n.y = y * (H0 + GY);
      n.x = x * (W0 + GX);
    });
  });
  const tall = Math.max(...columns.map((c) => (c ? c.length : 0))) * (H0 + GY) - GY;
  columns.forEach((column) => {
    const free = (tall - (column.length * (H0 + GY) - GY)) / 2;
    column.forEach((n) => {
      n.y += free;
    });
  });
  const width = columns.length * (W0 + GX) - GX;
  const el = mapOf(graph, width, tall);
  el.style.minWidth = Math.min(width, 560) + "px";
  const texts = [];
  for (const e of edges) {
    const back = e.to.level <= e.from.level;
    const x1 = e.from.x + (back ? W0 / 2 : W0),
      y1 = e.from.y + (back ? H0 : H0 / 2),
      x2 = e.to.x + (back ? W0 / 2 : 0),
      y2 = e.to.y + (back ? 0 : H0 / 2);
    const bend = back
      ? `M${x1},${y1} C${x1 + 70},${y1 + 30} ${x2 + 70},${y2 - 30} ${x2},${y2}`
      : `M${x1},${y1} C${x1 + GX / 2},${y1} ${x2 - GX / 2},${y2} ${x2},${y2}`;
    el.append(way(e, bend, graph, requests));
    if (e.to.kind === "peer" || !wayLabel(e, requests)) continue;
    const along = 0.66,
      cubic = (a, b, c, d) =>
        (1 - along) ** 3 * a + 3 * (1 - along) ** 2 * along * b + 3 * (1 - along) * along ** 2 * c + along ** 3 * d;
    texts.push(
      svg(
        "text",
        {
          x: back ? x1 + 66 : y1 === y2 ? (x1 + x2) / 2 : Math.min(cubic(x1, x1 + GX / 2, x2 - GX / 2, x2), x2 - 54),
          y: back ? (y1 + y2) / 2 - 3 : cubic(y1, y1, y2, y2) - 7,
          class: "way-label",
          "text-anchor": "middle",
        },
        wayLabel(e, requests),
      ),
    );
  }
  for (const n of nodes) el.append(place(n, requests, [n.x, n.y, W0, H0]));
  texts.forEach((t) => el.append(t));
  return el;
}
