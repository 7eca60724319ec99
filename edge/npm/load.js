import { bounded } from "./fetch.js";

const MOST = 16 << 20, TIMEOUT = 30_000;

/** Compiles the module, whatever it comes as. Workers forbid compiling bytes; they get a WebAssembly.Module from their bundle. */
export async function compile(source, fetch) {
  if (source instanceof WebAssembly.Module) return source;
  let bytes = source;
  if (source instanceof URL || typeof source === "string") {
    let url;
    try {
      url = new URL(source, globalThis.location?.href);
    } catch {
      throw new TypeError("counterfoil-edge: module is text, but no URL; a file of Node is a file: URL");
    }
    try {
      bytes = await read(url, fetch);
    } catch (cause) {
      throw new TypeError(`counterfoil-edge: the module cannot be read: ${cause?.message ?? cause}`, { cause });
    }
  }
  if (!(bytes instanceof ArrayBuffer) && !ArrayBuffer.isView(bytes)) throw new TypeError("counterfoil-edge: module must be a WebAssembly.Module, bytes or a URL");
  try {
    return await WebAssembly.compile(bytes);
  } catch (cause) {
    throw new TypeError("counterfoil-edge: the module cannot be compiled", { cause });
  }
}

async function read(url, fetch) {
  if (url.protocol !== "file:") return bounded(fetch, url.href, {}, { type: "application/wasm", most: MOST, timeout: TIMEOUT });
  const files = "node:fs/promises"; // not written out below, lest bundlers for browsers look for it
  const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ files);
  return readFile(url);
}
