// How nodes are made: always as text and attributes, never as markup, since names and answers come from strangers.

const SVG = "http://www.w3.org/2000/svg";

/** An element: el("a.button", { href, onclick }, "text", node, null, [more]). */
export function el(selector, attributes = {}, ...children) {
  const [name, ...classes] = selector.split(".");
  return fill(document.createElement(name || "div"), classes, attributes, children);
}

/** The same in SVG. */
export function svg(selector, attributes = {}, ...children) {
  const [name, ...classes] = selector.split(".");
  return fill(document.createElementNS(SVG, name), classes, attributes, children);
}

/** One of the icons that the page holds; decoration, unless `label` says what it means. */
export function icon(name, label = "") {
  const seen = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return svg("svg.icon", seen, svg("use", { href: `#i-${name}` }));
}

function fill(node, classes, attributes, children) {
  node.classList.add(...classes.filter(Boolean));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Make `parent` show `items`: what has not changed stays as it is, and the focus stays where it was. */
export function show(parent, items, keyOf, render) {
  const before = parent.shown ?? new Map();
  const focused = parent.contains(document.activeElement) ? document.activeElement.getAttribute("data-focus") : null;
  const now = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const text = JSON.stringify(item);
    const old = before.get(key);
    now.set(key, old && old.text === text ? old : { text, node: render(item, old && JSON.parse(old.text)) });
  }
  const nodes = [...now.values()].map((each) => each.node);
  if (nodes.length !== parent.childNodes.length || nodes.some((node, place) => parent.childNodes[place] !== node)) {
    parent.replaceChildren(...nodes);
    if (focused) parent.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }
  parent.shown = now;
}

/** Say it to those who do not see the page. */
export function announce(text) {
  document.getElementById("said").textContent = text;
}
