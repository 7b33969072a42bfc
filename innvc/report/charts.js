// Curves, points, stacked bars and shares.

const MARGIN = { left: 66, right: 14, top: 12, bottom: 42 };
const APART = { x: 75, y: 42 }; // pixels between ticks
const MARKED = 150; // points of a curve that are still drawn one by one

// A figure whose picture follows its width. `draw` fills an svg of a size and gives the points that
// can be pointed at: place, colour, and what is said of them.
function figure(block, draw) {
  const hidden = new Set();
  const svg = mark("svg", { class: "chart", role: "img", tabindex: 0, "aria-label": `${block.title}: ${block.y.name ?? block.y} over ${block.x.name ?? block.x}. Arrow keys read the points.` });
  const tip = element("div", { className: "tip" });
  tip.setAttribute("role", "status");
  const made = element("figure", {}, element("h3", { textContent: block.title }));
  let points = [];
  let current = -1;

  const redraw = () => {
    const [width, height] = [svg.clientWidth, svg.clientHeight];
    if (!width) return;
    svg.replaceChildren();
    show(-1);
    points = draw(svg, width, height, (index) => !hidden.has(index));
  };
  function show(index) {
    current = index;
    svg.querySelector(".ring")?.remove();
    tip.textContent = "";
    if (index < 0) return;
    const point = points[index];
    tip.textContent = point.text;
    svg.append(mark("circle", { class: "ring", cx: point.x, cy: point.y, r: 6 }));
    const left = Math.min(point.x + 12, svg.clientWidth - tip.offsetWidth);
    painted(tip, { left: `${Math.max(0, left)}px`, top: `${svg.offsetTop + point.y - tip.offsetHeight - 8}px` });
  }
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const distance = (p) => Math.hypot(p.x - event.clientX + box.left, (p.y - event.clientY + box.top) * (p.wide ?? 1));
    let nearest = -1;
    points.forEach((point, index) => {
      if (nearest < 0 || distance(point) < distance(points[nearest])) nearest = index;
    });
    show(nearest);
  });
  svg.addEventListener("pointerleave", () => show(-1));
  svg.addEventListener("blur", () => show(-1));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    show((current + step + points.length) % points.length);
  });
  if (block.series.length > 1) made.append(legend(block.series, hidden, redraw));
  made.append(svg, tip);
  if (block.note) made.append(element("p", { className: "note", textContent: block.note }));
  new ResizeObserver(redraw).observe(svg);
  return made;
}

function legend(series, hidden, redraw) {
  const buttons = series.map((one, index) => {
    const swatch = painted(element("span", { className: "swatch" }), { background: colour(one.colour ?? index) });
    const button = element("button", { type: "button" }, swatch, one.name);
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => {
      if (!hidden.delete(index)) hidden.add(index);
      button.setAttribute("aria-pressed", String(!hidden.has(index)));
      redraw();
    });
    return button;
  });
  return element("div", { className: "legend" }, ...buttons);
}

function frame(svg, width, height, x, y, names) {
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  for (const tick of y.ticks) {
    const place = y.place(tick.value);
    svg.append(mark("line", { class: "grid", x1: MARGIN.left, x2: right, y1: place, y2: place }));
    svg.append(mark("text", { x: MARGIN.left - 7, y: place + 4, "text-anchor": "end" }, tick.text));
  }
  for (const tick of x.ticks) {
    const place = x.place(tick.value);
    svg.append(mark("line", { class: "axis", x1: place, x2: place, y1: bottom, y2: bottom + 4 }));
    svg.append(mark("text", { x: place, y: bottom + 17, "text-anchor": "middle" }, x.name?.(tick.value) ?? tick.text));
  }
  svg.append(mark("line", { class: "axis", x1: MARGIN.left, x2: right, y1: bottom, y2: bottom }));
  svg.append(mark("text", { x: (MARGIN.left + right) / 2, y: height - 6, "text-anchor": "middle" }, names[0]));
  const middle = (MARGIN.top + bottom) / 2;
  svg.append(mark("text", { transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" }, names[1]));
}

// block: title, note, x and y {name, log, whole}, series of {name, points [x, y, text], kind "dots",
// large, colour}.
function chart(block) {
  return figure(block, (svg, width, height, visible) => {
    const shown = block.series.map((one, index) => (visible(index) ? known(one.points) : []));
    const all = shown.flat();
    const x = axis(all.map((p) => p[0]), block.x, MARGIN.left, width - MARGIN.right, APART.x);
    const y = axis(all.map((p) => p[1]), block.y, height - MARGIN.bottom, MARGIN.top, APART.y);
    frame(svg, width, height, x, y, [block.x.name, block.y.name]);
    const found = [];
    block.series.forEach((one, index) => {
      const fill = colour(one.colour ?? index);
      const places = shown[index].map((p) => ({ x: x.place(p[0]), y: y.place(p[1]), text: spoken(block, one, p) }));
      if (one.kind !== "dots" && places.length > 1) {
        const path = thinned(places, width).map((p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`).join("L");
        const dashes = (one.colour ?? index) < COLOURS ? "" : "5 4";
        svg.append(painted(mark("path", { class: "curve", d: `M${path}`, "stroke-dasharray": dashes }), { stroke: fill }));
      }
      if (one.kind === "dots" || places.length <= MARKED) {
        const r = one.large ? 5.5 : one.kind === "dots" ? 3.5 : 2.5;
        for (const p of places) svg.append(painted(mark("circle", { class: "point", cx: p.x, cy: p.y, r }), { fill }));
      }
      found.push(...places);
    });
    return found;
  });
}

const known = (points) => points.filter((p) => p[0] !== null && p[1] !== null);

function spoken(block, one, [x, y, text]) {
  const lines = [`${one.name}${text ? `: ${text}` : ""}`, `${block.x.name} ${number(x)}`, `${block.y.name} ${number(y)}`];
  return lines.join("\n");
}

// The highest and the lowest of the places in each column of pixels.
function thinned(places, width) {
  if (places.length <= 2 * width) return places;
  const columns = new Map();
  for (const p of places) {
    const [low, high] = columns.get(Math.round(p.x)) ?? [p, p];
    columns.set(Math.round(p.x), [p.y < low.y ? p : low, p.y > high.y ? p : high]);
  }
  return [...columns.values()].flat();
}

// block: title, note, x and y (names), labels and ticks (numbers) of the bars, series of {name, values}.
function bars(block) {
  const count = block.labels.length;
  return figure(block, (svg, width, height, visible) => {
    const room = width - MARGIN.left - MARGIN.right;
    const run = Math.ceil((3 * count) / room); // bars that stand for one place: their mean
    const places = Math.ceil(count / run);
    const sums = Array.from({ length: places }, (_, place) =>
      block.series.map((one, index) => (visible(index) ? mean(one.values.slice(place * run, (place + 1) * run)) : 0)));
    const totals = sums.map((values) => values.reduce((a, b) => a + b, 0));
    const y = axis(totals, { zero: true }, height - MARGIN.bottom, MARGIN.top, APART.y);
    const size = room / places;
    const gap = size > 4 ? Math.min(3, size * 0.15) : 0;
    const x = { place: (tick) => MARGIN.left + (tick + 0.5) * size, ticks: even(0, places - 1, room / APART.x, true) };
    x.name = (bar) => number(block.ticks?.[bar * run] ?? bar * run);
    frame(svg, width, height, x, y, [block.x, block.y]);
    return sums.map((values, place) => {
      let base = 0;
      values.forEach((value, index) => {
        const [top, bottom] = [y.place(base + value), y.place(base)];
        base += value;
        if (!value) return;
        const box = { class: "bar", x: MARGIN.left + place * size + gap / 2, y: top, width: size - gap, height: bottom - top };
        svg.append(painted(mark("rect", box), { fill: colour(index) }));
      });
      return { x: x.place(place), y: y.place(base), wide: 0.02, text: told(block, values, place, run, visible) };
    });
  });
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function told(block, values, place, run, visible) {
  const last = Math.min(block.labels.length, (place + 1) * run) - 1;
  const title = run > 1 ? `${block.labels[place * run]} to ${block.labels[last]}, mean` : block.labels[place];
  const parts = block.series.flatMap((one, index) => (visible(index) && values[index] ? [`${one.name}: ${number(Math.round(values[index]))}`] : []));
  const total = Math.round(values.reduce((a, b) => a + b, 0));
  return [`${title}: ${number(total)} ${block.y}`, ...(parts.length > 1 ? parts : [])].join("\n");
}

// block: unit, tables of {name, parts [name, value]}.
function shares(block) {
  const made = block.tables.map(({ name, parts }) => {
    const total = parts.reduce((sum, part) => sum + part[1], 0);
    const strip = element("div", { className: "shares" });
    strip.setAttribute("aria-hidden", "true");
    const rows = parts.map(([what, value], index) => {
      strip.append(painted(element("span", { title: what }), { background: colour(index), flex: value }));
      const swatch = painted(element("span", { className: "swatch" }), { background: colour(index) });
      return [[swatch, what], value, `${((100 * value) / (total || 1)).toFixed(1)} %`];
    });
    const values = table({ head: ["", block.unit, "share"], rows });
    return element("div", {}, element("h3", { textContent: name }), strip, values);
  });
  return element("div", { className: "tables" }, ...made);
}

// block: head, rows of texts and numbers; the first column is to the left, or as many as `left`.
function table({ head, rows, left = 1 }) {
  const row = (cells, kind) =>
    element("tr", {}, ...cells.map((cell, index) =>
      element(kind, { className: index < left ? "" : "number" }, ...[cell].flat().map((part) => (part instanceof Node ? part : number(part))))));
  const made = element("table", {}, element("thead", {}, row(head, "th")), element("tbody", {}, ...rows.map((cells) => row(cells, "td"))));
  return element("div", { className: "scroll" }, made);
}
