// A picture with zoom, stretch, scale bar, compass, and a map over it.

import { h, replace } from "./dom.js";

const CURVES = {
  "as it is": (x) => x,
  "square root": Math.sqrt,
  asinh: (x) => Math.asinh(10 * x) / Math.asinh(10),
  logarithm: (x) => Math.log1p(100 * x) / Math.log1p(100),
  square: (x) => x * x,
};
const CLOSEST = 16;

// Black through violet and orange to light yellow: brighter is more, for any colour vision (after "inferno").
const STOPS = [[0, 0, 4], [51, 10, 95], [120, 28, 109], [187, 55, 84], [237, 105, 37], [252, 181, 25], [252, 255, 164]];

function heat(share) {
  const at = share * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[low].map((value, k) => Math.round(value + (STOPS[low + 1][k] - value) * (at - low)));
}

export function loaded(url) {
  return new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = () => failed(new Error("The picture cannot be shown."));
    image.src = url;
  });
}

// Of a picture that may have been shrunk to be sent; NaN: nothing is said.
export const originalWidth = (headers) => parseInt(headers.get("x-original-size"), 10);

function pixels(image) {
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

export class Viewer {
  // label: what is shown, for people who do not see it; arcsecPerPixel: of the original; null: unknown.
  constructor(label, { arcsecPerPixel = null, northUp = false } = {}) {
    this.arcsec = arcsecPerPixel;
    this.northUp = northUp;
    this.canvas = h("canvas", { role: "img", "aria-label": label });
    this.message = h("div", { class: "message", role: "status" }, "Loading …");
    this.stage = h("div", { class: "stage" }, this.canvas, this.message);
    this.curve = "as it is";
    this.brightness = 1;
    this.inverted = false;
    this.opacity = 0.6;
    this.zoom = 1;
    this.centre = [0.5, 0.5];
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.stage);
    this.listen();
  }

  close() {
    this.observer.disconnect();
  }

  say(text) {
    this.message.hidden = !text;
    replace(this.message, text);
  }

  // across: how many of the original's pixels the image shows from left to right.
  show(image, { across, keep = false }) {
    this.source = pixels(image);
    this.across = across;
    if (!keep) this.whole();
    this.say("");
    this.render();
  }

  // values: an image whose brightness says where the network looks; null: no map.
  overlay(values) {
    if (!values) this.map = null;
    else {
      const found = pixels(values);
      for (let at = 0; at < found.data.length; at += 4) {
        const share = found.data[at] / 255;
        const [red, green, blue] = heat(share);
        found.data.set([red, green, blue, Math.round(255 * Math.min(1, share * 1.6))], at);
      }
      this.map = new OffscreenCanvas(found.width, found.height);
      this.map.getContext("2d").putImageData(found, 0, 0);
    }
    this.draw();
  }

  set(changes) {
    Object.assign(this, changes);
    this.render();
  }

  render() {
    if (!this.source) return;
    const curve = CURVES[this.curve];
    const levels = new Uint8ClampedArray(256);
    for (let level = 0; level < 256; level++) {
      const value = Math.min(1, curve(level / 255) * this.brightness);
      levels[level] = Math.round(255 * (this.inverted ? 1 - value : value));
    }
    const shown = new ImageData(this.source.width, this.source.height);
    const from = this.source.data;
    for (let at = 0; at < from.length; at += 4) {
      shown.data[at] = levels[from[at]];
      shown.data[at + 1] = levels[from[at + 1]];
      shown.data[at + 2] = levels[from[at + 2]];
      shown.data[at + 3] = 255;
    }
    this.picture = new OffscreenCanvas(shown.width, shown.height);
    this.picture.getContext("2d").putImageData(shown, 0, 0);
    this.draw();
  }

  draw() {
    const side = this.stage.clientWidth;
    if (!this.picture || !side) return;
    const dense = Math.min(3, devicePixelRatio || 1);
    const height = this.stage.clientHeight;
    this.canvas.width = Math.round(side * dense);
    this.canvas.height = Math.round(height * dense);
    const context = this.canvas.getContext("2d");
    const { width: w, height: t } = this.picture;
    const scale = Math.min(this.canvas.width / w, this.canvas.height / t) * this.zoom;
    this.perPixel = scale / dense; // CSS pixels for one of the picture's
    const x = this.canvas.width / 2 - this.centre[0] * w * scale;
    const y = this.canvas.height / 2 - this.centre[1] * t * scale;
    context.fillStyle = this.inverted ? "#fff" : "#05070b";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingEnabled = scale < 6;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, x, y, w * scale, t * scale);
    if (this.map) {
      context.globalAlpha = this.opacity;
      context.imageSmoothingEnabled = true;
      context.drawImage(this.map, x, y, w * scale, t * scale);
      context.globalAlpha = 1;
    }
    context.scale(dense, dense);
    this.drawScale(context, side, height);
    if (this.northUp) this.drawCompass(context, side);
  }

  ink(context) {
    context.font = "600 12px system-ui, sans-serif";
    context.lineWidth = 2;
    context.strokeStyle = context.fillStyle = this.inverted ? "#10151d" : "#fff";
    context.shadowColor = this.inverted ? "#fff" : "#000";
    context.shadowBlur = 4;
  }

  drawScale(context, side, height) {
    this.ink(context);
    const arcsec = this.arcsec;
    const unit = (this.across / this.picture.width) * (arcsec || 1);
    const wanted = ((side / this.perPixel) * unit) / 4;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const nice = [5, 2, 1].find((step) => step * power <= wanted) * power;
    const length = (nice / unit) * this.perPixel;
    const [x, y] = [14, height - 14];
    context.beginPath();
    context.moveTo(x, y - 4);
    context.lineTo(x, y);
    context.lineTo(x + length, y);
    context.lineTo(x + length, y - 4);
    context.stroke();
    const text = Number(nice.toPrecision(2)).toString();
    context.fillText(arcsec ? `${text}″` : `${text} px`, x, y - 9);
  }

  drawCompass(context, side) {
    this.ink(context);
    const [x, y, arm] = [side - 22, 50, 24];
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x, y - arm);
    context.moveTo(x, y);
    context.lineTo(x - arm, y);
    context.stroke();
    context.textAlign = "center";
    context.fillText("N", x, y - arm - 5);
    context.fillText("E", x - arm - 9, y + 4);
    context.textAlign = "start";
  }

  whole() {
    this.zoom = 1;
    this.centre = [0.5, 0.5];
    this.draw();
  }

  // at: place on the stage that stays where it is, CSS pixels.
  zoomBy(factor, at = null) {
    const before = this.zoom;
    this.zoom = Math.max(1, Math.min(CLOSEST, this.zoom * factor));
    if (at && this.picture) {
      const [dx, dy] = [at[0] - this.stage.clientWidth / 2, at[1] - this.stage.clientHeight / 2];
      const change = 1 / this.perPixel - 1 / (this.perPixel * (this.zoom / before));
      this.centre[0] += (dx * change) / this.picture.width;
      this.centre[1] += (dy * change) / this.picture.height;
    }
    this.keepInside();
    this.draw();
  }

  keepInside() {
    const margin = 0.5 / this.zoom;
    this.centre = this.centre.map((value) => Math.max(margin, Math.min(1 - margin, value)));
  }

  listen() {
    const stage = this.stage;
    stage.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const box = stage.getBoundingClientRect();
        this.zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, [event.clientX - box.left, event.clientY - box.top]);
      },
      { passive: false },
    );
    const held = new Map();
    let apart = 0;
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      held.set(event.pointerId, [event.clientX, event.clientY]);
      apart = 0;
    });
    stage.addEventListener("pointermove", (event) => {
      if (!held.has(event.pointerId) || !this.picture) return;
      const [x, y] = held.get(event.pointerId);
      held.set(event.pointerId, [event.clientX, event.clientY]);
      if (held.size === 2) {
        const [first, second] = [...held.values()];
        const distance = Math.hypot(first[0] - second[0], first[1] - second[1]);
        if (apart) this.zoomBy(distance / apart);
        apart = distance;
      } else {
        this.centre[0] -= (event.clientX - x) / this.perPixel / this.picture.width;
        this.centre[1] -= (event.clientY - y) / this.perPixel / this.picture.height;
        this.keepInside();
        this.draw();
      }
    });
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => held.delete(event.pointerId));
    stage.addEventListener("dblclick", () => this.whole());
  }
}

// The controls below a picture.
export function viewerControls(viewer, stretches, onStretch) {
  const curve = h("select", { "aria-label": "Stretch", onchange: () => viewer.set({ curve: curve.value }) }, Object.keys(CURVES).map((name) => h("option", {}, name)));
  const brightness = h("input", { type: "range", min: "0.4", max: "3", step: "0.05", value: "1", "aria-label": "Brightness", oninput: () => viewer.set({ brightness: Number(brightness.value) }) });
  const inverted = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    viewer.set({ inverted: !viewer.inverted });
    inverted.setAttribute("aria-pressed", String(viewer.inverted));
  } }, "Negative");
  const bar = h("div", { class: "bar" }, curve);
  if (stretches.length) {
    const flux = h("select", { "aria-label": "Stretch of the fluxes", onchange: () => onStretch(flux.value) }, h("option", { value: "" }, "flux: as predicted"), stretches.map((name) => h("option", { value: name }, `flux: ${name}`)));
    bar.append(flux);
  }
  bar.append(
    inverted,
    h("button", { type: "button", class: "icon", "aria-label": "Zoom in", title: "Zoom in (+)", onclick: () => viewer.zoomBy(1.4) }, "+"),
    h("button", { type: "button", class: "icon", "aria-label": "Zoom out", title: "Zoom out (−)", onclick: () => viewer.zoomBy(1 / 1.4) }, "−"),
    h("button", { type: "button", class: "icon", "aria-label": "Whole image", title: "Whole image (0)", onclick: () => viewer.whole() }, "⤢"),
  );
  return [bar, h("label", { class: "range" }, "Brightness", brightness)];
}
