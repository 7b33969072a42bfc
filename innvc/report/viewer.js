// Pictures beside each other: split, one alone, or their difference.
//
// block: files (addresses), names of the pictures of an item, pair (the two that are shown first),
// items of {name, detail, pictures (numbers of files), labels (of these), aspect}, step (what an item
// is), note.
function viewer(block) {
  const state = { item: 0, pair: block.pair, mode: 0, split: 50, gain: 4, zoom: 0 };
  const images = [new Image(), new Image()];
  const difference = element("canvas", { className: "difference" });
  const edge = element("div", { className: "edge" });
  const labels = ["left", "right"].map((side) => element("div", { className: `label ${side}` }));
  const stage = element("div", { className: "stage" }, ...images, difference, edge, ...labels);
  const view = element("div", { className: "view" }, stage);
  const text = element("output");
  const told = element("output", { className: "told" });

  const sides = block.names.length > 2 ? ["Left", "Right"] : block.names;
  const modes = ["Split", ...sides, "Difference"];
  const choices = radios("What is shown", modes, (index) => change({ mode: index }));
  const split = slider("Split", 0, 100, state.split, (value) => change({ split: value }));
  const gain = slider("Amplified", 0, 6, 2, (value) => change({ gain: 2 ** value }));
  gain.append(told);
  const zoom = select("Size", ["fit", "100 %", "200 %", "400 %"], 0, (index) => change({ zoom: index }));
  const tools = element("div", { className: "tools" }, choices, split, gain, zoom);
  if (block.names.length > 2) {
    const choose = (side) => (index) => change({ pair: state.pair.with(side, index) });
    tools.prepend(...sides.map((name, side) => select(name, block.names, block.pair[side], choose(side))));
  }
  const items = slider(block.step, 0, block.items.length - 1, 0, (value) => change({ item: value }));
  const frames = element("div", { className: "frames" }, ...items.childNodes, text);
  frames.hidden = block.items.length < 2 && !block.items[0]?.detail;

  function change(part) {
    Object.assign(state, part);
    update();
  }

  let asked = 0;
  async function update() {
    const turn = ++asked;
    const item = block.items[state.item];
    const names = state.pair.map((index) => (item.labels ?? block.names)[index]);
    text.textContent = [item.name, item.detail].filter(Boolean).join(" · ");
    state.pair.forEach((index, side) => {
      const file = block.files[item.pictures[index]];
      if (images[side].src !== file) images[side].src = file;
      images[side].alt = `${item.name}, ${names[side]}`;
    });
    await Promise.all(images.map((image) => image.decode().catch(() => {})));
    if (turn !== asked) return; // something else was chosen meanwhile
    const [splits, differs] = [state.mode === 0, state.mode === 3];
    images[0].hidden = differs || state.mode === 2;
    images[1].hidden = differs || state.mode === 1;
    images[1].style.clipPath = splits ? `inset(0 0 0 ${state.split}%)` : "";
    edge.hidden = !splits;
    painted(edge, { left: `calc(${state.split}% - 1px)` });
    difference.hidden = !differs;
    labels[0].textContent = differs ? "difference" : names[state.mode === 2 ? 1 : 0];
    labels[1].textContent = names[1];
    labels[1].hidden = !splits;
    split.hidden = !splits;
    gain.hidden = !differs;
    resize(item.aspect);
    if (differs) subtract();
    stage.dataset.item = state.item;
  }

  function resize(aspect) {
    const factor = [0, 1, 2, 4][state.zoom] / devicePixelRatio;
    const height = images[0].naturalHeight * factor;
    const fit = `min(100%, calc(62vh * ${aspect}))`;
    painted(stage, { width: factor ? `${height * aspect}px` : fit, aspectRatio: String(aspect) });
    stage.classList.toggle("large", state.zoom > 1);
  }

  function subtract() {
    const [width, height] = [images[0].naturalWidth, images[0].naturalHeight];
    Object.assign(difference, { width, height });
    const context = difference.getContext("2d", { willReadFrequently: true });
    const [a, b] = images.map((image) => {
      context.drawImage(image, 0, 0);
      return context.getImageData(0, 0, width, height).data;
    });
    const result = context.createImageData(width, height);
    let largest = 0;
    for (let i = 0; i < a.length; i++) {
      const error = i % 4 === 3 ? 255 : Math.abs(a[i] - b[i]);
      if (i % 4 < 3 && error > largest) largest = error;
      result.data[i] = i % 4 === 3 ? 255 : error * state.gain;
    }
    context.putImageData(result, 0, 0);
    told.textContent = `${state.gain} times; ${largest ? `largest ${largest} of 255` : "identical"}`;
  }

  const drag = (event) => {
    if (state.mode !== 0 || !(event.buttons & 1)) return;
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    const place = Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width));
    split.querySelector("input").value = place;
    change({ split: place });
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", drag);
  const made = element("div", { className: "viewer" }, tools, frames, view);
  if (block.note) made.append(element("p", { className: "note", textContent: block.note }));
  if (block.items.length) update();
  return made;
}

function slider(name, min, max, value, choose) {
  const input = element("input", { type: "range", min, max, value });
  input.setAttribute("aria-label", name);
  input.addEventListener("input", () => choose(Number(input.value)));
  return element("label", {}, name, input);
}

function select(name, texts, taken, choose) {
  const options = texts.map((text, index) => element("option", { textContent: text, selected: index === taken }));
  const input = element("select", {}, ...options);
  input.addEventListener("change", () => choose(input.selectedIndex));
  return element("label", {}, name, input);
}
