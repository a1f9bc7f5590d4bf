// The address says what is shown: #gallery?filter=...&sort=..., #galaxy/17?filter=..., so that it can be sent.

import { literal } from "./dom.js";

export const subject = { columns: [], classes: [] }; // filled once, by main.js

export function current() {
  const [path, query = ""] = withoutSlash(location.hash.slice(1)).split(/\?(.*)/s);
  const [view = "", argument = ""] = path.split("/");
  return { view: view || "gallery", argument, values: Object.fromEntries(new URLSearchParams(query)) };
}

function withoutSlash(text) {
  return text.startsWith("/") ? text.slice(1) : text;
}

export function href(view, argument = "", values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value) query.set(name, value);
  const text = query.toString();
  return `#${view}${argument === "" ? "" : `/${argument}`}${text ? `?${text}` : ""}`;
}

export function go(view, argument = "", values = {}, { instead = false } = {}) {
  const target = href(view, argument, values);
  if (instead) {
    history.replaceState(null, "", target);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = target;
}

// What the gallery shows: the values that also go along to a galaxy and back.
export const SHARED = ["filter", "cls", "right", "sort", "descending"];

export function shared(values, names = SHARED) {
  return Object.fromEntries(names.filter((name) => values[name]).map((name) => [name, values[name]]));
}

// What a view shows besides, such as the column of its histogram: part of the address, and of no other view.
export const OWN = ["column", "map", "quantity"];

export function remember(route, changes) {
  Object.assign(route.values, changes);
  history.replaceState(null, "", href(route.view, route.argument, route.values));
}

// The filter as one expression, with the quick choices.
export function expression(values) {
  const parts = [];
  if (values.filter) parts.push(values.cls || values.right ? `(${values.filter})` : values.filter);
  if (values.cls) parts.push(`${classColumn()} = ${literal(values.cls)}`);
  if (values.right === "wrong") parts.push("not correct");
  if (values.right === "right") parts.push("correct");
  return parts.join(" and ");
}

export const has = (name) => subject.columns.some((column) => column.name === name);
export const classColumn = () => (has("predicted") ? "predicted" : "truth");
export const numeric = () => subject.columns.filter((column) => column.kind === "number");

export function question(values) {
  return { filter: expression(values), sort: values.sort, descending: values.descending === "1" };
}

export function both(first, second) {
  if (!first) return second;
  if (!second) return first;
  return `(${first}) and ${second}`;
}
