// The gallery: a list of any length of which only what is seen exists.
//
// Browsers bound an element's height. A longer list is mapped onto a shorter one: a small step of the scroll
// moves as far as it says, a large one (the scrollbar, a key) to the same share of the list.

import { get } from "./api.js";
import { brief, h, replace, whole } from "./dom.js";
import { filterBar } from "./filterbar.js";
import { current, href, question, shared, subject } from "./route.js";
import { chosen, chosenBar } from "./selection.js";
import { shareMenu } from "./share.js";
import { thumbnail } from "./thumbnails.js";

const PAGE = 60;
const MOST_PAGES = 80;
const TALLEST = 6_000_000; // pixels
const CAPTION = 3.75; // rem
const places = new Map(); // question → where the list was, to come back to it

export async function galleryView(main, route) {
  const bar = filterBar(route);
  const picked = chosenBar(() => list.redraw());
  const list = new List(bar);
  bar.querySelector(".end").prepend(shareMenu(() => current().values));
  main.append(h("div", { class: "gallery" }, h("h1", { class: "unseen" }, `Galaxies of ${subject.name}`), bar, picked, list.element));
  list.watch();
  await list.ask(route);
  return {
    close: () => list.close(),
    changed: (next) => {
      bar.update(next);
      list.ask(next);
    },
    key: (event) => list.key(event),
  };
}

class List {
  constructor(bar) {
    this.bar = bar;
    this.total = 0;
    this.pages = new Map();
    this.tiles = new Map();
    this.top = 0;
    this.last = 0;
    this.active = 0;
    this.columns = 1;
    this.canvas = h("div", { class: "canvas", role: "list", "aria-label": "Galaxies" });
    this.scroller = h("div", { class: "scroller", tabindex: "-1" }, this.canvas);
    this.where = h("div", { class: "where", hidden: true, "aria-hidden": "true" });
    this.message = h("div", { class: "empty", hidden: true });
    this.element = h("div", { class: "gallery-box" }, this.message, this.scroller, this.where);
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
  }

  watch() {
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(this.scroller);
  }

  close() {
    this.remember();
    this.closed = true;
    this.observer.disconnect();
  }

  remember() {
    if (this.key_) places.set(this.key_, { top: this.top, active: this.active });
  }

  async ask(route) {
    this.remember();
    this.values = route.values;
    this.question = question(route.values);
    this.key_ = JSON.stringify(this.question);
    this.pages.clear();
    const asked = this.key_;
    try {
      const first = await get("page", { ...this.question, start: 0, count: PAGE });
      if (this.closed || asked !== this.key_) return;
      this.bar.refuse(null);
      this.total = first.total;
      this.pages.set(0, Promise.resolve(first));
      this.bar.total(first.total);
      const empty = !first.total;
      this.message.hidden = !empty;
      this.scroller.hidden = empty;
      if (empty) replace(this.message, h("p", {}, subject.rows ? "No galaxy passes this filter." : subject.picturesNote));
    } catch (error) {
      this.bar.refuse(error);
      return;
    }
    const kept = places.get(this.key_) || { top: 0, active: 0 };
    this.active = Math.min(kept.active, Math.max(0, this.total - 1));
    this.removeTiles();
    this.layout(kept.top);
  }

  removeTiles() {
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
  }

  redraw() {
    for (const [index, tile] of this.tiles) this.markChosen(tile, tile.row, index);
  }

  layout(top = this.top) {
    const width = this.scroller.clientWidth;
    if (!width) return;
    const first = Math.floor(this.top / this.rowHeight) * this.columns || 0;
    const unit = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    const target = unit * (width < 560 ? 116 : width < 1100 ? 150 : 172);
    const pad = width < 560 ? 8 : 14;
    const columns = Math.max(2, Math.floor((width - 2 * pad) / target));
    const changed = columns !== this.columns || width !== this.width;
    if (changed && this.rowHeight && top === this.top) top = null; // keep the first galaxy, not the pixel
    this.columns = columns;
    this.width = width;
    this.pad = pad;
    this.side = Math.floor((width - 2 * pad) / columns);
    const before = this.rowHeight;
    this.rowHeight = this.side + Math.ceil(16 * unit * CAPTION);
    this.size = this.side * Math.min(2, devicePixelRatio || 1) > 170 ? 256 : 128;
    this.height = Math.ceil(this.total / columns) * this.rowHeight + 2 * pad;
    this.virtual = Math.min(this.height, TALLEST);
    this.canvas.style.height = `${this.virtual}px`;
    if (changed || before !== this.rowHeight) this.removeTiles();
    this.moveTo(top === null ? Math.floor(first / columns) * this.rowHeight : top);
  }

  get span() {
    return Math.max(0, this.height - this.scroller.clientHeight);
  }

  get virtualSpan() {
    return Math.max(1, this.virtual - this.scroller.clientHeight);
  }

  moveTo(top) {
    this.top = Math.max(0, Math.min(top, this.span));
    this.last = this.virtual === this.height ? this.top : Math.round((this.top / Math.max(1, this.span)) * this.virtualSpan);
    this.scroller.scrollTop = this.last;
    this.last = this.scroller.scrollTop;
    this.draw();
  }

  scrolled() {
    const at = this.scroller.scrollTop;
    const step = at - this.last;
    if (step === 0) return;
    this.last = at;
    if (this.virtual === this.height) this.top = at;
    else if (Math.abs(step) < this.scroller.clientHeight) this.top = Math.max(0, Math.min(this.top + step, this.span));
    else this.top = (at / this.virtualSpan) * this.span;
    const end = (at <= 0 && this.top > 1) || (at >= this.virtualSpan && this.top < this.span - 1);
    if (end && Math.abs(step) < this.scroller.clientHeight) this.moveTo(this.top);
    else this.draw();
  }

  draw() {
    if (!this.total) return;
    const height = this.scroller.clientHeight;
    const from = Math.max(0, Math.floor((this.top - this.pad - height * 0.6) / this.rowHeight)) * this.columns;
    const to = Math.min(this.total, Math.ceil((this.top + height * 1.6) / this.rowHeight) * this.columns);
    for (const [index, tile] of this.tiles) {
      if (index < from || index >= to) {
        tile.remove();
        this.tiles.delete(index);
      }
    }
    for (let index = from; index < to; index++) {
      let tile = this.tiles.get(index);
      if (!tile) {
        tile = this.tile(index);
        this.tiles.set(index, tile);
        this.canvas.append(tile);
        this.fill(tile, index);
      }
      const x = this.pad + (index % this.columns) * this.side;
      const y = this.last + this.pad + Math.floor(index / this.columns) * this.rowHeight - this.top;
      tile.style.transform = `translate(${x}px, ${y}px)`;
    }
    const first = Math.floor(Math.max(0, this.top - this.pad) / this.rowHeight) * this.columns;
    this.where.hidden = this.total <= to - from;
    this.where.textContent = `${whole(first + 1)} – ${whole(Math.min(this.total, first + Math.ceil(height / this.rowHeight) * this.columns))} of ${whole(this.total)}`;
  }

  tile(index) {
    const picture = h("span", { class: "picture" });
    const caption = h("span", { class: "caption" });
    const link = h("a", { href: "#", tabindex: index === this.active ? "0" : "-1", onfocus: () => this.focused(index) }, picture, caption);
    const tile = h("div", { class: "tile", role: "listitem", "aria-setsize": this.total, "aria-posinset": index + 1, style: { width: `${this.side}px`, height: `${this.rowHeight}px` } }, link);
    Object.assign(tile, { link, picture, caption });
    return tile;
  }

  page(number) {
    if (!this.pages.has(number)) {
      this.pages.set(number, get("page", { ...this.question, start: number * PAGE, count: PAGE }));
      if (this.pages.size > MOST_PAGES) this.pages.delete(this.pages.keys().next().value);
    }
    return this.pages.get(number);
  }

  async fill(tile, index) {
    const number = Math.floor(index / PAGE);
    // Whoever scrolls past wants nothing of what flies by.
    if (!this.pages.has(number)) await new Promise((done) => setTimeout(done, 60));
    if (!tile.isConnected) return;
    let galaxy;
    try {
      galaxy = (await this.page(number)).galaxies[index % PAGE];
    } catch (error) {
      this.pages.delete(number);
      replace(tile.picture, h("span", { class: "gone" }, error.message));
      return;
    }
    if (!galaxy || !tile.isConnected) return;
    tile.row = galaxy.row;
    tile.link.href = href("galaxy", galaxy.row, shared(this.values));
    tile.link.dataset.id = galaxy.id;
    replace(tile.caption, captionOf(galaxy, this.values.sort));
    tile.append(h("button", { type: "button", class: "tick", tabindex: "-1", "aria-label": `Select ${galaxy.id}`, onclick: () => this.choose(index) }, "✓"));
    this.markChosen(tile, galaxy.row);
    const picture = await thumbnail(galaxy.row, this.size);
    if (!tile.isConnected) return;
    if (picture.url) replace(tile.picture, h("img", { src: picture.url, alt: "", draggable: false, decoding: "async" }));
    else replace(tile.picture, h("span", { class: "gone" }, picture.reason));
    if (galaxy.correct === false) tile.picture.append(h("span", { class: "wrong", title: "what its label says" }, `label: ${galaxy.truth}`));
  }

  markChosen(tile, row) {
    tile.classList.toggle("chosen-one", chosen.has(row));
  }

  choose(index) {
    const tile = this.tiles.get(index);
    if (!tile || tile.row === undefined) return;
    chosen.toggle(tile.row);
    this.redraw();
  }

  focused(index) {
    const before = this.tiles.get(this.active);
    if (before) before.link.tabIndex = -1;
    this.active = index;
    const tile = this.tiles.get(index);
    if (tile) tile.link.tabIndex = 0;
  }

  focus(index) {
    index = Math.max(0, Math.min(index, this.total - 1));
    const y = Math.floor(index / this.columns) * this.rowHeight;
    const height = this.scroller.clientHeight;
    if (y < this.top) this.moveTo(y);
    else if (y + this.rowHeight + this.pad > this.top + height) this.moveTo(y + this.rowHeight + 2 * this.pad - height);
    this.focused(index);
    this.tiles.get(index)?.link.focus({ preventScroll: true });
  }

  key(event) {
    if (!this.total) return;
    const rows = Math.max(1, Math.floor(this.scroller.clientHeight / this.rowHeight));
    const inside = this.scroller.contains(document.activeElement) || document.activeElement === document.body || document.activeElement.id === "main";
    if (!inside) return;
    const here = this.tiles.get(this.active)?.link === document.activeElement;
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
      PageUp: -rows * this.columns,
      PageDown: rows * this.columns,
    };
    if (event.key in steps) {
      const target = this.active + steps[event.key];
      if (!here) this.focus(this.active);
      else if (target >= 0 && target < this.total) this.focus(target);
      else if (event.key.startsWith("Page")) this.focus(target);
    } else if (event.key === "Home") this.focus(0);
    else if (event.key === "End") this.focus(this.total - 1);
    else if (event.key === "x" && here) this.choose(this.active);
    else if (event.key === "Escape" && chosen.size) chosen.clear();
    else return;
    event.preventDefault();
  }
}

function headline(galaxy) {
  if (galaxy.predicted) return galaxy.predicted;
  if (galaxy.truth) return galaxy.truth;
  if (galaxy.path) return galaxy.path.split("|").slice(-1)[0];
  return galaxy.id;
}

function captionOf(galaxy, sort) {
  const value = sort && typeof galaxy[sort] === "number" ? brief(galaxy[sort]) : galaxy.probability != null ? galaxy.probability.toFixed(2) : "";
  const shown = headline(galaxy);
  return [
    h("span", { class: "what", title: shown }, shown),
    h("span", { class: "line" }, h("span", { class: "id", title: galaxy.id }, shown === galaxy.id ? "" : galaxy.id), h("span", { class: "value" }, value)),
  ];
}
