// Probabilities and votes as bars with intervals.

import { brief, h, probability, s } from "./dom.js";

// share: 0 to 1; low and high: ends of an interval, or null; measured: a mark, or null.
export function bar({ share, low = null, high = null, measured = null, colour = "var(--fill)" }) {
  const inside = [s("rect", { x: 0, y: 0, width: `${100 * Math.max(0, Math.min(1, share || 0))}%`, height: 9, rx: 2, fill: colour })];
  if (low !== null && high !== null) {
    inside.push(s("line", { x1: `${100 * low}%`, x2: `${100 * high}%`, y1: 4.5, y2: 4.5, stroke: "var(--ink)", "stroke-width": 1.5 }));
    for (const end of [low, high]) inside.push(s("line", { x1: `${100 * end}%`, x2: `${100 * end}%`, y1: 1.5, y2: 7.5, stroke: "var(--ink)", "stroke-width": 1.5 }));
  }
  if (measured !== null) inside.push(s("circle", { cx: `${100 * measured}%`, cy: 4.5, r: 3.2, fill: "var(--card)", stroke: "var(--wrong)", "stroke-width": 2 }));
  return h("span", { class: "track", "aria-hidden": "true" }, s("svg", { preserveAspectRatio: "none" }, inside));
}

// What there is to know about an image besides: how unlike the training's it is, and what is wrong with it.
export function remarks(ood, quality) {
  const far = typeof ood === "number" && ood > 1;
  return {
    chips: [
      typeof ood === "number" ? h("span", { class: far ? "chip wrong" : "chip" }, `out of distribution ${brief(ood)}`) : null,
      quality.map((text) => h("span", { class: "chip wrong" }, text)),
    ],
    warning: far ? h("p", { class: "small problem", style: { "margin-top": "0.7rem" } }, "It is unlike the training's galaxies, so its probabilities may be far off.") : null,
  };
}

export function probabilities(list, { truth = null, set = null } = {}) {
  const ordered = [...list].sort((a, b) => (b.probability || 0) - (a.probability || 0));
  return h(
    "ol",
    { class: "answers" },
    ordered.map((each, rank) =>
      h(
        "li",
        { class: rank === 0 ? "most" : "" },
        h("span", { class: "name", title: each.name }, each.name, each.name === truth ? h("span", { class: "mark", title: "the label", role: "img", "aria-label": "the label" }, " ●") : null),
        bar({ share: each.probability, colour: set && !set.includes(each.name) ? "var(--faint)" : "var(--fill)" }),
        h("span", { class: "amount" }, probability(each.probability)),
      ),
    ),
  );
}

export function votes(questions) {
  return h(
    "div",
    { class: "tree" },
    questions.map((question) => {
      const most = Math.max(...question.answers.map((answer) => answer.fraction || 0));
      return h(
        "section",
        { class: `question${question.likely ? "" : " rare"}${question.depth ? "" : " first"}`, style: { "--depth": String(question.depth) } },
        h("h3", {}, question.text, h("span", { title: question.after.map((each) => `${each.question} ${each.answer}`).join("; ") }, reached(question))),
        h(
          "ul",
          { class: "answers" },
          question.answers.map((answer) =>
            h(
              "li",
              { class: answer.fraction !== null && answer.fraction === most ? "most" : "" },
              h("span", { class: "name", title: answer.name }, answer.text),
              bar({ share: answer.fraction, low: answer.low, high: answer.high, measured: answer.measured }),
              h("span", { class: "amount", title: answer.low === null ? "" : `${brief(answer.low)} to ${brief(answer.high)}` }, probability(answer.fraction)),
            ),
          ),
        ),
      );
    }),
  );
}

// Which answers lead to a question, and how many volunteers do they lead to it.
function reached({ after, asked }) {
  const answers = after.map((each) => `“${each.answer}”`).join(" or ");
  return [answers && `after ${answers}`, asked === null ? "" : `asked of ${Math.round(100 * asked)} %`].filter(Boolean).join(", ");
}

// Values with errors, each on the scale of its own catalogue.
export function measurements(list) {
  return h(
    "ul",
    { class: "answers measurements" },
    list.map((each) => {
      const at = (value) => `${Math.max(0, Math.min(100, (100 * (value - each.from)) / (each.to - each.from)))}%`;
      const inside = [];
      if (each.low !== null && each.high !== null) inside.push(s("line", { x1: at(each.low), x2: at(each.high), y1: 4.5, y2: 4.5, stroke: "var(--fill)", "stroke-width": 3 }));
      inside.push(s("circle", { cx: at(each.value), cy: 4.5, r: 4.5, fill: "var(--fill)" }));
      if (each.measured !== null) inside.push(s("circle", { cx: at(each.measured), cy: 4.5, r: 3.2, fill: "var(--card)", stroke: "var(--wrong)", "stroke-width": 2 }));
      const error = each.error === null ? "" : ` ± ${brief(each.error)}`;
      const interval = each.interval ? `${brief(each.low)} to ${brief(each.high)}` : "";
      return h(
        "li",
        {},
        h("span", { class: "name", title: each.name }, each.name),
        h("span", { class: "track", "aria-hidden": "true" }, s("svg", { preserveAspectRatio: "none" }, inside)),
        h("span", { class: "amount", title: interval }, `${brief(each.value)}${error}`, each.unit ? h("span", { class: "muted" }, ` ${each.unit}`) : null, each.measured === null ? null : h("span", { class: "unseen" }, `; label ${brief(each.measured)}`)),
      );
    }),
  );
}
