// The server's routes as functions. The key is in this module's memory and nowhere else.

let key = "";

export function useKey(value) {
  key = value;
}

// What the server, or the way to it, refused. `status` is 0 if there was no answer.
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const info = () => call("info");

export const words = () => call("workbench/words");

export async function disguised(text, kind, strength, signal) {
  return (await call("workbench/disguise", { text, kind, strength }, { signal })).text;
}

// Results in the order of the texts. `spans`: true for flagged categories, a list of categories, or false.
export async function moderate(texts, policy, { spans = false, signal } = {}) {
  const body = { input: texts, safetyclf: { spans, unit: "utf16" } };
  return (await call("v1/moderations", body, { policy, signal })).results;
}

async function call(path, body, { policy, signal } = {}) {
  if (/[^\x21-\x7e]/.test(key)) throw new ApiError(401, "A key has no spaces and no letters outside ASCII.");
  const headers = {};
  if (key) headers.authorization = `Bearer ${key}`;
  if (policy) headers["x-safetyclf-policy"] = policy;
  const request = { headers, signal, cache: "no-store" };
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    Object.assign(request, { method: "POST", body: JSON.stringify(body) });
  }
  for (let attempt = 1; ; attempt++) {
    const answer = await fetch(path, request).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "The server cannot be reached.");
    });
    if (answer.ok) return answer.json();
    if (answer.status === 429 && attempt < 6) {
      await pause(Number(answer.headers.get("retry-after-ms")) || 500, signal);
      continue;
    }
    const said = await answer.json().catch(() => ({}));
    throw new ApiError(answer.status, said.error?.message ?? `The server answered with status ${answer.status}.`);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
