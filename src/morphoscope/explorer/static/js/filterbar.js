// The filter, the quick choices, the sorting: every change is an address.

import { columnName, galaxies, h, replace, whole, withinWindow } from "./dom.js";
import { classColumn, current, go, has, OWN, SHARED, shared, subject } from "./route.js";

export function filterBar(route, { sorting = true } = {}) {
  const values = { ...route.values };
  const trouble = h("p", { class: "problem", role: "alert", id: "filter-problem", hidden: true });
  const count = h("span", { class: "count", "aria-live": "polite" });
  const input = h("input", {
    type: "text",
    id: "filter",
    value: values.filter || "",
    placeholder: example(),
    "aria-label": "Filter, an expression",
    "aria-describedby": "filter-problem",
    autocomplete: "off",
    spellcheck: false,
    autocapitalize: "off",
  });
  const clear = h("button", { type: "button", class: "icon clear", "aria-label": "Remove the filter", hidden: !values.filter }, "×");

  function changed(changes) {
    const own = shared(current().values, OWN);
    go(route.view, route.argument, { ...shared({ ...currentValues(), ...changes }, SHARED), ...own });
  }
  function currentValues() {
    return { ...bar.values, filter: input.value.trim() };
  }
  const form = h(
    "form",
    {
      class: "expression",
      role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        changed({});
      },
    },
    input,
    clear,
  );
  input.addEventListener("change", () => changed({}));
  clear.addEventListener("click", () => {
    input.value = "";
    changed({});
  });

  const choices = [];
  const selects = {};
  function choice(name, label, options) {
    const select = h("select", { "aria-label": label, onchange: () => changed({ [name]: select.value }) });
    for (const [value, text] of options) select.append(h("option", { value, selected: (values[name] || "") === value }, text));
    selects[name] = select;
    choices.push(select);
  }
  if (subject.classes.length && has(classColumn())) {
    choice("cls", "Class", [["", "Any class"], ...subject.classes.map((name) => [name, name])]);
  }
  if (has("correct")) choice("right", "Right or wrong", [["", "Right or wrong"], ["wrong", "Wrong"], ["right", "Right"]]);
  if (sorting) {
    const names = subject.columns.map((column) => column.name);
    choice("sort", "Sort by", [["", "Catalogue order"], ...names.map((name) => [name, `By ${name}`])]);
    const direction = h(
      "button",
      {
        type: "button",
        "aria-label": "Largest first",
        "aria-pressed": String(values.descending === "1"),
        onclick: () => changed({ descending: bar.values.descending === "1" ? "" : "1" }),
      },
      "↓",
    );
    direction.title = "Largest first";
    choices.push(direction);
    selects.direction = direction;
  }

  const bar = h("div", { class: "filters", role: "group", "aria-label": "Filter and order" }, form, columnsMenu(input), h("div", { class: "choices" }, choices), h("div", { class: "end" }, count), trouble);
  bar.values = values;
  bar.update = (next) => {
    bar.values = { ...next.values };
    if (document.activeElement !== input || !input.value.trim()) input.value = next.values.filter || "";
    clear.hidden = !next.values.filter;
    for (const name of ["cls", "right", "sort"]) if (selects[name]) selects[name].value = next.values[name] || "";
    if (selects.direction) selects.direction.setAttribute("aria-pressed", String(next.values.descending === "1"));
  };
  bar.refuse = (error) => {
    trouble.hidden = !error;
    trouble.textContent = error ? error.message : "";
    if (error) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  bar.total = (total) => {
    const all = total === subject.rows;
    replace(count, h("b", {}, whole(total)), all ? ` ${galaxies(total)}` : ` of ${whole(subject.rows)}`);
  };
  return bar;
}

function example() {
  const names = subject.columns.map((column) => column.name);
  const chance = names.find((name) => name.startsWith("p_")) || names.find((name) => name === "probability");
  const second = ["out_of_distribution", "entropy", "ra"].find((name) => names.includes(name));
  return [chance && `${columnName(chance)} > 0.8`, second && `${second} < 1`].filter(Boolean).join(" and ") || "id = 'galaxy-17'";
}

// The columns: a click writes the name into the filter.
function columnsMenu(input) {
  const sheet = h(
    "div",
    { class: "sheet" },
    subject.columns.map((column) =>
      h(
        "button",
        {
          type: "button",
          onclick: () => {
            const at = input.selectionStart ?? input.value.length;
            const before = input.value.slice(0, at);
            const name = columnName(column.name);
            input.value = `${before}${before && !before.endsWith(" ") ? " " : ""}${name}${input.value.slice(at)}`;
            menu.open = false;
            input.focus();
          },
        },
        h("div", {}, h("code", {}, column.name), " ", h("span", {}, `${column.kind}${column.unit ? `, ${column.unit}` : ""}`), column.description ? h("div", {}, h("span", {}, column.description)) : null),
      ),
    ),
  );
  const menu = h("details", { class: "menu" }, h("summary", { class: "button", "aria-label": "Columns for the filter" }, "Columns"), sheet);
  return withinWindow(menu);
}
