// Thumbnails, many in one request, kept as long as they are near.

import { getBytes } from "./api.js";

const MOST_KEPT = 1500;
const AT_ONCE = 120;
const kept = new Map(); // "size row" → { url } or { reason }
let wanted = new Map(); // size → Map(row → [callbacks])
let scheduled = false;

const keyOf = (row, size) => `${size} ${row}`;

export function thumbnail(row, size) {
  const key = keyOf(row, size);
  const known = kept.get(key);
  if (known) {
    kept.delete(key);
    kept.set(key, known); // the most recently used stay
    return Promise.resolve(known);
  }
  return new Promise((done) => {
    if (!wanted.has(size)) wanted.set(size, new Map());
    const rows = wanted.get(size);
    if (!rows.has(row)) rows.set(row, []);
    rows.get(row).push(done);
    if (!scheduled) {
      scheduled = true;
      requestAnimationFrame(() => {
        scheduled = false;
        fetchAll();
      });
    }
  });
}

function fetchAll() {
  const asked = wanted;
  wanted = new Map();
  for (const [size, rows] of asked) {
    const numbers = [...rows.keys()];
    for (let start = 0; start < numbers.length; start += AT_ONCE) {
      fetchSome(numbers.slice(start, start + AT_ONCE), size, rows);
    }
  }
}

async function fetchSome(numbers, size, waiting) {
  const found = new Map();
  let failure = "no picture";
  try {
    const stream = await getBytes("thumbnails", { rows: numbers.join(","), size });
    const view = new DataView(stream);
    for (let at = 0; at < stream.byteLength; ) {
      const row = Number(view.getBigUint64(at, true));
      const mark = view.getUint32(at + 8, true);
      const length = mark & 0x7fffffff;
      const bytes = new Uint8Array(stream, at + 12, length);
      if (mark >>> 31) found.set(row, { reason: new TextDecoder().decode(bytes) });
      else found.set(row, { url: URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })) });
      at += 12 + length;
    }
  } catch (error) {
    failure = error.message;
  }
  for (const row of numbers) {
    const picture = found.get(row) || { reason: failure };
    if (found.has(row)) kept.set(keyOf(row, size), picture);
    for (const done of waiting.get(row)) done(picture);
  }
  while (kept.size > MOST_KEPT) {
    const [key, picture] = kept.entries().next().value;
    kept.delete(key);
    if (picture.url) URL.revokeObjectURL(picture.url);
  }
}
