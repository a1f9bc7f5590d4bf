// One galaxy: its picture, what the network says and where it looks, galaxies like it, where it comes from.

import { get, getBlob } from "./api.js";
import { measurements, probabilities, remarks, votes } from "./answers.js";
import { add, brief, h, problem, replace, sentence, whole } from "./dom.js";
import { mapControls } from "./maps.js";
import { go, href, question, shared, subject } from "./route.js";
import { thumbnail } from "./thumbnails.js";
import { loaded, originalWidth, Viewer, viewerControls } from "./viewer.js";

export async function galaxyView(main, route) {
  const row = Number(route.argument);
  if (!Number.isInteger(row) || row < 0) throw new Error(`There is no galaxy '${route.argument}'.`);
  const galaxy = await get(`galaxy/${row}`);
  document.title = `${galaxy.id} · ${subject.name} · Morphoscope`;
  const { pixelScale, northUp, stretches } = galaxy.picture;
  const viewer = new Viewer(`Picture of galaxy ${galaxy.id}`, { arcsecPerPixel: pixelScale, northUp });
  let stretch = "";
  let asked = 0;
  const showPicture = async (keep = false) => {
    const number = ++asked;
    const late = () => number !== asked || viewer.map; // a map lies over what the network saw, and on nothing else
    try {
      const { blob, headers } = await getBlob(`image/${row}`, { stretch });
      const url = URL.createObjectURL(blob);
      const image = await loaded(url);
      URL.revokeObjectURL(url);
      if (!late()) viewer.show(image, { across: originalWidth(headers) || image.naturalWidth, keep });
    } catch (error) {
      if (!late()) viewer.say(error.message);
    }
  };
  galaxy.best = galaxy.values.predicted;
  const maps = mapControls(galaxy, viewer, (method, target) => get(`map/${row}`, { method, target }), showPicture);
  const around = {};
  main.append(
    h(
      "article",
      { class: "galaxy", "aria-labelledby": "galaxy-title" },
      top(galaxy, route, around),
      h(
        "div",
        { class: "column" },
        h(
          "section",
          { class: "card viewer", "aria-label": "Picture" },
          viewer.stage,
          h("div", { class: "controls" }, viewerControls(viewer, stretches, (name) => {
            stretch = name;
            maps.off();
            showPicture(true);
          }), maps.element),
        ),
        linksCard(galaxy),
      ),
      h("div", { class: "column" }, predictionCard(galaxy), measurementsCard(galaxy), votesCard(galaxy), neighboursCard(galaxy, route), valuesCard(galaxy), provenanceCard()),
    ),
  );
  showPicture();
  return {
    close: () => viewer.close(),
    key: (event) => {
      if (event.key === "ArrowLeft" && around.previous !== undefined) go("galaxy", around.previous, shared(route.values));
      else if (event.key === "ArrowRight" && around.next !== undefined) go("galaxy", around.next, shared(route.values));
      else if (event.key === "+" || event.key === "=") viewer.zoomBy(1.4);
      else if (event.key === "-") viewer.zoomBy(1 / 1.4);
      else if (event.key === "0") viewer.whole();
      else if (event.key === "m") maps.toggle();
      else if (event.key === "Escape") go("gallery", "", shared(route.values));
      else return;
      event.preventDefault();
    },
  };
}

function top(galaxy, route, around) {
  const values = shared(route.values);
  const where = h("span", { class: "where-in" });
  const step = (name, sign) => h("a", { class: "button", "aria-label": `${name} galaxy`, hidden: true }, sign);
  const previous = step("Previous", "←");
  const next = step("Next", "→");
  get("position", { row: galaxy.row, ...question(route.values) }).then((found) => {
    if (found.position === null) return;
    replace(where, `${whole(found.position + 1)} of ${whole(found.total)}`);
    for (const [link, name] of [[previous, "previous"], [next, "next"]]) {
      if (found[name] === null) continue;
      around[name] = found[name];
      link.href = href("galaxy", found[name], values);
      link.hidden = false;
    }
  }, () => {});
  return h(
    "div",
    { class: "galaxy-top" },
    h("a", { class: "button", href: href("gallery", "", values) }, "← Gallery"),
    h("h1", { id: "galaxy-title" }, galaxy.id),
    where,
    previous,
    next,
  );
}

function predictionCard(galaxy) {
  const { values } = galaxy;
  const { chips, warning } = remarks(values.out_of_distribution, galaxy.quality);
  if (!galaxy.probabilities && !values.predicted && !values.truth && !galaxy.quality.length) return null;
  const verdict = h("p", { class: "verdict" });
  if (values.truth) verdict.append(h("span", { class: "chip" }, "label: ", h("b", {}, values.truth)));
  if (values.correct === true) verdict.append(h("span", { class: "chip right" }, "right"));
  if (values.correct === false) verdict.append(h("span", { class: "chip wrong" }, "wrong"));
  if (galaxy.set) verdict.append(h("span", { class: "chip" }, `prediction set: ${galaxy.set.join(", ")}`));
  add(verdict, chips, typeof values.entropy === "number" ? h("span", { class: "chip" }, `entropy ${brief(values.entropy)}`) : null);
  const card = h("section", { class: "card" }, h("h2", {}, galaxy.probabilities ? "Probabilities" : "Class"), verdict);
  if (galaxy.probabilities) card.append(probabilities(galaxy.probabilities, { truth: values.truth, set: galaxy.set }));
  else if (values.predicted) card.append(h("p", {}, `${values.predicted}, probability ${brief(values.probability)}`));
  const said = [galaxy.set && "Grey: outside the prediction set.", galaxy.calibration && `Calibration: ${galaxy.calibration}.`].filter(Boolean);
  if (galaxy.probabilities && said.length) card.append(h("p", { class: "muted small", style: { "margin-top": "0.7rem" } }, said.join(" ")));
  if (warning) card.append(warning);
  return card;
}

function votesCard(galaxy) {
  if (!galaxy.votes) return null;
  const measured = galaxy.votes.some((q) => q.answers.some((answer) => answer.measured !== null));
  const intervals = galaxy.votes.some((q) => q.answers.some((answer) => answer.low !== null));
  const legend = ["Fractions of the volunteers asked", intervals && "lines: intervals", measured && "rings: measured votes"].filter(Boolean).join("; ");
  return h("section", { class: "card" }, h("h2", {}, "Votes"), h("p", { class: "muted small", style: { "margin-bottom": "0.8rem" } }, legend), votes(galaxy.votes));
}

function measurementsCard(galaxy) {
  if (!galaxy.measurements) return null;
  const measured = galaxy.measurements.some((each) => each.measured !== null);
  const lines = galaxy.measurements.every((each) => each.interval) ? "the catalogue's intervals" : "one error to both sides";
  const legend = `Lines: ${lines}; each scale spans the middle 98 % of the catalogue${measured ? "; rings: labels" : ""}.`;
  return h("section", { class: "card" }, h("h2", {}, "Measurements"), measurements(galaxy.measurements), h("p", { class: "muted small", style: { "margin-top": "0.7rem" } }, legend));
}

export function neighbourStrip(galaxies, values) {
  return h(
    "ul",
    { class: "strip" },
    galaxies.map((each) => {
      const picture = h("span", { class: "picture" });
      thumbnail(each.row, 128).then((found) => {
        if (found.url) picture.append(h("img", { src: found.url, alt: "" }));
      });
      const name = each.predicted || each.truth || each.id;
      return h("li", {}, h("a", { href: href("galaxy", each.row, values), title: each.id }, picture, h("span", { class: "text" }, h("span", {}, name), h("span", { class: "muted" }, `${each.similarity.toFixed(3)}`))));
    }),
  );
}

function neighboursCard(galaxy, route) {
  const body = h("div", {}, h("p", { class: "muted small" }, galaxy.missing.neighbours ? `${sentence(galaxy.missing.neighbours)}.` : "Looking …"));
  if (!galaxy.missing.neighbours) {
    get(`neighbours/${galaxy.row}`, { count: 12 }).then(
      (found) => replace(body, neighbourStrip(found.galaxies, shared(route.values)), found.exact ? null : h("p", { class: "muted small" }, "By the 64 directions that hold most of the features.")),
      (error) => replace(body, problem(error)),
    );
  }
  return h("section", { class: "card" }, h("h2", {}, "Galaxies like it"), body);
}

function valuesCard(galaxy) {
  const hidden = new Set(galaxy.probabilities ? galaxy.probabilities.map((each) => each.column) : []);
  const rows = subject.columns.filter((column) => !hidden.has(column.name) && galaxy.values[column.name] !== null && galaxy.values[column.name] !== undefined);
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Values"),
    h(
      "div",
      { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Values of the catalogue" },
      h("table", { class: "values" }, h("tbody", {}, rows.map((column) => h("tr", {}, h("td", { title: column.description }, column.name), h("td", {}, shown(galaxy.values[column.name], column)))))),
    ),
  );
}

const LISTS = ["set", "path"]; // columns of several names each

function shown(value, column) {
  if (LISTS.includes(column.name.replace(/^other_/, "")) && value) return String(value).split("|").join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (["ra", "dec"].includes(column.name) && typeof value === "number") return `${value.toFixed(6)}°`;
  return `${column.name === "row" ? value : brief(value)}${column.unit && typeof value === "number" ? ` ${column.unit}` : ""}`;
}

function linksCard(galaxy) {
  if (!galaxy.links.length) return null;
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "The same place elsewhere"),
    h("p", { class: "links" }, galaxy.links.map((link) => h("a", { href: link.address, target: "_blank", rel: "noopener noreferrer" }, link.name))),
    h("p", { class: "muted small", style: { "margin-top": "0.4rem" } }, "These open another site, which then sees the position."),
  );
}

export function provenanceCard() {
  const entries = Object.entries(subject.provenance).filter(([name, text]) => text && name !== "scheme");
  if (!entries.length) return null;
  return h(
    "section",
    { class: "card" },
    h("h2", {}, "Provenance"),
    h("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Provenance" }, h("table", { class: "values" }, h("tbody", {}, entries.map(([name, text]) => h("tr", {}, h("td", {}, name.replaceAll("_", " ")), h("td", {}, text)))))),
  );
}

