// What all local pages share: the light and the dark look, the sentence over a page, forms that change something.

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const THEME = "hotspan-theme";
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
const sayTheme = () => {
  const button = document.getElementById("theme");
  button.hidden = false;
  button.setAttribute("aria-pressed", String(isDark()));
  button.textContent = isDark() ? "Light" : "Dark";
};
function setTheme(theme) {
  root.dataset.theme = theme;
  try {
    localStorage.setItem(THEME, theme);
  } catch {
    // Without a store the look lasts as long as the page.
  }
  sayTheme();
  redraws.forEach((f) => f());
}
try {
  const kept = localStorage.getItem(THEME);
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
} catch {
  // As the system wants it.
}

const pages = {};
const link = (href, ...words) => h("a", { href }, words);
const runLink = (id, ...words) => link("/runs/" + encodeURIComponent(id), words);
const words = (text) => String(text).replaceAll("_", " ");
const pill = (kind, text) => h("span.pill", { class: "pill " + kind }, text === undefined ? words(kind) : text);

function query(path, pairs) {
  const all = new URLSearchParams();
  for (const [name, value] of pairs) if (value !== "" && value !== null && value !== undefined) all.append(name, value);
  return path + (all.size ? "?" + all : "");
}

// Sends a form of this page; the answer is JSON, or a page that says why not.
async function send(path, csrf, fields) {
  const answer = await fetch(path, { method: "POST", body: new URLSearchParams({ csrf, ...fields }) });
  if ((answer.headers.get("content-type") || "").startsWith("application/json"))
    return { ok: answer.ok, value: await answer.json() };
  return { ok: false, value: { error: `the server refused it (${answer.status}); open this page again` } };
}

const field = (label, control, kind) =>
  h("label.field", { class: "field" + (kind ? " " + kind : "") }, h("span", {}, label), control);
function choice(options, chosen, props) {
  const select = h(
    "select",
    props,
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
  return select;
}
// A part of a scale of 0 to 1, as wide as it says.
function wide(el, from, to) {
  el.style.left = 100 * from + "%";
  el.style.width = 100 * Math.max(0, to - from) + "%";
  return el;
}
