// The list of keys.

import { h } from "./dom.js";

const KEYS = [
  ["Everywhere", [["g", "gallery"], ["c", "charts"], ["l", "label"], ["/", "go to the filter"], ["?", "this list"]]],
  ["Gallery", [["← ↑ → ↓", "move"], ["Page Up, Page Down", "a page"], ["Home, End", "first, last"], ["Enter", "open"], ["x", "select"]]],
  ["One galaxy", [["← →", "previous, next"], ["+ −", "zoom"], ["0", "whole image"], ["m", "map on and off"], ["Esc", "back"]]],
  ["Label", [["1 – 9, 0", "the answer of this number"], ["u", "unsure"], ["s", "skip"], ["z", "undo"]]],
];

export function showKeys() {
  const title = h("h2", { id: "keys-title" }, "Keys");
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = h(
    "dialog",
    { "aria-labelledby": "keys-title" },
    h("header", {}, title, close),
    KEYS.map(([name, keys]) => [
      h("h3", { style: { margin: "0.9rem 0 0.3rem" } }, name),
      h("dl", { class: "keys" }, keys.map(([key, what]) => h("div", {}, h("dt", {}, what), h("dd", {}, h("kbd", {}, key))))),
    ]),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
