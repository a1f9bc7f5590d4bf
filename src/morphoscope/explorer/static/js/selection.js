// Galaxies that are picked one by one; they become a filter, so that whatever takes a filter takes them.

import { galaxies, h, replace, whole } from "./dom.js";
import { go } from "./route.js";

const MOST = 2000;
const rows = new Set();
const listeners = new Set();

export const chosen = {
  has: (row) => rows.has(row),
  get size() {
    return rows.size;
  },
  toggle(row) {
    if (rows.has(row)) rows.delete(row);
    else if (rows.size < MOST) rows.add(row);
    for (const listener of listeners) listener();
  },
  clear() {
    rows.clear();
    for (const listener of listeners) listener();
  },
  get filter() {
    return `row in (${[...rows].sort((a, b) => a - b).join(", ")})`;
  },
};

export function chosenBar(redraw) {
  const bar = h("div", { class: "chosen bar", role: "status" });
  function update() {
    if (!bar.isConnected && bar.dataset.mounted) {
      listeners.delete(update);
      return;
    }
    bar.hidden = !rows.size;
    if (rows.size) {
      replace(
        bar,
        h("span", {}, h("b", {}, whole(rows.size)), ` ${galaxies(rows.size)} selected`),
        h("button", { type: "button", onclick: () => go("gallery", "", { filter: chosen.filter }) }, "Show only these"),
        h("button", { type: "button", onclick: () => go("label", "", { filter: chosen.filter }) }, "Label these"),
        h("button", { type: "button", onclick: () => chosen.clear() }, "Clear"),
      );
    }
    redraw();
  }
  listeners.add(update);
  bar.hidden = true;
  requestAnimationFrame(() => {
    bar.dataset.mounted = "1";
    update();
  });
  return bar;
}
