// Puts the page together: sections, contents, the step menu, theme, deep links, keys.

const root = document.documentElement;
const main = document.getElementById("main");
const toc = document.getElementById("toc");
document.getElementById("run-name").replaceChildren(clean(R.run.name));

for (const s of sections) {
  const body = h("div.body");
  const el = h(
    "section",
    { id: s.id, "aria-labelledby": s.title ? s.id + "-title" : null, "aria-label": s.title ? null : "The answer" },
    s.title
      ? h(
          "div.heading",
          {},
          h(
            "h2",
            { id: s.id + "-title" },
            s.title,
            h("a.link", { href: "#" + s.id, "aria-label": "Link to " + s.title }, "#"),
          ),
        )
      : null,
    s.lead ? h("p.lead", {}, s.lead) : null,
    body,
  );
  main.append(el);
  try {
    s.make(body);
  } catch (error) {
    body.append(h("p.empty", {}, `This part could not be drawn: ${error.message}`));
    console.error(error);
  }
  toc.append(
    h(
      "a",
      { href: "#" + s.id },
      s.title || "The answer",
      s.id === "findings" && R.findings.length ? h("span.count", {}, String(R.findings.length)) : null,
    ),
  );
}

const pick = document.getElementById("step-filter");
pick.append(
  h("option", { value: "-1" }, "All steps"),
  ...withData.map((s) => h("option", { value: String(s.index) }, s.label)),
);
pick.addEventListener("change", () => {
  setStep(Number(pick.value), true);
  link();
  announce(pick.selectedOptions[0].textContent);
});
onState(() => {
  pick.value = String(state.filter);
});

// Links: #section, or #section/step:NAME with a filter.
function here() {
  const [place, ...rest] = decodeURIComponent(location.hash.slice(1)).split("/step:");
  return { place, step: rest.length ? rest.join("/step:") : null };
}
function link() {
  const { place } = here();
  const step = state.filter < 0 ? "" : "/step:" + encodeURIComponent(STEPS[state.filter].label);
  try {
    history.replaceState(null, "", "#" + (place || "answer") + step);
  } catch {
    // A sandboxed page may not: it works without.
  }
}
function follow() {
  let at;
  try {
    at = here();
  } catch {
    return;
  }
  if (at.step !== null) {
    const step = withData.find((s) => s.label === at.step);
    if (step && step.index !== state.filter) setStep(step.index, true);
  }
  let target = document.getElementById(at.place);
  if (at.place.startsWith("trace-")) target = openTrace(at.place.slice(6)) || target;
  if (target && at.place) {
    target.scrollIntoView({ block: "start" });
    if (target.matches("article")) {
      target.classList.add("seen");
      setTimeout(() => target.classList.remove("seen"), 1600);
    }
    if (!target.hasAttribute("tabindex") && !target.matches("button,a")) target.setAttribute("tabindex", "-1");
    target.focus({ preventScroll: true });
  }
}
addEventListener("hashchange", follow);
document.addEventListener("click", (event) => {
  const a = event.target.closest('a[href^="#"]');
  // The same link again must work too.
  if (a && a.getAttribute("href") === location.hash) {
    event.preventDefault();
    follow();
  }
});

const themeButton = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
const redraw = () => redraws.forEach((f) => f());
const sayTheme = () => {
  themeButton.setAttribute("aria-pressed", String(isDark()));
  themeButton.textContent = isDark() ? "Light" : "Dark";
};
function setTheme(theme) {
  root.dataset.theme = theme;
  sayTheme();
  redraw();
}
themeButton.addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
system.addEventListener("change", () => {
  sayTheme();
  redraw();
});
// On paper the page is light and as narrow as the paper, and pictures are drawn for that width: a browser makes everything
// smaller, text too, until what is widest fits.
let before = null;
addEventListener("beforeprint", () => {
  before = root.dataset.theme || "";
  root.classList.add("paper");
  setTheme("light");
});
addEventListener("afterprint", () => {
  root.classList.remove("paper");
  if (before) setTheme(before);
  else {
    delete root.dataset.theme;
    sayTheme();
    redraw();
  }
});
sayTheme();

document.getElementById("copy-all").addEventListener("click", () => copyText(MARKDOWN, "The report"));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "/") {
    pick.focus();
    event.preventDefault();
  }
  if (event.key === "t") themeButton.click();
});
addEventListener("scroll", tip.hide, { passive: true });

const spy = new IntersectionObserver(
  (entries) => {
    for (const e of entries) {
      const a = toc.querySelector(`a[href="#${e.target.id}"]`);
      if (a && e.isIntersecting) {
        toc.querySelectorAll("a").forEach((o) => o.removeAttribute("aria-current"));
        a.setAttribute("aria-current", "true");
      }
    }
  },
  { rootMargin: "-20% 0px -70% 0px" },
);
main.querySelectorAll("section").forEach((s) => spy.observe(s));
if (location.hash) follow();
document.body.dataset.ready = "true";
