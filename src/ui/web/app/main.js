// Puts the page together.

sayTheme();
document.getElementById("theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
dark.addEventListener("change", () => {
  sayTheme();
  redraws.forEach((f) => f());
});
addEventListener("scroll", tip.hide, { passive: true });

const entrance = document.getElementById("enter");
if (entrance && location.hash.length > 1) {
  // The printed link has the token behind its `#`, which is sent nowhere by itself.
  document.getElementById("token").value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", "/enter");
  entrance.submit();
}

const onwards = document.getElementById("enter-to");
if (onwards && onwards.value !== "/" && location.hash.length < 2) {
  // A link out of a report comes from an origin of its own, with which browsers send no cookie: from here they do.
  fetch(onwards.value, { method: "HEAD" })
    .then((answer) => {
      if (answer.ok && !answer.redirected) location.replace(onwards.value);
    })
    .catch(() => {});
}

const data = document.getElementById("page");
if (data) {
  const page = JSON.parse(data.textContent);
  const box = document.getElementById("main");
  try {
    pages[page.kind](box, page);
  } catch (error) {
    box.append(h("p.empty", {}, `This page could not be drawn: ${error.message}`));
    console.error(error);
  }
}
document.body.dataset.ready = "true";
