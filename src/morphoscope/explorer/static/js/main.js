// The page: which view the address asks for, and what every view has in common.

import { get } from "./api.js";
import { classifyView } from "./classify.js";
import { compareView } from "./compare.js";
import { chartsView } from "./charts.js";
import { announce, counted, h, problem, replace } from "./dom.js";
import { galaxyView } from "./galaxy.js";
import { galleryView } from "./gallery.js";
import { showKeys } from "./keys.js";
import { labelView } from "./label.js";
import { current, go, href, shared, subject } from "./route.js";

const VIEWS = [
  { name: "gallery", title: "Gallery", open: galleryView },
  { name: "charts", title: "Charts", open: chartsView },
  { name: "label", title: "Label", open: labelView },
  { name: "classify", title: "Classify", open: classifyView },
  { name: "compare", title: "Compare", open: compareView },
  { name: "galaxy", title: "Galaxy", open: galaxyView, hidden: true },
];
const main = document.getElementById("main");
let leave = null; // what the view that is shown wants done before the next
let shown = "";

function offered() {
  return VIEWS.filter((view) => !view.hidden && (view.name !== "compare" || subject.compared));
}

function navigation(route) {
  const marked = route.view === "galaxy" ? "gallery" : route.view;
  replace(
    document.getElementById("views"),
    offered().map((view) =>
      h("a", { href: href(view.name, "", shared(route.values)), "aria-current": view.name === marked ? "page" : undefined }, view.title),
    ),
  );
}

async function show() {
  const route = current();
  const view = VIEWS.find((each) => each.name === route.view) || VIEWS[0];
  navigation({ ...route, view: view.name });
  if (leave && shown === view.name && leave.changed) {
    leave.changed(route); // the same view with other values keeps its place
    return;
  }
  if (leave && leave.close) leave.close();
  leave = null;
  const changedView = shown !== view.name;
  shown = view.name;
  replace(main);
  document.title = `${view.title} · ${subject.name} · Morphoscope`;
  try {
    leave = (await view.open(main, route)) || null;
  } catch (error) {
    replace(main, h("div", { class: "loading" }, problem(error)));
  }
  if (changedView) announce(`${view.title} of ${subject.name}`);
}

function theme() {
  const root = document.documentElement;
  let kept = null;
  try {
    kept = localStorage.getItem("morphoscope-theme");
  } catch {
    // a frame without storage
  }
  if (kept) root.dataset.theme = kept;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem("morphoscope-theme", root.dataset.theme);
    } catch {
      // as above
    }
    window.dispatchEvent(new Event("themechange"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => window.dispatchEvent(new Event("themechange")));
}

const TEXTLESS = ["button", "checkbox", "color", "file", "image", "radio", "range", "reset", "submit"];

// Whether a key is for what has the focus. A box that was ticked, a slider and a list that is closed keep the focus
// and take no characters but the space: those are for the page.
function typing(event) {
  if (document.querySelector("dialog[open]")) return true;
  const field = event.target.closest("input, select, textarea, [contenteditable]");
  if (!field) return false;
  const open = field.matches("select") && (!CSS.supports("selector(:open)") || field.matches(":open"));
  const textless = field.matches("select") || TEXTLESS.includes(field.type);
  return open || !textless || event.key.length > 1 || event.key === " ";
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing(event)) {
    if (event.key === "Escape" && event.target.blur && !document.querySelector("dialog[open]")) event.target.blur();
    return;
  }
  if (event.key === "?") {
    event.preventDefault();
    showKeys();
  } else if (event.key === "/") {
    event.preventDefault();
    const input = document.getElementById("filter");
    if (input) input.focus();
    else go("gallery", "", shared(current().values));
  } else if (event.key === "g" || event.key === "c" || event.key === "l") {
    event.preventDefault(); // a list that has the focus would look for this letter
    const name = { g: "gallery", c: "charts", l: "label" }[event.key];
    if (shown !== name) go(name, "", shared(current().values));
  } else if (leave && leave.key) leave.key(event);
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
document.getElementById("help").addEventListener("click", showKeys);
theme();

try {
  Object.assign(subject, await get("subject"));
  document.getElementById("subject").textContent = `${subject.name} · ${counted(subject.rows)}`;
  window.addEventListener("hashchange", show);
  await show();
} catch (error) {
  replace(main, h("div", { class: "loading" }, problem(error)));
}
