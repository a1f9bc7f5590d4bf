// Two catalogues of the same galaxies: how often they agree, and the galaxies on which they differ.

import { get } from "./api.js";
import { brief, columnName, counted, galaxies, h, literal, problem, replace, s, whole } from "./dom.js";
import { brush, cells, exact, frame, inverse, matrix } from "./plots.js";
import { go, has, href, remember, subject } from "./route.js";

export async function compareView(main, route) {
  const found = await get("compare");
  const link = (filter, values = {}) => href("gallery", "", { filter, ...values });
  const share = (count, of) => (of ? `${((100 * count) / of).toFixed(1)} %` : "–");
  const figure = (value, text, filter) => h("div", {}, h("dt", {}, text), h("dd", {}, filter ? h("a", { href: link(filter) }, value) : value));
  const named = found.classes ? found : found.path;
  const there = found.quantities.length ? "difference is not null" : "differs is not null";
  const away = found.quantities.length ? "difference is null" : "differs is null";
  const sections = [
    h(
      "section",
      { class: "card" },
      h("h1", { style: { "margin-bottom": "1rem" } }, `${subject.name} and ${found.other}`),
      h(
        "dl",
        { class: "figures" },
        figure(whole(found.both), `${galaxies(found.both)} in both`, there),
        named ? figure(share(named.both - named.differ, named.both), found.classes ? "same class" : "same path through the tree", "not differs") : null,
        named ? figure(whole(named.differ), "differ", "differs") : null,
        found.missing ? figure(whole(found.missing), "here alone", away) : null,
      ),
      h("p", { class: "links small", style: { "margin-top": "0.9rem" } },
        found.classes ? h("a", { href: link("differs", { sort: "probability", descending: "1" }) }, "They differ, and this one is sure") : null,
        has("other_probability") ? h("a", { href: link("differs", { sort: "other_probability", descending: "1" }) }, "They differ, and the other one is sure") : null,
        found.quantities.length ? h("a", { href: link(there, { sort: "difference", descending: "1" }) }, "The largest differences first") : null,
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
        h("h2", {}, `Against the labels of ${counted(total)}`),
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
  if (found.classes) sections.push(
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
  if (found.quantities.length) sections.push(h("div", { class: "pair" }, scatterCard(found, route), quantitiesCard(found, link)));
  main.append(h("div", { class: "compare" }, sections));
  // Text on coloured cells is dark or light by the theme.
  const again = () => {
    if (!main.querySelector(".compare")) return;
    replace(main);
    compareView(main, route);
  };
  window.addEventListener("themechange", again, { once: true });
}

// One quantity in both catalogues; a region that is dragged over opens its galaxies.
function scatterCard(found, route) {
  const area = h("div", {});
  const choice = h("select", { "aria-label": "Quantity", onchange: () => { remember(route, { quantity: choice.value }); draw(); } }, found.quantities.map((each) => h("option", { value: each.name, selected: each.name === route.values.quantity }, each.name)));
  const draw = async () => {
    try {
      const name = choice.value;
      const { unit } = found.quantities.find((each) => each.name === name);
      const dots = await get("compare/scatter", { column: name });
      const range = [dots.low, dots.high];
      const units = unit ? ` (${unit})` : "";
      const plot = frame({ area, ratio: 0.95, x: range, y: range, xLabel: `${subject.name}${units}`, yLabel: `${found.other}${units}`, label: `${name} in the two catalogues`, left: 58 });
      plot.svg.append(await cells(plot, dots.counts, dots.cells, dots.cells));
      plot.svg.append(s("line", { x1: plot.x(dots.low), y1: plot.y(dots.low), x2: plot.x(dots.high), y2: plot.y(dots.high), class: "diagonal" }));
      const column = columnName(name);
      brush(plot, {
        box: true,
        inverseX: inverse(plot.x, ...range),
        inverseY: inverse(plot.y, ...range),
        done: (...ends) => {
          const [from, to, low, high] = ends.map((end) => exact(end, dots.high - dots.low));
          go("gallery", "", { filter: `${column} between ${from} and ${to} and ${columnName(`other_${name}`)} between ${low} and ${high}` });
        },
      });
      const beyond = dots.outside ? ` ${whole(dots.outside)} ${dots.outside === 1 ? "lies" : "lie"} beyond the axes.` : "";
      replace(area, plot.svg, h("p", { class: "muted small note" }, `${counted(dots.count)}; the stronger the colour, the more. On the line both agree. Drag over a region to open its galaxies.${beyond}`));
    } catch (error) {
      replace(area, problem(error));
    }
  };
  draw();
  return h("section", { class: "card" }, h("h2", {}, "Value by value"), h("div", { class: "bar", style: { "margin-bottom": "0.5rem" } }, choice), area);
}

function quantitiesCard(found, link) {
  const row = (each) => {
    const apart = columnName(`diff_${each.name}`);
    const sorted = (descending) => link(`${apart} is not null`, { sort: `diff_${each.name}`, ...(descending ? { descending: "1" } : {}) });
    const cell = (value) => h("td", { class: "number" }, brief(value));
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, each.name, each.unit ? h("span", { class: "muted" }, ` (${each.unit})`) : null),
      cell(each.mean),
      cell(each.rms),
      cell(each.median),
      h("td", { class: "number" }, each.correlation === null ? "–" : each.correlation.toFixed(3)),
      h("td", {}, h("a", { href: sorted(true), "aria-label": `higher: galaxies whose ${each.name} is furthest above in ${found.other}` }, "higher"), " · ", h("a", { href: sorted(false), "aria-label": `lower: galaxies whose ${each.name} is furthest below in ${found.other}` }, "lower")),
    );
  };
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Differences"),
    h(
      "div",
      { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Differences of each quantity" },
      h(
        "table",
        { class: "differences" },
        h("thead", {}, h("tr", {}, ["quantity", "mean", "rms", "median size", "correlation", "largest"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, [...found.quantities].sort((a, b) => (a.correlation ?? 2) - (b.correlation ?? 2)).map(row)),
      ),
    ),
    h("p", { class: "muted small note" }, `${found.other} minus ${subject.name}; the least correlated first.`),
  );
}
