// Numbers as text: the same rules as in the other formats, so a figure reads the same everywhere.

const NARROW = "\u202f";
// A half that floating point holds exactly goes to the even neighbour, as Rust has it; `toFixed` would round it up.
function fixed(size, digits) {
  const half = size * 10 ** digits;
  const isHalf = digits <= 3 && half % 1 === 0.5 && Number.isInteger(size * 2 ** (digits + 1));
  return isHalf ? ((Math.floor(half) + (Math.floor(half) % 2)) / 10 ** digits).toFixed(digits) : size.toFixed(digits);
}
function grouped(value, digits) {
  const [whole, fraction] = fixed(Math.abs(value), digits).split(".");
  return (
    (value < 0 && Number(value.toFixed(digits)) !== 0 ? "-" : "") +
    whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",") +
    (fraction ? "." + fraction : "")
  );
}
function ms(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.0005) return (value < 0 ? "-" : "") + "<0.001";
  return grouped(value, size < 0.0995 ? 3 : size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}
const msUnit = (value) => ms(value) + NARROW + "ms";
function percent(share) {
  if (share === null || share === undefined) return "–";
  const p = share * 100,
    size = Math.abs(p),
    sign = p < 0 ? "-" : "";
  const digits =
    size === 0
      ? "0"
      : size < 0.1
        ? sign + "<0.1"
        : size < 9.95
          ? sign + fixed(size, 1)
          : size < 99.45
            ? sign + fixed(size, 0)
            : size < 100
              ? sign + (Math.floor(size * 10) / 10).toFixed(1)
              : sign + grouped(size, 0);
  return digits + NARROW + "%";
}
// A share of something that has time: rounded away it is still more than nothing.
const shareOf = (share, time) => (share === 0 && time > 0 ? "<0.1" + NARROW + "%" : percent(share));
const count = (n) => grouped(n, 0);
const rate = (value) => {
  const s = Math.abs(value);
  return s === 0 ? "0" : grouped(value, s < 9.995 ? 2 : s < 99.95 ? 1 : 0);
};
const calls = (v) =>
  v === 0
    ? "0"
    : Math.abs(v - Math.round(v)) < 0.005 && v >= 0.995
      ? grouped(v, 0)
      : v < 0.01
        ? "<0.01"
        : grouped(v, v < 0.995 ? 2 : 1);
const signed = (value) => (value > 0 ? "+" : "") + ms(value);
function clock(seconds) {
  const s = Math.round(seconds);
  return s < 120
    ? (seconds < 10 && seconds % 1 ? seconds.toFixed(1) : s) + NARROW + "s"
    : Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0");
}
const plural = (n, one, many) => count(n) + NARROW + (n === 1 ? one : many);
