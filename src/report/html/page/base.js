// The report's data and what is looked at of it.

const R = read("report"),
  P = read("pictures"),
  W = read("words"),
  MARKDOWN = read("markdown");

const OWNERS = P.owners.map(([category, service, system, name, code]) => ({ category, service, system, name, code }));

// What is looked at: `filter` is a step's index or -1 for all; `focus` is the step of the pictures that show one.
const STEPS = R.steps.map((step, index) => ({
  ...step,
  index,
  label: W.steps[index].name,
  words: W.steps[index],
  p: P.steps[index],
}));
const withData = STEPS.filter((s) => s.exchanges > 0);
const timeOf = (s) => s.latency_ms.mean * s.exchanges;
// What a request's own row is called: traces that were recorded without a load have no client of ours.
const CLIENT = R.run.origin === "traces" ? "the whole request" : "client, hotspan";
const state = { filter: -1, focus: W.detailed.length ? W.detailed[0] : withData.length ? withData[0].index : -1 };
const watchers = [];
const onState = (f) => {
  watchers.push(f);
};
function setStep(index, filter) {
  if (filter) state.filter = index;
  if (index >= 0) state.focus = index;
  watchers.forEach((f) => f());
}
const focused = () => STEPS[state.focus];
const shownSteps = () => (state.filter < 0 ? withData : withData.filter((s) => s.index === state.filter));

// A trace's id: in the trace browser of the server that shows this page, and where --trace-link says.
const BROWSER = /^https?:$/.test(location.protocol) ? document.body.dataset.traces : null;
function traceRef(id, url) {
  const text = (href) => h("a.mono", { href, rel: "noreferrer noopener" }, id);
  if (!BROWSER) return url ? text(url) : h("span.mono", {}, id);
  return [
    text(BROWSER + id),
    url ? [" ", h("a.small", { href: url, rel: "noreferrer noopener" }, "elsewhere")] : null,
  ];
}

const sections = [];
// A section of the page; `make` fills it, `again` is run when the step changes.
function section(id, title, lead, make) {
  sections.push({ id, title, lead, make });
}

// Step tabs over a picture that shows one step.
function stepTabs() {
  const box = h("div.tabs", { role: "group", "aria-label": "Step" });
  const order = [
    ...new Set([
      ...W.detailed,
      ...[...withData]
        .sort((a, b) => timeOf(b) - timeOf(a))
        .map((s) => s.index),
    ]),
  ];
  const draw = () => {
    box.replaceChildren();
    const few = order.slice(0, 8);
    if (!few.includes(state.focus) && state.focus >= 0) few.push(state.focus);
    for (const index of few) {
      box.append(
        h(
          "button.tab",
          { type: "button", "aria-pressed": String(index === state.focus), onclick: () => setStep(index, false) },
          STEPS[index].label,
        ),
      );
    }
    if (order.length > few.length)
      box.append(h("span.dim.small", {}, `${order.length - few.length} more in the step menu above`));
    box.hidden = order.length < 2;
  };
  draw();
  onState(draw);
  return box;
}
