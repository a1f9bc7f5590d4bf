// Questions to this server, and to no other.

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function address(path, values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== null && value !== "" && value !== false) query.set(name, value);
  }
  const text = query.toString();
  return `/api/${path}${text ? `?${text}` : ""}`;
}

const LONGEST = 60_000; // characters of an address; a server reads no more

async function asked(path, values, options) {
  let answer;
  if (address(path, values).length > LONGEST) throw new Refused("The filter is too long for an address.", 400);
  try {
    answer = await fetch(address(path, values), { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The explorer does not answer; is 'morphoscope serve' still running?", 0);
  }
  if (!answer.ok) {
    let sentence = `The explorer answered with status ${answer.status}.`;
    try {
      sentence = (await answer.json()).error || sentence;
    } catch {
      // no sentence was sent
    }
    throw new Refused(sentence.charAt(0).toUpperCase() + sentence.slice(1), answer.status);
  }
  return answer;
}

export const get = async (path, values, signal) => (await asked(path, values, { signal })).json();
export const getBytes = async (path, values, signal) => (await asked(path, values, { signal })).arrayBuffer();
export const getBlob = async (path, values, signal) => {
  const answer = await asked(path, values, { signal });
  return { blob: await answer.blob(), headers: answer.headers };
};
export const post = async (path, body, values) =>
  (
    await asked(path, values, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    })
  ).json();
export const postBytes = async (path, body, values) =>
  (await asked(path, values, { method: "POST", headers: { "content-type": "application/octet-stream" }, body })).json();
