// uPlot with the page's colours: drawn when seen, again when the theme or the width changes.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const color = (c) => css("--" + c);
const redraws = new Set();

// Draws `make(width)` into an element when it comes into view, and again when it must.
function drawn(el, make) {
  let seen = false,
    width = 0,
    stop = null;
  const draw = () => {
    if (!seen || !el.isConnected || !el.clientWidth) return;
    width = el.clientWidth;
    if (stop) stop();
    stop = make(width) || null;
  };
  new ResizeObserver(() => {
    if (Math.abs(el.clientWidth - width) > 2) draw();
  }).observe(el);
  const look = new IntersectionObserver(
    (entries) => {
      if (!seen && entries.some((e) => e.isIntersecting)) {
        seen = true;
        draw();
      }
    },
    { rootMargin: "600px" },
  );
  look.observe(el);
  addEventListener("beforeprint", () => {
    if (!seen) {
      seen = true;
      draw();
    }
  });
  redraws.add(draw);
  return draw;
}

function axis(more) {
  return {
    stroke: css("--dim"),
    grid: { stroke: css("--grid"), width: 1 },
    ticks: { stroke: css("--grid"), width: 1, size: 5 },
    font: "12px " + css("--font"),
    labelFont: "12px " + css("--font"),
    labelGap: 2,
    labelSize: 20,
    ...more,
  };
}
// As many digits as the distance between two marks needs.
const seconds = (v, step) =>
  Number.isInteger(step) || v >= 120 ? clock(v) : v.toFixed(Number.isInteger(step * 10) ? 1 : 2) + NARROW + "s";
const secondsAxis = (more) =>
  axis({ values: (u, at, i, space, step) => at.map((v) => seconds(v, step)), size: 30, ...more });
const msAxis = (more) =>
  axis({
    values: (u, at) => at.map((v) => (v === null ? "" : ms(v).replace(/\.0+$/, ""))),
    size: 58,
    label: "ms",
    ...more,
  });

// The same on a logarithmic scale: words at 1, 2 and 5 of each decade, lines at the decades.
const logLabel = /^[125]0*$|^0\.0*[125]$/;
const logAxis = (more) =>
  msAxis({
    // Within one decade every mark has its word.
    values: (u, at, i) => {
      const { scale } = u.axes[i];
      const all = u.scales[scale].max / u.scales[scale].min < 10;
      return at.map((v) =>
        v === null || !(all || logLabel.test(String(Number(v.toPrecision(3))))) ? "" : ms(v).replace(/\.0+$/, ""),
      );
    },
    grid: {
      stroke: css("--grid"),
      width: 1,
      filter: (u, at) => at.map((v) => (v && /^10*$|^0\.0*1$/.test(String(Number(v.toPrecision(3)))) ? v : null)),
    },
    ...more,
  });

// A chart: options(width) gives uPlot's options and data. The element says in words what it shows.
function chart(label, height, options) {
  const el = h("div.chart", { role: "img", "aria-label": label });
  el.style.minHeight = height + "px";
  const draw = drawn(el, (width) => {
    const { data, ...opts } = options(width) || {};
    el.replaceChildren();
    if (!data) {
      el.append(h("p.empty", {}, opts.empty || "Nothing to show here."));
      return null;
    }
    const u = new uPlot(
      {
        width,
        height,
        legend: { show: false },
        padding: [10, 12, 0, 0],
        ...opts,
        cursor: { points: { size: 6 }, drag: { x: true, y: false }, ...opts.cursor },
      },
      data,
      el,
    );
    if (opts.tip) {
      u.over.addEventListener("mousemove", (event) => {
        const lines = u.cursor.left >= 0 ? opts.tip(u, u.cursor.idx, event) : null;
        if (lines) tip.show(event, lines);
        else tip.hide();
      });
      u.over.addEventListener("mouseleave", tip.hide);
    }
    return () => u.destroy();
  });
  el.redraw = draw;
  return el;
}

// A bar of parts that sum to `total`; `scale` is the whole width's worth.
function bar(parts, scale, options = {}) {
  const total = parts.reduce((sum, p) => sum + p[1], 0);
  const words = parts
    .filter((p) => p[1] > 0)
    .map((p) => `${p[0]} ${msUnit(p[1])} (${percent(p[1] / total)})`)
    .join(", ");
  const el = h("div.bar", {
    role: "img",
    "aria-label": (options.label ? options.label + ": " : "") + (words || "no time"),
  });
  // Too short for parts to be seen: all of it in the colour of its largest.
  const tiny = total < 0.015 * scale;
  const largest = [...parts].sort((a, b) => b[1] - a[1])[0];
  for (const [c, value] of tiny ? [[largest[0], total]] : parts) {
    if (value <= 0) continue;
    const share = value / Math.max(scale, 1e-9);
    const seg = h(
      "span.seg",
      { "data-c": c },
      share > 0.03
        ? h("b", { "aria-hidden": "true" }, options.text === "share" ? percent(value / total) : ms(value))
        : null,
    );
    seg.style.width = 100 * share + "%";
    seg.addEventListener("mousemove", (event) =>
      tip.show(event, [
        ...(tiny
          ? parts.filter((p) => p[1] > 0).map((p) => h("span", {}, category(p[0]), " ", msUnit(p[1])))
          : [
              h("span", {}, category(c)),
              `${msUnit(value)} per request`,
              `${percent(value / total)} of ${msUnit(total)}`,
            ]),
        options.note,
      ]),
    );
    seg.addEventListener("mouseleave", tip.hide);
    el.append(seg);
  }
  return el;
}
function legend(categories) {
  return h(
    "div.legend",
    {},
    categories.map((c) => category(c)),
  );
}
