// Sums over steps and slices, for the pictures over time.

const seenCategories = (steps) => CATEGORY_NAMES.filter((c) => steps.some((s) => s.categories[c].mean_ms > 0));

// Weighted sums over steps, slice by slice: {exchanges, errors, categories: {c: [ms per exchange]}}.
function course(steps) {
  const n = P.load.started.length;
  const rich = steps.filter((s) => s.p && s.p.slices);
  const out = {
    exchanges: new Array(n).fill(0),
    errors: new Array(n).fill(0),
    weight: new Array(n).fill(0),
    latency: new Array(n).fill(0),
    categories: {},
    complete: rich.length === steps.length,
  };
  for (const s of rich) {
    const at = s.p.slices;
    at.exchanges.forEach((v, i) => {
      out.exchanges[i] += v;
      out.errors[i] += at.errors[i];
      out.weight[i] += at.weight[i];
      out.latency[i] += at.latency_ms[i];
    });
    for (const [c, values] of Object.entries(at.categories_ms)) {
      const mine = (out.categories[c] = out.categories[c] || new Array(n).fill(0));
      values.forEach((v, i) => {
        mine[i] += v;
      });
    }
  }
  return out;
}
// A run whose requests were all due within a moment has no course over time.
const tooShort = () => P.load.started.length * P.slice_ms < 100;
const TOO_SHORT = "All requests were due within a tenth of a second: nothing to see over time.";
// Seconds since the start at each slice's middle.
const sliceTimes = () => P.load.started.map((_, i) => ((i + 0.5) * P.slice_ms) / 1000);
// Fewer slices where a slice has too few requests: groups of `by` slices summed.
function coarser(values, by) {
  const out = [];
  for (let i = 0; i < values.length; i += by) out.push(values.slice(i, i + by).reduce((a, b) => a + b, 0));
  return out;
}
function grouping(total, slices) {
  // About twenty requests in a point, at most 240 points, at least 12, and not more than there are requests.
  const wanted = Math.max(4, Math.min(12, total), Math.min(slices, Math.floor(total / 20)));
  return Math.max(1, Math.ceil(slices / wanted));
}
