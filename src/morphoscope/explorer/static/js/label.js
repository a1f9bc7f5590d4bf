// Labelling: one galaxy after the other, a key an answer. Every click is sent at once; one that got no answer is
// kept here and sent again with the same token, so that it counts once.

import { address, get, getBlob, post } from "./api.js";
import { announce, counted, h, problem, replace, whole } from "./dom.js";
import { filterBar } from "./filterbar.js";
import { go, has, href, question as view, shared, subject } from "./route.js";
import { loaded, originalWidth, Viewer, viewerControls } from "./viewer.js";

const KEPT = "morphoscope-person";
const KEYS = "1234567890";

const token = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function kept() {
  try {
    return localStorage.getItem(KEPT) || "";
  } catch {
    return "";
  }
}

export async function labelView(main, route) {
  const about = await get("labels");
  if (!about.questions.length) {
    throw new Error("Nothing is known to choose from: start the explorer with --classes A,B,C.");
  }
  const labeller = new Labeller(main, route, about);
  await labeller.start();
  return labeller;
}

class Labeller {
  constructor(main, route, about) {
    this.about = about;
    this.values = route.values;
    this.question = about.questions.find((each) => each.key === route.argument) || about.questions[0];
    this.person = kept();
    this.queued = about.queue !== null;
    this.coming = [];
    this.pending = [];
    this.pictures = new Map();
    this.viewer = new Viewer("The galaxy to label", { arcsecPerPixel: subject.pixelScale });
    this.bar = filterBar({ ...route, view: "label", argument: this.question.key });
    this.build(main);
  }

  build(main) {
    const { about } = this;
    this.name = h("input", { type: "text", value: this.person, maxLength: 60, autocomplete: "name", "aria-label": "Your name", placeholder: "Your name" });
    this.name.addEventListener("change", () => this.named());
    this.asks = h("select", { "aria-label": "Question", onchange: () => go("label", this.asks.value, shared(this.values)) }, about.questions.map((each) => h("option", { value: each.key, selected: each === this.question }, each.text)));
    this.progress = h("p", { class: "muted small", role: "status" });
    this.saved = h("p", { class: "saved small", role: "status" });
    this.title = h("h1", { class: "asked" }, this.question.text);
    this.buttons = h("div", { class: "choices-to-label", role: "group", "aria-label": this.question.text });
    this.hints = h("label", { class: "field" }, h("input", { type: "checkbox", onchange: (event) => { this.hint = event.target.checked; this.showHint(); } }), "Show the prediction");
    this.hintText = h("p", { class: "muted small" });
    this.now = h("p", { class: "muted small" });
    this.report = h("section", { class: "card", "aria-label": "Labels so far" });
    const source = about.queue === null ? null : h("select", { "aria-label": "Which galaxies", onchange: (event) => { this.queued = event.target.value === "queue"; this.ask(); } }, h("option", { value: "queue" }, `The queue (${whole(about.queue)})`), h("option", { value: "view" }, "This view"));
    main.append(
      h(
        "div",
        { class: "labelling" },
        this.bar,
        h(
          "div",
          { class: "label-grid" },
          h("section", { class: "card viewer", "aria-label": "Picture" }, this.viewer.stage, h("div", { class: "controls" }, viewerControls(this.viewer, [], () => {}))),
          h(
            "div",
            { class: "column" },
            h(
              "section",
              { class: "card" },
              h("div", { class: "bar", style: { "margin-bottom": "0.8rem" } }, this.name, about.questions.length > 1 ? this.asks : null, source),
              this.title,
              this.buttons,
              h(
                "div",
                { class: "bar", style: { "margin-top": "0.7rem" } },
                h("button", { type: "button", onclick: () => this.click("unsure") }, h("kbd", {}, "u"), "Unsure"),
                h("button", { type: "button", onclick: () => this.click("skip") }, h("kbd", {}, "s"), "Skip"),
                h("button", { type: "button", onclick: () => this.undo() }, h("kbd", {}, "z"), "Undo"),
              ),
              h("div", { class: "label-foot" }, this.progress, this.saved),
              this.now,
              has("predicted") ? h("div", { class: "bar" }, this.hints, this.hintText) : null,
            ),
            this.report,
          ),
        ),
      ),
    );
    replace(
      this.buttons,
      this.question.answers.map((answer, index) => h("button", { type: "button", onclick: () => this.click("answer", answer.value) }, KEYS[index] ? h("kbd", {}, KEYS[index]) : null, answer.text)),
    );
  }

  async start() {
    await Promise.all([this.ask(), this.summarise()]);
    this.timer = setInterval(() => this.send(), 3000);
    this.warn = (event) => {
      if (this.pending.length) event.preventDefault();
    };
    window.addEventListener("beforeunload", this.warn);
    if (!this.person) this.name.focus();
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    window.removeEventListener("beforeunload", this.warn);
    this.viewer.close();
    this.send();
  }

  changed(next) {
    const other = this.about.questions.find((each) => each.key === next.argument) || this.about.questions[0];
    if (other !== this.question) {
      this.question = other;
      this.asks.value = other.key;
      replace(this.title, other.text);
      this.buttons.setAttribute("aria-label", other.text);
      replace(this.buttons, other.answers.map((answer, index) => h("button", { type: "button", onclick: () => this.click("answer", answer.value) }, KEYS[index] ? h("kbd", {}, KEYS[index]) : null, answer.text)));
      this.summarise();
    }
    this.values = next.values;
    this.bar.update(next);
    this.ask();
  }

  named() {
    this.person = this.name.value.trim();
    this.name.value = this.person;
    try {
      localStorage.setItem(KEPT, this.person);
    } catch {
      // a frame without storage: the name is asked again
    }
    this.ask();
  }

  async ask() {
    try {
      const found = await get("labels/next", { ...view(this.values), person: this.person, question: this.question.key, queued: this.queued, count: 6 });
      if (this.closed) return;
      this.bar.refuse(null);
      this.bar.total(found.total);
      const waiting = new Set(this.pending.map((each) => each.body.row));
      this.coming = found.galaxies.filter((galaxy) => !waiting.has(galaxy.row));
      this.done = found.done + waiting.size;
      this.total = found.total;
      this.show();
    } catch (error) {
      this.bar.refuse(error);
    }
  }

  picture(row) {
    if (!this.pictures.has(row)) {
      this.pictures.set(
        row,
        getBlob(`image/${row}`).then(async ({ blob, headers }) => {
          const url = URL.createObjectURL(blob);
          const image = await loaded(url);
          URL.revokeObjectURL(url);
          return { image, across: originalWidth(headers) || image.naturalWidth };
        }),
      );
      this.pictures.get(row).catch(() => {});
      if (this.pictures.size > 24) this.pictures.delete(this.pictures.keys().next().value);
    }
    return this.pictures.get(row);
  }

  async show() {
    const galaxy = this.coming[0];
    replace(this.progress, this.total ? `${whole(this.done)} of ${whole(this.total)} done` : "");
    if (!galaxy) {
      this.viewer.say(this.total ? "All of these are done." : "No galaxy passes this filter.");
      replace(this.now);
      this.showHint();
      return;
    }
    replace(this.now, "Galaxy ", h("a", { href: href("galaxy", galaxy.row, shared(this.values)) }, galaxy.id));
    this.showHint();
    for (const next of this.coming.slice(0, 4)) this.picture(next.row);
    try {
      const { image, across } = await this.picture(galaxy.row);
      if (this.coming[0] !== galaxy) return;
      this.viewer.show(image, { across });
      this.viewer.canvas.setAttribute("aria-label", `Picture of galaxy ${galaxy.id}`);
    } catch (error) {
      if (this.coming[0] === galaxy) this.viewer.say(error.message);
    }
  }

  showHint() {
    const galaxy = this.coming[0];
    replace(this.hintText, this.hint && galaxy && galaxy.predicted ? `${galaxy.predicted}, ${galaxy.probability === undefined || galaxy.probability === null ? "" : galaxy.probability.toFixed(2)}` : "");
  }

  click(kind, answer = null) {
    if (!this.person) {
      replace(this.saved, h("span", { class: "problem" }, "Who labels? Write your name first."));
      this.name.focus();
      return;
    }
    const galaxy = this.coming.shift();
    if (!galaxy) return;
    this.done += 1;
    this.pending.push({ path: "labels/click", body: { token: token(), person: this.person, question: this.question.key, row: galaxy.row, kind, answer } });
    announce(`${kind === "answer" ? this.question.answers.find((each) => each.value === answer).text : kind}: ${galaxy.id}`);
    this.send();
    this.show();
    if (this.coming.length < 3) this.more();
  }

  // More galaxies, behind those that are waiting here.
  async more() {
    if (this.asking) return;
    this.asking = true;
    try {
      await this.send();
      const found = await get("labels/next", { ...view(this.values), person: this.person, question: this.question.key, queued: this.queued, count: 12 });
      const here = new Set([...this.coming, ...this.pending.map((each) => each.body)].map((each) => each.row));
      const empty = !this.coming.length;
      this.coming.push(...found.galaxies.filter((galaxy) => !here.has(galaxy.row)));
      if (empty) this.show();
    } catch {
      // the clicks are kept, and the next one asks again
    } finally {
      this.asking = false;
    }
  }

  // One after the other, in their order; what fails for want of an answer is tried again.
  send() {
    if (!this.sending) {
      this.sending = this.sendAll().finally(() => {
        this.sending = null;
      });
    }
    return this.sending;
  }

  async sendAll() {
    let sent = false;
    while (this.pending.length) {
      const first = this.pending[0];
      replace(this.saved, "Saving …");
      try {
        await post(first.path, first.body);
        this.pending.shift();
        sent = true;
      } catch (error) {
        if (error.status === 0 || error.status >= 500) {
          replace(this.saved, h("span", { class: "problem" }, `${this.pending.length} not saved yet: ${error.message} They are sent again.`));
          return;
        }
        this.pending.shift();
        replace(this.saved, problem(error));
        return;
      }
    }
    if (sent) {
      replace(this.saved, `Saved in ${this.about.file}`);
      this.summarise();
    }
  }

  async undo() {
    if (!this.person) return;
    await this.send();
    if (this.pending.length) return;
    try {
      const taken = await post("labels/undo", { token: token(), person: this.person, question: this.question.key });
      if (taken.row === null) {
        replace(this.saved, "Nothing to undo.");
        return;
      }
      const galaxy = await get(`galaxy/${taken.row}`);
      this.coming = [{ ...galaxy.values, row: taken.row, id: galaxy.id }, ...this.coming.filter((each) => each.row !== taken.row)];
      this.done -= 1;
      replace(this.saved, `Took back ${taken.kind === "answer" ? taken.answer : taken.kind} of ${galaxy.id}`);
      announce(`Took back ${galaxy.id}`);
      this.show();
      this.summarise();
    } catch (error) {
      replace(this.saved, problem(error));
    }
  }

  async summarise() {
    if (this.closed) return;
    try {
      replace(this.report, summary(await get("labels/summary", { question: this.question.key }), this.question));
    } catch (error) {
      replace(this.report, problem(error));
    }
  }

  key(event) {
    const index = KEYS.indexOf(event.key);
    if (index >= 0 && event.key.length === 1 && index < this.question.answers.length) this.click("answer", this.question.answers[index].value);
    else if (event.key === "u") this.click("unsure");
    else if (event.key === "s") this.click("skip");
    else if (event.key === "z") this.undo();
    else if (event.key === "+" || event.key === "=") this.viewer.zoomBy(1.4);
    else if (event.key === "-") this.viewer.zoomBy(1 / 1.4);
    else return;
    event.preventDefault();
  }
}

function summary(found, question) {
  if (!found.people.length) return [h("h2", {}, "Labels so far"), h("p", { class: "muted" }, "None yet. Keys 1 to 9 and 0 answer, u is unsure, s skips, z takes back.")];
  const text = Object.fromEntries(question.answers.map((answer) => [answer.value, answer.text]));
  const answers = Object.entries(found.answers).sort((a, b) => b[1] - a[1]);
  return [
    h("h2", {}, `Labels so far: ${counted(found.galaxies)}`),
    h("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": "Who labelled what" },
      h("table", { class: "values counts" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Name"), h("th", { scope: "col" }, "Answers"), h("th", { scope: "col" }, "Unsure"), h("th", { scope: "col" }, "Skipped"))),
        h("tbody", {}, found.people.map((person) => h("tr", {}, h("td", {}, person.name), h("td", {}, whole(person.answers)), h("td", {}, whole(person.unsure)), h("td", {}, whole(person.skipped))))),
      ),
    ),
    answers.length ? h("p", { class: "small", style: { "margin-top": "0.6rem" } }, answers.map(([value, count]) => `${text[value] || value} ${whole(count)}`).join(" · ")) : null,
    found.together
      ? h("p", { class: "small" }, `${counted(found.together)} by two or more people: they agree on ${Math.round((100 * found.agreed) / found.together)} %`, found.alpha === null ? "" : `, Krippendorff's α ${found.alpha.toFixed(2)}`, ". ", found.differ.length ? h("a", { href: href("gallery", "", { filter: `row in (${found.differ.slice(0, 2000).join(", ")})` }) }, "Show where they differ") : null)
      : null,
    h("h3", { style: { margin: "0.9rem 0 0.3rem" } }, "Train on these"),
    h("p", { class: "small muted" }, "Download the table with images, then:"),
    h("pre", { class: "commands", tabindex: "0" }, found.command),
    h("div", { class: "bar" },
      h("a", { class: "button", href: address("labels/export", { question: question.key, format: "parquet" }), download: "" }, "labels.parquet, with images"),
      h("a", { class: "button", href: address("labels/export", { question: question.key, format: "csv" }), download: "" }, "labels.csv, votes alone"),
    ),
  ];
}
