// Elements, numbers and axes.

const COLOURS = 8;
const colour = (index) => `var(--c${index % COLOURS})`;

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

function mark(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function painted(made, styles) {
  Object.assign(made.style, styles);
  return made;
}

function number(value) {
  if (typeof value !== "number") return value ?? "-";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  const digits = size >= 1000 ? 0 : size >= 1 ? 2 : size ? Math.min(8, 3 - Math.floor(Math.log10(size))) : 0;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

// A group of radio buttons; `choose` is called with the number of the one that is taken.
let groups = 0;
function radios(title, names, choose, taken = 0) {
  const group = `choice${groups++}`;
  const labels = names.map((name, index) => {
    const input = element("input", { type: "radio", name: group, value: name, checked: index === taken });
    input.addEventListener("change", () => choose(index));
    return element("label", {}, input, name);
  });
  const made = element("div", { className: "choice" }, ...labels);
  made.setAttribute("role", "radiogroup");
  made.setAttribute("aria-label", title);
  return made;
}

// An axis: from what it shows to places between two pixels, and ticks at least so far apart.
function axis(values, { log = false, zero = false, whole = false } = {}, from, to, apart) {
  let low = values.length ? Math.min(...extremes(values)) : 0;
  let high = values.length ? Math.max(...extremes(values)) : 1;
  if (zero) low = Math.min(0, low);
  if (log) {
    [low, high] = [low / 1.1, high * 1.1];
  } else {
    const room = Math.max((high - low) * 0.05, Math.abs(high) * 0.01, 1e-9);
    if (!whole && !zero) low -= room;
    if (!whole || high === low) high += whole ? 1 : room;
  }
  const scale = log ? Math.log10 : (value) => value;
  const [start, length] = [scale(low), scale(high) - scale(low)];
  const place = (value) => from + ((scale(value) - start) / length) * (to - from);
  const ticks = log ? decades(low, high) : even(low, high, Math.abs(to - from) / apart, whole);
  return { place, ticks };
}

function extremes(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function even(low, high, most, whole) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  if (whole) step = Math.max(1, step);
  const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => tick((first + i) * step, digits));
}

const tick = (value, digits) => ({ value, text: value.toLocaleString("en", { maximumFractionDigits: digits }) });

function decades(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const factor of [1, 2, 5]) {
      const value = factor * 10 ** power;
      if (value >= low && value <= high) ticks.push(tick(value, Math.max(0, -power)));
    }
  }
  return ticks;
}
