// Where the network looks: a map over what it saw, with its method, its target and a slider.

import { h, problem, replace } from "./dom.js";
import { loaded } from "./viewer.js";

const NAMES = { gradcam: "Grad-CAM", ablationcam: "Ablation-CAM", saliency: "Saliency" };

// ask(method, target) → { image, map, side, target, dead }; back() shows the picture again.
export function mapControls(galaxy, viewer, ask, back) {
  if (galaxy.missing.maps) {
    return { element: h("p", { class: "muted small" }, `No maps: ${galaxy.missing.maps}.`), toggle: () => {}, off: () => {} };
  }
  const method = h("select", { "aria-label": "Map", onchange: () => show() }, h("option", { value: "" }, "No map"), galaxy.methods.map((name) => h("option", { value: name }, NAMES[name] || name)));
  const target = h("select", { "aria-label": "What the map explains", onchange: () => show(), hidden: true }, h("option", { value: "predicted" }, "of the prediction"), galaxy.targets.map((name) => h("option", { value: name }, `of ${name}`)));
  const opacity = h("input", { type: "range", min: "0", max: "1", step: "0.02", value: "0.6", "aria-label": "Opacity of the map", oninput: () => viewer.set({ opacity: Number(opacity.value) }) });
  const slider = h("label", { class: "range", hidden: true }, "Map", opacity);
  const said = h("p", { class: "muted small", role: "status" });
  let asked = 0;
  function off() {
    asked++;
    method.value = "";
    target.hidden = slider.hidden = true;
    replace(said);
    viewer.overlay(null);
  }
  async function show() {
    if (!method.value) {
      off();
      await back();
      return;
    }
    const number = ++asked;
    target.hidden = slider.hidden = false;
    replace(said, "Computing the map …");
    try {
      // The class that is shown as predicted, which averages views and may not be that of the network's one view.
      const own = target.value === "predicted" && galaxy.targets.includes(galaxy.best) ? galaxy.best : target.value;
      const found = await ask(method.value, own);
      if (number !== asked) return;
      const [image, values] = await Promise.all([loaded(found.image), loaded(found.map)]);
      viewer.show(image, { across: found.side, keep: true });
      viewer.overlay(values);
      replace(said, found.dead ? `The map of ${found.target} is zero everywhere; it tells nothing.` : `What speaks for ${found.target}, over what the network saw.`);
    } catch (error) {
      if (number === asked) replace(said, problem(error));
    }
  }
  return {
    element: h("div", { class: "column", style: { gap: "0.5rem" } }, h("div", { class: "bar" }, method, target), slider, said),
    off,
    toggle: () => {
      method.value = method.value ? "" : galaxy.methods[0];
      show();
    },
  };
}
