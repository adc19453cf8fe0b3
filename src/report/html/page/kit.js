// Elements, tables and the floating note, for the report and for the local web pages. Everything foreign (names of steps,
// services, spans, statements …) becomes text through `clean` and `textContent`; nothing here or elsewhere sets markup
// from data. Nothing here knows what is shown.

const read = (id) => JSON.parse(document.getElementById(id).textContent);

const CATEGORIES = [
  ["generator", "hotspan's own delay before a request"],
  ["connection", "DNS, TCP connect, TLS handshake"],
  ["network", "the way between client, proxies and services"],
  ["queue", "waiting that a span or attribute names"],
  ["app", "own time of a traced service's code"],
  ["database", "database calls"],
  ["cache", "cache calls"],
  ["search", "search engine calls"],
  ["messaging", "messages sent"],
  ["external", "calls to a peer that sends no spans"],
  ["transfer", "first to last byte of the answer"],
  ["untraced", "waiting for a server that sent no span"],
];
const CATEGORY_NAMES = CATEGORIES.map((c) => c[0]);

// Characters that act on a reader instead of being seen become visible escapes, as in the other formats.
const HAZARD =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff]|[\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;
function clean(text) {
  return String(text)
    .replace(/[\t\n\v\f\r ]+/g, " ")
    .replace(HAZARD, (c) => {
      const code = c.codePointAt(0);
      return code < 256 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u{" + code.toString(16) + "}";
    });
}

// h("p.note", {title: "…"}, "text", node, [more])
function h(what, props, ...children) {
  const [tag, ...classes] = what.split(".");
  const el = document.createElement(tag);
  if (classes.length) el.className = classes.join(" ");
  for (const [key, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (key === "vars") for (const [name, v] of Object.entries(value)) el.style.setProperty(name, v);
    else el.setAttribute(key, value === true ? "" : clean(value));
  }
  add(el, children);
  return el;
}
function add(el, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    el.append(child instanceof Node ? child : clean(child));
  }
  return el;
}
function svg(tag, props, ...children) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(props || {}))
    if (value !== null && value !== undefined) el.setAttribute(key, value);
  return add(el, children);
}
// A sentence from the report: our words at even places, foreign names at odd ones.
const sentence = (parts) => (parts || []).map((part, i) => (i % 2 ? name(part) : part));
const plain = (parts) => (parts || []).join("");
const name = (text) => h("code", {}, text);
const key = (category) => h("span.key", { "data-c": category, "aria-hidden": "true" });
const category = (c) => h("span.cat", {}, key(c), c);
// A number that tests and scripts can read back.
const num = (text, value) => h("span.num", { "data-v": value }, text);

function announce(text) {
  document.getElementById("live").textContent = clean(text);
}

async function copyText(text, what, how = "copied as Markdown") {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { readonly: true, "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  announce(what + " " + how);
}

// A table as Markdown: what stands in it may hold anything, so bars and line ends are escaped.
function tableMarkdown(table) {
  const cell = (c) =>
    clean(c.dataset.md || c.textContent)
      .replace(/[\\|`*_<>[\]]/g, "\\$&")
      .trim();
  const rows = [...table.rows]
    .filter((r) => !r.hidden)
    .map((r) => [...r.cells].filter((c) => !c.classList.contains("pic")).map(cell));
  if (!rows.length) return "";
  return (
    [rows[0], rows[0].map(() => "---"), ...rows.slice(1)].map((r) => "| " + r.join(" | ") + " |").join("\n") + "\n"
  );
}

// Data behind a picture, made when it is asked for.
function behind(label, head, rows) {
  const details = h("details.behind", {}, h("summary", {}, label));
  let made = false;
  details.addEventListener("toggle", () => {
    if (made || !details.open) return;
    made = true;
    details.append(table(head, rows(), { caption: label }));
  });
  return details;
}

// head: [{text, num, pic}]; rows: arrays of nodes or texts, {v: sort value, c: content}.
function table(head, rows, options = {}) {
  const body = h("tbody");
  const cells = (row) =>
    row.map((cell, i) => {
      const at = head[i] || {};
      const { c, v, md } = cell && typeof cell === "object" && "c" in cell ? cell : { c: cell };
      const el = h(i === 0 && !options.plain ? "th" : "td", {
        class: at.num ? "n" : at.pic ? "pic" : null,
        scope: i === 0 && !options.plain ? "row" : null,
        "data-v": v,
        "data-md": md,
      });
      return add(el, [c]);
    });
  rows.forEach((row) => {
    const tr = h("tr", { id: row.id, "data-step": row.step }, cells(row));
    if (row.onclick) {
      tr.classList.add("click");
      tr.addEventListener("click", row.onclick);
    }
    body.append(tr);
  });
  const headRow = h("tr");
  head.forEach((at, i) => {
    const th = h("th", { scope: "col", class: at.num ? "n" : at.pic ? "pic" : null, title: at.title });
    if (options.sort && !at.pic) {
      const button = h("button.sort", { type: "button" }, at.text);
      button.addEventListener("click", () => {
        const down = th.getAttribute("aria-sort") !== "descending";
        headRow.querySelectorAll("th").forEach((t) => t.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (tr) => {
          const cell = tr.cells[i];
          const v = cell.dataset.v;
          return v === undefined ? cell.textContent : Number.isNaN(Number(v)) ? v : Number(v);
        };
        const sorted = [...body.rows].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          const way = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
          return down ? -way : way;
        });
        body.append(...sorted);
        announce(`sorted by ${at.text}, ${down ? "largest" : "smallest"} first`);
      });
      th.append(button);
    } else if (at.text) add(th, [at.text]);
    else add(th, [h("span.sr", {}, at.sr || "picture")]);
    headRow.append(th);
  });
  const t = h(
    "table",
    { class: options.class },
    options.caption ? h("caption.sr", {}, options.caption) : null,
    h("thead", {}, headRow),
    body,
    options.foot
      ? h(
          "tfoot",
          {},
          options.foot.map((row) => h("tr", {}, cells(row))),
        )
      : null,
  );
  const box = h("div.scroll", { tabindex: "0", role: "region", "aria-label": options.caption || "table" }, t);
  if (options.copy)
    box.append(
      h(
        "button.copy",
        { type: "button", onclick: () => copyText(tableMarkdown(t), options.caption || "Table") },
        "Copy table",
      ),
    );
  return box;
}

// One floating note for all pictures; its text is also in the tables behind them.
const tip = {
  show(event, lines) {
    const el = document.getElementById("tip");
    el.replaceChildren(...lines.filter(Boolean).map((line) => h("div", {}, line)));
    el.hidden = false;
    const x = Math.min(event.clientX + 14, innerWidth - el.offsetWidth - 8);
    const y =
      event.clientY + 18 + el.offsetHeight > innerHeight ? event.clientY - el.offsetHeight - 12 : event.clientY + 18;
    el.style.left = Math.max(4, x) + "px";
    el.style.top = Math.max(4, y) + "px";
  },
  hide() {
    document.getElementById("tip").hidden = true;
  },
};
