// Builds the page from its content.

const KINDS = {
  // items [name, value]; large
  facts: ({ items, large }) =>
    element("dl", { className: large ? "large" : "" }, ...items.flatMap(([name, value]) => {
      const pair = [element("dt", { textContent: name }), element("dd", { textContent: value })];
      return large ? [element("div", {}, ...pair)] : pair;
    })),
  text: ({ text }) => element("p", { textContent: text }),
  table,
  shares,
  chart,
  bars,
  viewer,
  // name, options of {name, blocks}: one of them is shown
  choice: ({ name, options }) => {
    const bodies = options.map((option, index) => element("div", { hidden: index > 0 }, ...built(option.blocks)));
    const choose = (taken) => bodies.forEach((body, index) => (body.hidden = index !== taken));
    return element("div", {}, radios(name, options.map((option) => option.name), choose), ...bodies);
  },
};

const built = (blocks) => blocks.map((block) => KINDS[block.type](block));

function section({ title, blocks }) {
  const made = element("section", { className: title ? "" : "bare" });
  if (title) made.append(element("h2", { textContent: title }));
  made.append(...built(blocks));
  return made;
}

function themes() {
  const button = element("button", { type: "button", className: "theme" });
  let dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => (button.textContent = dark ? "Light" : "Dark");
  button.addEventListener("click", () => {
    dark = !dark;
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    name();
  });
  name();
  return button;
}

const content = JSON.parse(document.getElementById("content").textContent);
const head = element("header", {}, element("h1", { textContent: content.title }), element("p", { textContent: content.subtitle }), themes());
document.getElementById("page").append(head, ...content.sections.map(section));
