// Two catalogues of the same galaxies: how often they agree, and the galaxies on which they differ.

import { get } from "./api.js";
import { brief, h, literal, whole } from "./dom.js";
import { matrix } from "./plots.js";
import { href, subject } from "./route.js";

export async function compareView(main) {
  const found = await get("compare");
  const link = (filter, values = {}) => href("gallery", "", { filter, ...values });
  const share = (count) => (found.both ? `${((100 * count) / found.both).toFixed(1)} %` : "–");
  const figure = (value, text, filter) => h("div", {}, h("dt", {}, text), h("dd", {}, filter ? h("a", { href: link(filter) }, value) : value));
  const sections = [
    h(
      "section",
      { class: "card" },
      h("h1", { style: { "margin-bottom": "1rem" } }, `${subject.name} and ${found.other}`),
      h(
        "dl",
        { class: "figures" },
        figure(whole(found.both), "galaxies in both", "differs is not null"),
        figure(share(found.both - found.differ), "same class", "not differs"),
        figure(whole(found.differ), "differ", "differs"),
        found.missing ? figure(whole(found.missing), "here alone", "differs is null") : null,
      ),
      h("p", { class: "links small", style: { "margin-top": "0.9rem" } },
        h("a", { href: link("differs", { sort: "probability", descending: "1" }) }, "They differ, and this one is sure"),
        subject.columns.some((column) => column.name === "other_probability") ? h("a", { href: link("differs", { sort: "other_probability", descending: "1" }) }, "They differ, and the other one is sure") : null,
      ),
    ),
  ];
  if (found.right) {
    const { both, first, second, neither, p } = found.right;
    const total = both + first + second + neither;
    sections.push(
      h(
        "section",
        { class: "card" },
        h("h2", {}, `Against the labels of ${whole(total)} galaxies`),
        h(
          "dl",
          { class: "figures" },
          figure(whole(both), "both right", "correct and other_correct"),
          figure(whole(first), `only ${subject.name} right`, "correct and not other_correct"),
          figure(whole(second), `only ${found.other} right`, "not correct and other_correct"),
          figure(whole(neither), "both wrong", "not correct and not other_correct"),
        ),
        h("p", { class: "muted small note" }, `Right: ${((100 * (both + first)) / total).toFixed(1)} % and ${((100 * (both + second)) / total).toFixed(1)} %. McNemar's test of the difference: p = ${brief(p)}.`),
      ),
    );
  }
  sections.push(
    h(
      "section",
      { class: "card" },
      h("h2", {}, "What each says"),
      matrix({
        rows: found.classes,
        columns: found.classes,
        counts: found.counts,
        rowTitle: subject.name,
        columnTitle: found.other,
        caption: "Classes of the two catalogues",
        link: (mine, other) => link(`predicted = ${literal(mine)} and other_predicted = ${literal(other)}`),
      }),
      h("p", { class: "muted small note" }, "A cell opens its galaxies."),
    ),
  );
  main.append(h("div", { class: "compare" }, sections));
}
