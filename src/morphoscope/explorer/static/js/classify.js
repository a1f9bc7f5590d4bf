// An image that a person drops: what the network says of it, where it looks, and which galaxies look alike.

import { get, postBytes } from "./api.js";
import { probabilities, remarks, votes } from "./answers.js";
import { announce, brief, h, problem, replace } from "./dom.js";
import { neighbourStrip } from "./galaxy.js";
import { mapControls } from "./maps.js";
import { subject } from "./route.js";
import { loaded, Viewer, viewerControls } from "./viewer.js";

export async function classifyView(main) {
  const about = await get("classify");
  const answer = h("div", { class: "column" });
  const state = { viewer: null };
  const choose = h("input", { type: "file", accept: ".jpg,.jpeg,.png,.fits,.fit,.fits.gz,.fz,.tif,.tiff,.webp", "aria-label": "Image to classify", disabled: Boolean(about.missing) });
  choose.addEventListener("change", () => choose.files[0] && take(choose.files[0]));
  const drop = h(
    "section",
    { class: "drop", "aria-label": "Drop an image" },
    h("h1", {}, "Drop an image of a galaxy"),
    about.missing ? h("p", { class: "problem" }, `Nothing can be classified: ${about.missing}.`) : h("p", { class: "muted" }, `JPEG, PNG, TIFF or FITS, up to ${Math.round(about.mostBytes / 1048576)} MiB. It stays on this machine and is not kept.`),
    choose,
  );
  const stop = (event) => event.preventDefault();
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0] && !about.missing) take(event.dataTransfer.files[0]);
  });
  // A drop beside the field must not make the browser leave the page.
  window.addEventListener("dragover", stop);
  window.addEventListener("drop", stop);

  async function take(file, stretch = "") {
    if (file.size > about.mostBytes) {
      replace(answer, problem(new Error(`${file.name} is larger than ${Math.round(about.mostBytes / 1048576)} MiB; give a smaller one, or use 'morphoscope predict'.`)));
      return;
    }
    replace(answer, h("p", { class: "loading", role: "status" }, "Classifying …"));
    try {
      const found = await postBytes("classify", file, { name: file.name.slice(0, 200), stretch });
      await show(found, file);
    } catch (error) {
      replace(answer, problem(error));
    }
  }

  async function show(found, file) {
    if (state.viewer) state.viewer.close();
    const viewer = new Viewer(`The dropped image ${found.name}`);
    state.viewer = viewer;
    const picture = await loaded(found.image);
    const [width, height] = found.size;
    const back = async () => viewer.show(picture, { across: width });
    const ask = async (method, target) => {
      const map = await get(`classify/map/${found.upload}`, { method, target });
      return { ...map, side: (map.side * width) / picture.naturalWidth }; // a large image is kept smaller
    };
    const best = found.probabilities ? found.probabilities.reduce((a, b) => (a.probability > b.probability ? a : b)) : null;
    found.best = best && best.name;
    const maps = mapControls(found, viewer, ask, back);
    state.maps = maps;
    const { chips, warning } = remarks(found.ood, found.quality);
    replace(
      answer,
      h(
        "div",
        { class: "found" },
        h("section", { class: "card viewer", "aria-label": "Picture" }, viewer.stage, h("div", { class: "controls" }, viewerControls(viewer, found.fits ? about.stretches.filter((name) => name !== "as-served") : [], (name) => take(file, name)), maps.element)),
        h(
          "div",
          { class: "column" },
          h(
            "section",
            { class: "card" },
            h("h2", {}, found.name),
            h(
              "p",
              { class: "verdict" },
              h("span", { class: "chip" }, `${width} × ${height} px`),
              found.set ? h("span", { class: "chip" }, `prediction set: ${found.set.join(", ")}`) : null,
              chips,
            ),
            found.probabilities ? probabilities(found.probabilities, { set: found.set }) : null,
            found.votes ? votes(found.votes) : null,
            found.probabilities || found.votes ? null : plain(found.values),
            warning,
          ),
          found.neighbours.length ? h("section", { class: "card" }, h("h2", {}, `Galaxies of ${subject.name} like it`), neighbourStrip(found.neighbours, {})) : null,
        ),
      ),
    );
    await back();
    maps.toggle();
    if (best) announce(`${best.name}, probability ${best.probability.toFixed(2)}`);
  }

  main.append(h("div", { class: "classify" }, drop, answer));
  return {
    close: () => {
      window.removeEventListener("dragover", stop);
      window.removeEventListener("drop", stop);
      if (state.viewer) state.viewer.close();
    },
    key: (event) => {
      if (!state.viewer) return;
      if (event.key === "m") state.maps.toggle();
      else if (event.key === "+") state.viewer.zoomBy(1.4);
      else if (event.key === "-") state.viewer.zoomBy(1 / 1.4);
      else return;
      event.preventDefault();
    },
  };
}

function plain(values) {
  return h("table", { class: "values" }, h("tbody", {}, Object.entries(values).map(([name, value]) => h("tr", {}, h("td", {}, name), h("td", {}, brief(value))))));
}
