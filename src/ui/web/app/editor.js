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
  const file = h("input", {
    value: page.name || "new.yaml",
    "aria-label": "File",
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
  });
  const fileName = () => file.value.trim();
  // What the file holds, as far as this page knows.
  let kept = { name: page.name, text: page.text, version: page.version };
  const said = h("div.said", { role: "status", "aria-live": "polite" }, h("p", {}, "Checking …"));
  const start = h("button.primary", { type: "button", disabled: true }, "Start the run");
  const save = h("button", { type: "button", disabled: true }, "Save");
  const saved = h("span.dim", { role: "status" });
  const isKept = () => Boolean(kept.version) && kept.name === fileName() && kept.text === edit.area.value;
  let mayBeSaved = false;
  const sayKept = () => {
    save.disabled = !mayBeSaved || isKept();
    save.textContent = kept.version && kept.name === fileName() ? "Save" : "Save as a new file";
    if (!isKept()) saved.textContent = kept.version && kept.name === fileName() ? "Not saved yet." : "";
  };
  let last = "",
    timer = 0,
    asked = 0;
  const show = (v) => {
    const error = v.error;
    said.className = "said " + (error ? "bad" : "good");
    edit.mark(error && error.line ? error.line : 0);
    start.disabled = Boolean(error);
    mayBeSaved = !error || error.can_be_saved === true;
    sayKept();
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
    if (fileName() + "\n" + text === last) return;
    last = fileName() + "\n" + text;
    const mine = ++asked;
    try {
      const { value } = await send("/check", page.csrf, { scenario: fileName(), text });
      if (mine === asked) show(value.ok || value.error?.message ? value : { error: { message: value.error } });
    } catch {
      if (mine === asked) show({ error: { message: "The server does not answer; is it still running?" } });
    }
  };
  const changed = () => {
    clearTimeout(timer);
    start.disabled = true;
    mayBeSaved = false;
    sayKept();
    timer = setTimeout(check, 350);
  };
  const edit = editor(page.text === null ? EMPTY : page.text, changed);
  file.addEventListener("input", changed);
  save.addEventListener("click", async () => {
    save.disabled = true;
    const [name, text] = [fileName(), edit.area.value];
    const version = kept.name === name ? kept.version : "";
    let answer;
    try {
      answer = await send("/save", page.csrf, { scenario: name, text, version });
    } catch {
      answer = { ok: false, value: { error: "The server does not answer; is it still running?" } };
    }
    const { ok, value } = answer;
    if (!ok) {
      sayKept();
      saved.textContent = "";
      said.className = "said bad";
      const why = value.error?.message || value.error;
      return said.replaceChildren(h("p", {}, h("b", {}, "Not saved: "), why));
    }
    kept = { name, text, version: value.version };
    if (![...picked.options].some((o) => o.value === name)) picked.append(h("option", { value: name }, name));
    picked.value = name;
    sayKept();
    saved.textContent = `Saved as ${name}.`;
  });
  start.addEventListener("click", async () => {
    start.disabled = true;
    const { ok, value } = await send("/start", page.csrf, { scenario: fileName(), text: edit.area.value });
    if (ok) location.assign(value.at);
    else show(value.error?.message ? value : { error: { message: value.error } });
  });
  box.append(
    h(
      "p.lead",
      {},
      "Pick a scenario or write one. It is read as you write, and run as it stands here. Saving keeps it in the folder of scenarios.",
    ),
    h("div.fields", {}, field("Scenario", picked, "wide"), field("File", file, "wide")),
    edit.el,
    said,
    h("p.ways", {}, start, save, saved),
  );
  check();
};
