// Axes, bars and maps, drawn without a library; every part that stands for galaxies leads to them.

import { counted, css, h, s, whole } from "./dom.js";

const NARROWEST = 260;
const WIDEST = 560;

// Round numbers from low to high and the step between them; counts: none between whole numbers.
export function ticks(low, high, { wanted = 5, counts = false } = {}) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max([1, 2, 5, 10].find((each) => each * power >= raw * (1 - 1e-9)) * power, counts ? 1 : 0);
  const values = [];
  for (let k = Math.ceil(low / step - 1e-6); k * step <= high + step * 1e-6; k++) values.push(Number((k * step || 0).toPrecision(14)));
  return { values, step };
}

// A number among others that are a step apart: with as many digits as tell it from the next.
export function among(value, step) {
  if (Math.abs(value) < step / 1000) return "0";
  const size = Math.max(Math.abs(value), step);
  const last = Math.floor(Math.log10(step * (1 + 1e-9)));
  if (size < 1e-3 || size >= 1e9) return value.toExponential(Math.max(0, Math.floor(Math.log10(Math.abs(value))) - last));
  const decimals = Math.max(0, -last);
  return value.toLocaleString("en-GB", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

// A frame with axes, as wide as there is room in an area, so that text is as large as elsewhere; a unit is a
// sixteenth of rem. x and y are ranges, and in what is returned scales; counts: y are numbers of galaxies;
// shownX: what is written for a place of x.
export function frame({ area, ratio = 0.65, left = 52, bottom = 40, top = 12, right = 12, x, y, xLabel, yLabel, label, flipX = false, counts = false, shownX = (at) => at }) {
  const unit = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  const width = Math.round(Math.max(NARROWEST, Math.min(WIDEST, area.clientWidth / unit || WIDEST)));
  const height = Math.round(Math.max(220, width * ratio));
  const inner = { left, right: width - right, top, bottom: height - bottom };
  const scaleX = (value) => {
    const share = (value - x[0]) / (x[1] - x[0] || 1);
    return inner.left + (flipX ? 1 - share : share) * (inner.right - inner.left);
  };
  const scaleY = (value) => inner.bottom - ((value - y[0]) / (y[1] - y[0] || 1)) * (inner.bottom - inner.top);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "group", "aria-label": label });
  const up = ticks(...y, { wanted: height / 45, counts });
  for (const at of up.values) {
    svg.append(s("line", { x1: inner.left, x2: inner.right, y1: scaleY(at), y2: scaleY(at), class: "grid" }));
    svg.append(s("text", { x: inner.left - 7, y: scaleY(at) + 4, class: "tick end" }, among(at, up.step)));
  }
  const names = (found) => found.values.map((at) => among(shownX(at), found.step));
  const apart = (found) => (found.step * (inner.right - inner.left)) / (x[1] - x[0] || 1);
  const fits = (found) => Math.max(0, ...names(found).map((name) => name.length)) * 6.5 + 10 <= apart(found);
  const choices = [7, 5, 4, 3, 2].map((wanted) => ticks(...x, { wanted }));
  const along = choices.find(fits) || choices.at(-1);
  for (const at of along.values) {
    svg.append(s("text", { x: scaleX(at), y: inner.bottom + 17, class: "tick middle" }, among(shownX(at), along.step)));
    svg.append(s("line", { x1: scaleX(at), x2: scaleX(at), y1: inner.bottom, y2: inner.bottom + 4, class: "rule" }));
  }
  svg.append(s("line", { x1: inner.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom, class: "rule" }));
  svg.append(s("text", { x: (inner.left + inner.right) / 2, y: height - 6, class: "label middle" }, xLabel));
  if (yLabel) svg.append(s("text", { x: 0, y: 0, class: "label middle", transform: `translate(13 ${(inner.top + inner.bottom) / 2}) rotate(-90)` }, yLabel));
  return { svg, x: scaleX, y: scaleY, inner, width, height };
}

// Dragging over the plot marks a range of x, or a box; done(from, to, fromY, toY) in the data's units.
export function brush(plot, { box = false, inverseX, inverseY, done }) {
  const { svg, inner } = plot;
  const mark = s("rect", { class: "brush", visibility: "hidden" });
  svg.append(mark);
  let start = null;
  const place = (event) => {
    const bounds = svg.getBoundingClientRect();
    const x = ((event.clientX - bounds.left) / bounds.width) * plot.width;
    const y = ((event.clientY - bounds.top) / bounds.height) * plot.height;
    return [Math.max(inner.left, Math.min(inner.right, x)), Math.max(inner.top, Math.min(inner.bottom, y))];
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    start = place(event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!start) return;
    const at = place(event);
    if (Math.abs(at[0] - start[0]) < 5) return;
    if (!svg.hasPointerCapture(event.pointerId)) svg.setPointerCapture(event.pointerId);
    const y = box ? [Math.min(start[1], at[1]), Math.abs(at[1] - start[1])] : [inner.top, inner.bottom - inner.top];
    mark.setAttribute("visibility", "visible");
    for (const [name, value] of [["x", Math.min(start[0], at[0])], ["width", Math.abs(at[0] - start[0])], ["y", y[0]], ["height", y[1]]]) mark.setAttribute(name, value);
  });
  svg.addEventListener("pointerup", (event) => {
    if (!start) return;
    const [from, to] = [start, place(event)];
    start = null;
    if (mark.getAttribute("visibility") === "hidden") return;
    mark.setAttribute("visibility", "hidden");
    const xs = [inverseX(from[0]), inverseX(to[0])].sort((a, b) => a - b);
    const ys = box ? [inverseY(from[1]), inverseY(to[1])].sort((a, b) => a - b) : [];
    done(...xs, ...ys);
  });
  svg.addEventListener("pointercancel", () => {
    start = null;
    mark.setAttribute("visibility", "hidden");
  });
}

export function inverse(scale, low, high) {
  const [a, b] = [scale(low), scale(high)];
  return (pixel) => low + ((pixel - a) / (b - a)) * (high - low);
}

// Numbers of galaxies in cells, from the lower left, as an image within the axes: darker where there are more.
export async function cells(plot, counts, across, up, { flipX = false } = {}) {
  const most = Math.log1p(Math.max(...counts));
  const canvas = new OffscreenCanvas(across, up);
  const context = canvas.getContext("2d");
  context.fillStyle = css("--fill");
  counts.forEach((count, index) => {
    if (!count) return;
    context.globalAlpha = 0.18 + 0.82 * (Math.log1p(count) / (most || 1));
    const x = index % across;
    context.fillRect(flipX ? across - 1 - x : x, up - 1 - Math.floor(index / across), 1, 1);
  });
  const { left, right, top, bottom } = plot.inner;
  return s("image", { href: await dataAddress(canvas), x: left, y: top, width: right - left, height: bottom - top, preserveAspectRatio: "none", class: "pixels" });
}

export async function dataAddress(canvas) {
  const blob = await canvas.convertToBlob();
  return new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(blob);
  });
}

// A number as filters have it, to a hundred thousandth of an axis or better.
export function exact(value, span) {
  const decimals = Math.ceil(5 - Math.log10(span));
  return Number(value.toFixed(Math.max(0, Math.min(20, decimals)))).toString();
}

// The colour of text on a colour that is laid over a card with some strength: the page's ink where it has
// enough contrast (4.5:1), or else black or white, one of which always has.
function readable(name, strength) {
  const parts = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16) / 255);
  const light = (rgb) => rgb.map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)).reduce((sum, x, k) => sum + x * [0.2126, 0.7152, 0.0722][k], 0);
  const [over, card] = [parts(css(name)), parts(css("--card"))];
  const below = light(over.map((x, k) => x * strength + card[k] * (1 - strength)));
  const contrast = (text) => {
    const pair = [below, light(parts(text))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  };
  if (contrast(css("--ink")) >= 4.5) return "var(--ink)";
  return contrast("#ffffff") >= contrast("#000000") ? "#ffffff" : "#000000";
}

// A confusion matrix as a table whose cells lead to their galaxies.
export function matrix({ rows, columns, counts, link, rowTitle, columnTitle, caption }) {
  const totals = counts.map((row) => row.reduce((sum, count) => sum + count, 0));
  return h(
    "div",
    { class: "scrolling-x", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      { class: "matrix" },
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, h("td", { class: "corner" }, h("span", { class: "muted small" }, `${rowTitle} ↓  ${columnTitle} →`)), columns.map((name) => h("th", { scope: "col" }, h("span", {}, name))))),
      h(
        "tbody",
        {},
        rows.map((name, i) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, name),
            columns.map((other, j) => {
              const count = counts[i][j];
              if (!count) return h("td", { class: "none" }, "·");
              const share = count / (totals[i] || 1);
              const colour = name === other ? "--fill" : "--wrong";
              const strength = Math.round(8 + 82 * share) / 100;
              return h(
                "td",
                { style: { "background-color": `color-mix(in srgb, var(${colour}) ${100 * strength}%, transparent)` } },
                h("a", { href: link(name, other), style: { color: readable(colour, strength) }, "aria-label": `${counted(count)}: ${rowTitle} ${name}, ${columnTitle} ${other}` }, whole(count)),
              );
            }),
          ),
        ),
      ),
    ),
  );
}
