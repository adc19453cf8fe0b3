// A scenario picked or written, checked by the reader that runs it, and started.

const EMPTY = `name: first look
target: http://127.0.0.1:8080
load:
  - {rate: 20/s, for: 30s}
steps:
  - GET /
thresholds:
  - latency.p95 < 300ms
`;

function editor(text, onChange) {
  const area = h("textarea", {
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
    wrap: "off",
    "aria-label": "Scenario",
    id: "scenario-text",
  });
  area.value = text;
  const gutter = h("div.gutter", { "aria-hidden": "true" });
  let bad = 0;
  const number = () => {
    const n = area.value.split("\n").length;
    if (gutter.childElementCount !== n || gutter.dataset.bad !== String(bad)) {
      gutter.replaceChildren(
        ...Array.from({ length: n }, (_, i) => h(i + 1 === bad ? "b" : "span", {}, String(i + 1))),
      );
      gutter.dataset.bad = String(bad);
    }
    gutter.scrollTop = area.scrollTop;
  };
  area.addEventListener("input", () => {
    number();
    onChange();
  });
  area.addEventListener("scroll", () => {
    gutter.scrollTop = area.scrollTop;
  });
  area.addEventListener("keydown", (event) => {
    // Two spaces, as YAML wants them; Escape first lets Tab leave the field.
    if (event.key === "Tab" && !event.shiftKey && !area.dataset.leave) {
      event.preventDefault();
      area.setRangeText("  ", area.selectionStart, area.selectionEnd, "end");
      area.dispatchEvent(new Event("input"));
    }
    area.dataset.leave = event.key === "Escape" ? "1" : "";
  });
  number();
  return {
    el: h("div.editor", {}, gutter, area),
    area,
    mark(line) {
      bad = line;
      number();
    },
    go(line, column) {
      const before = area.value.split("\n").slice(0, line - 1);
      const at = before.reduce((sum, l) => sum + l.length + 1, 0) + Math.max(0, column - 1);
      area.focus();
      area.setSelectionRange(at, Math.min(at + 1, area.value.length));
      area.scrollTop = Math.max(0, (line - 8) * 20);
    },
  };
}

pages.start = (box, page) => {
  box.append(h("h1.headline.plain", {}, "Start a run"));
  const picked = choice(
    [["", "A new scenario"], ...page.scenarios.map((s) => [s, s])],
    page.name && page.scenarios.includes(page.name) ? page.name : "",
    { "aria-label": "Scenario" },
  );
  picked.addEventListener("change", () => location.assign(query("/start", [["scenario", picked.value]])));
  const fileName = page.name || "new.yaml";
  const said = h("div.said", { role: "status", "aria-live": "polite" }, h("p", {}, "Checking …"));
  const start = h("button.primary", { type: "button", disabled: true }, "Start the run");
  let last = "",
    timer = 0,
    asked = 0;
  const show = (v) => {
    const error = v.error;
    said.className = "said " + (error ? "bad" : "good");
    edit.mark(error && error.line ? error.line : 0);
    start.disabled = Boolean(error);
    if (error) {
      said.replaceChildren(
        h(
          "p",
          {},
          error.line
            ? h(
                "button.name",
                { type: "button", onclick: () => edit.go(error.line, error.column) },
                `${error.file}:${error.line}:${error.column}`,
              )
            : h("b", {}, error.file || "It cannot be started"),
        ),
        h("p", {}, error.message),
        error.excerpt ? h("pre", {}) : null,
      );
      // The place is shown below the line, so its spaces are kept.
      if (error.excerpt)
        said.querySelector("pre").textContent = `${error.excerpt}\n${" ".repeat(Math.max(0, error.column - 1))}^`;
      return;
    }
    const ok = v.ok;
    said.replaceChildren(
      h(
        "p",
        {},
        h("b", {}, ok.name),
        ` on ${ok.target}: ${ok.load}, ${plural(ok.steps, "step", "steps")}, ${ok.duration}.`,
      ),
      h(
        "p.dim",
        {},
        ok.thresholds
          ? `${plural(ok.thresholds, "threshold decides", "thresholds decide")}.`
          : "No threshold: the run cannot fail.",
      ),
    );
  };
  const check = async () => {
    const text = edit.area.value;
    if (text === last) return;
    last = text;
    const mine = ++asked;
    try {
      const { value } = await send("/check", page.csrf, { scenario: fileName, text });
      if (mine === asked) show(value.ok || value.error?.message ? value : { error: { message: value.error } });
    } catch {
      if (mine === asked) show({ error: { message: "The server does not answer; is it still running?" } });
    }
  };
  const edit = editor(page.text === null ? EMPTY : page.text, () => {
    clearTimeout(timer);
    start.disabled = true;
    timer = setTimeout(check, 350);
  });
  start.addEventListener("click", async () => {
    start.disabled = true;
    const { ok, value } = await send("/start", page.csrf, { scenario: fileName, text: edit.area.value });
    if (ok) location.assign(value.at);
    else show(value.error?.message ? value : { error: { message: value.error } });
  });
  box.append(
    h(
      "p.lead",
      {},
      "Pick a scenario or write one. It is read as you write; what is changed here is run and not written to its file.",
    ),
    h("div.fields", {}, field("Scenario", picked, "wide")),
    edit.el,
    said,
    h("p.ways", {}, start),
  );
  check();
};
