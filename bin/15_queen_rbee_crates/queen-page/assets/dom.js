// Elements and lists of them. Text is always text: nothing here makes markup of it.

export const one = (selector, within = document) => within.querySelector(selector);

export function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

// Writes only what is another text than before.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The same, which may be broken behind each slash.
export function writePath(element, text) {
  if (element.textContent === text) return;
  const parts = text.split("/");
  element.replaceChildren(...parts.flatMap((part, at) => (at < parts.length - 1 ? [part + "/", document.createElement("wbr")] : [part])));
}

export function show(element, is) {
  if (element.hidden === is) element.hidden = !is;
}

// Makes the children of `parent` one for each of `items`, in their order, and keeps those that stay.
export function list(parent, items, keyOf, begin, update) {
  const known = (parent.known ??= new Map());
  const wanted = new Set();
  let next = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let element = known.get(key);
    if (!element) {
      element = begin(item);
      known.set(key, element);
    }
    update(element, item);
    if (element === next) next = next.nextSibling;
    else parent.insertBefore(element, next);
  }
  for (const [key, element] of known) {
    if (!wanted.has(key)) {
      known.delete(key);
      element.remove();
    }
  }
}

const SVG = "http://www.w3.org/2000/svg";

export function plot() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "plot");
  svg.setAttribute("viewBox", "0 0 60 18");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "path"));
  return svg;
}

// The last sixty of `values` as a line.
export function draw(svg, values) {
  const last = values.slice(-60);
  const most = Math.max(1, ...last);
  const from = 60 - last.length;
  const points = last.map((value, at) => (from + at) + " " + (17 - (16 * value) / most).toFixed(1));
  svg.firstChild.setAttribute("d", points.length > 1 ? "M" + points.join("L") : "");
}
