// A fetch that ends: bounded in time and in bytes, from the place that was named and no other, and of the type that was asked for.

/** Something that comes to an end once, and tells all who wait for it: an AbortSignal on which more than ten listen is a leak to Node. */
export class End {
  #waiting = new Set();
  over = false;

  add(f) {
    this.#waiting.add(f);
  }

  delete(f) {
    this.#waiting.delete(f);
  }

  now() {
    this.over = true;
    for (const f of this.#waiting) f();
  }
}

/**
 * @param {typeof fetch} fetch
 * @param {string} url
 * @param {RequestInit} init
 * @param {{type: string | string[], most: number, timeout: number, end?: End}} bounds
 * @returns {Promise<Uint8Array>}
 */
export async function bounded(fetch, url, init, { type, most, timeout, end }) {
  const abort = new AbortController();
  const stop = () => abort.abort();
  if (end?.over) throw new Error("closed");
  end?.add(stop);
  let timer;
  // Whatever fetch and the body do, this is over when the time is.
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error("no answer in time"));
      abort.abort();
    }, timeout);
    abort.signal.addEventListener("abort", () => reject(new Error("closed")), { once: true });
  });
  late.catch(() => {});
  try {
    return await Promise.race([read(fetch, url, init, type, most, abort.signal), late]);
  } finally {
    clearTimeout(timer);
    end?.delete(stop);
    abort.abort(); // a body that was not read to its end is not wanted any more
  }
}

async function read(fetch, url, init, type, most, signal) {
  const response = await fetch(url, { ...init, redirect: "manual", signal });
  if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) throw new Error("the origin points elsewhere");
  if (response.redirected) throw new Error("the answer is from elsewhere");
  if (response.status !== 200) throw new Error(`status ${response.status}`);
  const media = (response.headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();
  if (![type].flat().includes(media)) throw new Error("the answer is of another type");
  if (Number(response.headers.get("content-length") ?? 0) > most) throw new Error("the answer is too long");
  const chunks = [];
  let n = 0;
  const reader = response.body?.getReader();
  for (; reader !== undefined;) {
    const { done, value } = await reader.read();
    if (done) break;
    n += value.length;
    if (n > most) {
      reader.cancel().catch(() => {});
      throw new Error("the answer is too long");
    }
    chunks.push(value);
  }
  if (chunks.length === 1) return chunks[0];
  const all = new Uint8Array(n);
  let at = 0;
  for (const c of chunks) {
    all.set(c, at);
    at += c.length;
  }
  return all;
}
