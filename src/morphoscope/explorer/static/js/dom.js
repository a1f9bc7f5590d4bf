// Small helpers: elements without markup strings (so that no name can become markup), numbers, announcements.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name in element && !(element instanceof SVGElement) && !name.startsWith("aria") && name !== "list" && name !== "role") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

export function replace(element, ...children) {
  element.replaceChildren();
  return add(element, ...children);
}

export const add = (element, ...children) => fill(element, {}, children);

export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

export function debounced(action, milliseconds) {
  let waiting;
  return (...values) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => action(...values), milliseconds);
  };
}

// A menu whose sheet is moved as far as it would stand out of the window.
export function withinWindow(menu) {
  menu.addEventListener("toggle", () => {
    const sheet = menu.querySelector(".sheet");
    sheet.style.translate = "";
    const { left, right } = sheet.getBoundingClientRect();
    const shift = Math.max(8 - left, Math.min(0, document.documentElement.clientWidth - 8 - right));
    if (menu.open && shift) sheet.style.translate = `${shift}px`;
  });
  return menu;
}

export const whole = (value) => Number(value).toLocaleString("en-GB");
export const galaxies = (count) => (count === 1 ? "galaxy" : "galaxies");
export const counted = (count) => `${whole(count)} ${galaxies(count)}`;

// A number with as many digits as say something.
export function brief(value) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e15 ? whole(value) : String(value);
  const size = Math.abs(value);
  if (size >= 1000) return value.toLocaleString("en-GB", { maximumFractionDigits: 1 });
  if (size >= 100) return value.toFixed(1);
  if (size >= 0.01) return value.toFixed(3).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
  return size === 0 ? "0" : value.toExponential(1);
}

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const probability = (value) => (typeof value === "number" ? value.toFixed(2) : "–");

export function problem(error) {
  return h("p", { class: "problem", role: "alert" }, error.message || String(error));
}

export function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export const series = (index) => css(`--series-${(index % 10) + 1}`);

// A text as SQL-like filters write it.
export const literal = (text) => `'${String(text).replaceAll("'", "''")}'`;
export const columnName = (name) => (/^[A-Za-z_]\w*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);
