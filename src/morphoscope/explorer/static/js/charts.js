// Charts of the galaxies that pass the filter; a cell, a bin or a region opens the galaxies in it.

import { get } from "./api.js";
import { columnName, counted, css, h, literal, problem, replace, s, series, whole } from "./dom.js";
import { filterBar } from "./filterbar.js";
import { among, brush, cells, dataAddress, exact, frame, inverse, matrix } from "./plots.js";
import { both, expression, go, has, href, numeric, remember, subject } from "./route.js";

const MAPS = { pca: "principal components", umap: "UMAP" };
const MAP_COLUMNS = { pca: ["feature_x", "feature_y"], umap: ["umap_x", "umap_y"] };

export async function chartsView(main, route) {
  const bar = filterBar(route, { sorting: false });
  const grid = h("div", { class: "charts" });
  main.append(h("h1", { class: "unseen" }, `Charts of ${subject.name}`), bar, grid);
  const view = new Charts(bar, grid);
  window.addEventListener("themechange", view.redraw);
  await view.draw(route);
  return view;
}

class Charts {
  constructor(bar, grid) {
    this.bar = bar;
    this.grid = grid;
    this.redraw = () => this.draw(this.route);
    // Columns for coordinates may have none; what else is wrong with them is said in the card.
    this.placed = has("ra") && has("dec") && get("charts/sky").then((found) => found.count > 0, () => true);
  }

  close() {
    this.closed = true;
    window.removeEventListener("themechange", this.redraw);
  }

  changed(route) {
    this.bar.update(route);
    this.draw(route);
  }

  async draw(route) {
    this.route = route;
    this.filter = expression(route.values);
    try {
      const { total } = await get("page", { filter: this.filter, count: 0 });
      this.bar.refuse(null);
      this.bar.total(total);
    } catch (error) {
      this.bar.refuse(error);
      return;
    }
    const placed = await this.placed;
    if (this.closed) return;
    const cards = [];
    if (has("truth") && has("predicted")) cards.push(this.card("Confusion matrix", (body) => this.confusion(body), "wide"));
    cards.push(this.card("Histogram", (body) => this.histogram(body)));
    if (has("correct") && has("probability")) cards.push(this.card("Reliability", (body) => this.reliability(body)));
    if (placed) cards.push(this.card("Sky", (body) => this.sky(body)));
    if (subject.features) cards.push(this.card("Map of features", (body) => this.features(body)));
    replace(this.grid, cards);
  }

  card(title, fill, kind = "") {
    const body = h("div", { class: "chart-body" }, h("p", { class: "muted small" }, "Counting …"));
    const card = h("section", { class: `card ${kind}` }, h("h2", {}, title), body);
    fill(body).catch((error) => replace(body, problem(error)));
    return card;
  }

  open(condition) {
    go("gallery", "", { filter: both(this.filter, condition) });
  }

  link(condition) {
    return href("gallery", "", { filter: both(this.filter, condition) });
  }

  async confusion(body) {
    const found = await get("charts/confusion", { filter: this.filter });
    if (!found.total) {
      replace(body, h("p", { class: "muted" }, "None of these galaxies has a label."));
      return;
    }
    const right = found.counts.reduce((sum, row, k) => sum + row[k], 0);
    replace(
      body,
      matrix({
        rows: found.classes,
        columns: found.classes,
        counts: found.counts,
        rowTitle: "label",
        columnTitle: "predicted",
        caption: "Confusion matrix",
        link: (truth, predicted) => this.link(`truth = ${literal(truth)} and predicted = ${literal(predicted)}`),
      }),
      h("p", { class: "muted small note" }, `${whole(right)} of ${whole(found.total)} right (${((100 * right) / found.total).toFixed(1)} %). Shades: share of each label. A cell opens its galaxies.`),
    );
  }

  async reliability(body) {
    const { bins } = await get("charts/reliability", { filter: this.filter });
    if (!bins.length) {
      replace(body, h("p", { class: "muted" }, "None of these galaxies has a label."));
      return;
    }
    const plot = frame({ area: body, x: [0, 1], y: [0, 1], xLabel: "probability of the predicted class", yLabel: "share that is right", label: "Reliability diagram" });
    plot.svg.append(s("line", { x1: plot.x(0), y1: plot.y(0), x2: plot.x(1), y2: plot.y(1), class: "diagonal" }));
    const most = Math.max(...bins.map((bin) => bin.n));
    for (const bin of bins) {
      const [left, right] = [plot.x(bin.from), plot.x(bin.to)];
      const top = bin.to >= 1 ? "" : ` and probability < ${bin.to}`;
      plot.svg.append(
        s(
          "a",
          { href: this.link(`probability >= ${bin.from}${top}`), "aria-label": `${counted(bin.n)} with a probability of ${bin.from} to ${bin.to}: ${(100 * bin.accuracy).toFixed(0)} % right` },
          s("title", {}, `${counted(bin.n)}, ${(100 * bin.accuracy).toFixed(1)} % right (${(100 * bin.low).toFixed(1)} to ${(100 * bin.high).toFixed(1)})`),
          s("rect", { x: left, width: right - left, y: plot.inner.top, height: plot.inner.bottom - plot.inner.top, class: "hit" }),
          s("rect", { x: left + 1.5, width: Math.max(1, right - left - 3), y: plot.inner.bottom - 38 * (bin.n / most), height: 38 * (bin.n / most), class: "counts" }),
          s("line", { x1: plot.x(bin.confidence), x2: plot.x(bin.confidence), y1: plot.y(bin.low), y2: plot.y(bin.high), class: "interval" }),
          s("circle", { cx: plot.x(bin.confidence), cy: plot.y(bin.accuracy), r: 4.5, class: "dot" }),
        ),
      );
    }
    replace(body, plot.svg, h("p", { class: "muted small note" }, "Calibrated probabilities lie on the diagonal. Lines: 95 % intervals; bars: numbers of galaxies. A bin opens its galaxies."));
  }

  async histogram(body) {
    const names = numeric().map((each) => each.name).filter((name) => name !== "row");
    if (!names.length) {
      replace(body, h("p", { class: "muted" }, "No column has numbers."));
      return;
    }
    let { column } = this.route.values;
    if (!names.includes(column)) column = ["probability", "out_of_distribution", "entropy"].find((name) => names.includes(name)) || names[0];
    const choice = h("select", { "aria-label": "Column of the histogram", onchange: () => { column = choice.value; remember(this.route, { column }); draw(); } }, names.map((name) => h("option", { value: name, selected: name === column }, name)));
    const area = h("div", {});
    const draw = async () => {
      try {
        const found = await get("charts/histogram", { filter: this.filter, column, bins: 40 });
        if (!found.counts.length) {
          replace(area, h("p", { class: "muted" }, "None of these galaxies has a value."));
          return;
        }
        const said = subject.columns.find((each) => each.name === column);
        const plot = frame({ area, counts: true, x: [found.low, found.high], y: [0, Math.max(...found.counts) * 1.04], xLabel: `${column}${said && said.unit ? ` (${said.unit})` : ""}`, yLabel: "galaxies", label: `Histogram of ${column}`, left: 58 });
        const span = found.high - found.low;
        const width = span / found.counts.length;
        const name = columnName(column);
        found.counts.forEach((count, index) => {
          if (!count) return;
          const [from, to] = [found.low + index * width, found.low + (index + 1) * width];
          const last = index === found.counts.length - 1;
          const range = [from, to].map((end) => among(end, width / 10));
          plot.svg.append(
            s(
              "a",
              { href: this.link(`${name} >= ${exact(from, span)} and ${name} ${last ? "<=" : "<"} ${exact(to, span)}`), tabindex: index % 4 ? "-1" : "0", "aria-label": `${counted(count)} with ${column} from ${range.join(" to ")}` },
              s("title", {}, `${counted(count)}, ${range.join(" to ")}`),
              s("rect", { x: plot.x(from) + 0.5, width: Math.max(1, plot.x(to) - plot.x(from) - 1), y: plot.y(count), height: plot.inner.bottom - plot.y(count), class: "column" }),
            ),
          );
        });
        brush(plot, { inverseX: inverse(plot.x, found.low, found.high), done: (from, to) => this.open(`${name} between ${exact(from, span)} and ${exact(to, span)}`) });
        replace(area, plot.svg, h("p", { class: "muted small note" }, `A bar opens its galaxies; drag over several.${found.missing ? ` ${whole(found.missing)} ${found.missing === 1 ? "has" : "have"} no value.` : ""}`));
      } catch (error) {
        replace(area, problem(error));
      }
    };
    replace(body, h("div", { class: "bar", style: { "margin-bottom": "0.5rem" } }, choice), area);
    await draw();
  }

  async sky(body) {
    const found = await get("charts/sky", { filter: this.filter });
    if (!found.count) {
      replace(body, h("p", { class: "muted" }, "None of these galaxies has coordinates."));
      return;
    }
    const [across, up] = found.cells;
    const plot = frame({ area: body, x: [found.ra, found.ra + found.width], y: [found.dec, found.dec + found.height], xLabel: "right ascension (deg), east to the left", yLabel: "declination (deg)", label: "Map of the sky; the filter with ra and dec selects a region, too", flipX: true, shownX: (at) => (at >= 360 ? at - 360 : at) });
    plot.svg.append(await cells(plot, found.counts, across, up, { flipX: true }));
    brush(plot, {
      box: true,
      inverseX: inverse(plot.x, found.ra, found.ra + found.width),
      inverseY: inverse(plot.y, found.dec, found.dec + found.height),
      done: (from, to, south, north) => {
        const at = (value) => exact(value, found.width);
        const ra = to <= 360 ? `ra between ${at(from)} and ${at(to)}` : from >= 360 ? `ra between ${at(from - 360)} and ${at(to - 360)}` : `(ra >= ${at(from)} or ra <= ${at(to - 360)})`;
        this.open(`${ra} and dec between ${exact(south, found.height)} and ${exact(north, found.height)}`);
      },
    });
    replace(body, plot.svg, h("p", { class: "muted small note" }, `${counted(found.count)} with coordinates. Drag over a region to open its galaxies.`));
  }

  async features(body) {
    let method = Object.hasOwn(MAPS, this.route.values.map) ? this.route.values.map : subject.featureMap;
    const area = h("div", {});
    const choice = h(
      "select",
      {
        "aria-label": "Map of features by",
        onchange: () => {
          method = choice.value;
          remember(this.route, { map: method });
          draw();
        },
      },
      Object.entries(MAPS).map(([name, text]) => h("option", { value: name, selected: name === method }, `by ${text}`)),
    );
    const draw = async () => {
      const asked = method;
      try {
        const found = await get("charts/features", { filter: this.filter, method });
        if (this.closed || asked !== method || !area.isConnected) return;
        if (found.progress) {
          showProgress(area, found.progress);
          setTimeout(() => {
            if (!this.closed && asked === method && area.isConnected) draw();
          }, 1000);
          return;
        }
        if (!has(MAP_COLUMNS[method][0])) Object.assign(subject, await get("subject")); // two columns more
        await this.points(area, found, method);
      } catch (error) {
        if (asked === method) replace(area, problem(error));
      }
    };
    replace(area, h("p", { class: "muted small" }, "Looking …"));
    replace(body, h("div", { class: "bar", style: { "margin-bottom": "0.5rem" } }, choice), area);
    await draw();
  }

  async points(area, found, method) {
    if (!found.points.length) {
      replace(area, h("p", { class: "muted" }, "No galaxy passes the filter."));
      return;
    }
    const [nameX, nameY] = MAP_COLUMNS[method];
    const span = (k) => {
      const values = found.points.map((point) => point[k]);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const pad = 0.03 * (high - low) || 1;
      return [low - pad, high + pad];
    };
    const [x, y] = [span(1), span(2)];
    const plot = frame({ area, x, y, xLabel: method === "pca" ? "first principal component" : "first coordinate by UMAP", yLabel: method === "pca" ? "second principal component" : "second coordinate", label: `Map of features; the filter with ${nameX} and ${nameY} selects a region, too`, ratio: 0.74 });
    const dense = 3;
    const size = [plot.inner.right - plot.inner.left, plot.inner.bottom - plot.inner.top];
    const canvas = new OffscreenCanvas(size[0] * dense, size[1] * dense);
    const context = canvas.getContext("2d");
    const radius = found.points.length > 4000 ? 1.1 : found.points.length > 800 ? 1.7 : 2.4;
    context.globalAlpha = found.points.length > 4000 ? 0.5 : 0.75;
    const shapes = new Map();
    for (const point of found.points) {
      context.fillStyle = point[3] < 0 ? css("--faint") : (shapes.get(point[3]) || shapes.set(point[3], series(point[3])).get(point[3]));
      context.beginPath();
      context.arc((plot.x(point[1]) - plot.inner.left) * dense, (plot.y(point[2]) - plot.inner.top) * dense, radius * dense, 0, 7);
      context.fill();
    }
    plot.svg.append(s("image", { href: await dataAddress(canvas), x: plot.inner.left, y: plot.inner.top, width: size[0], height: size[1] }));
    brush(plot, {
      box: true,
      inverseX: inverse(plot.x, ...x),
      inverseY: inverse(plot.y, ...y),
      done: (from, to, low, high) => this.open(`${nameX} between ${exact(from, x[1] - x[0])} and ${exact(to, x[1] - x[0])} and ${nameY} between ${exact(low, y[1] - y[0])} and ${exact(high, y[1] - y[0])}`),
    });
    const present = [...new Set(found.points.map((point) => point[3]))].filter((k) => k >= 0).sort((a, b) => a - b);
    replace(
      area,
      plot.svg,
      h("ul", { class: "legend" }, present.map((k) => h("li", {}, h("span", { class: "swatch", style: { background: `var(--series-${(k % 10) + 1})` } }), found.classes[k]))),
      h("p", { class: "muted small note" }, `${found.points.length < found.total ? `${whole(found.points.length)} of ` : ""}${counted(found.total)}, by the network's features${method === "umap" ? "; near galaxies look alike, far distances say little" : ""}. Drag over a region to open its galaxies.`),
    );
  }
}

// How far a map is that takes a while; what is there already is changed, so that it does not flicker.
function showProgress(area, { what, done, of, seconds }) {
  if (!area.querySelector("progress")) {
    replace(area, h("div", { class: "waiting" }, h("progress", { "aria-label": "Progress of the map" }), h("p", { class: "muted small" })));
  }
  const bar = area.querySelector("progress");
  if (of) {
    bar.max = of;
    bar.value = done;
  } else bar.removeAttribute("value");
  const far = of ? `, ${whole(done)} of ${whole(of)}` : "";
  area.querySelector(".waiting p").textContent = `${what}${far} … ${whole(seconds)} s so far. The other charts can be used meanwhile.`;
}
