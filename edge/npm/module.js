// The module behind functions: memory, statuses and texts, and nothing of networks.
import { wasi } from "./wasi.js";

/** The version of the module's interface that this package speaks. */
export const ABI = 1;

export const ACCEPTED = 0, LEARNED = 1, REFUSED = 2, VERIFY = 3, ASK = 4, DONE = 5, FAILED = 6;

const MAX_TOKEN = 8192;
const encoder = new TextEncoder(), decoder = new TextDecoder(); // what the module says is UTF-8

/** Freezes what JSON.parse made: claims are shared by all who show the same token. */
function freeze(value) {
  if (typeof value !== "object" || value === null) return value;
  for (const name in value) freeze(value[name]);
  return Object.freeze(value);
}

/** One instance of the module. Every method may throw when it traps; it is dead then. */
export class Module {
  #exports;
  #memory;
  #bytes; // a view on all of memory; when that has grown it is void, and has no length
  #place; // of which where tokens go
  #token; // where tokens go
  #accepted = []; // by slot: what check answers for a token whose claims are in there

  constructor(exports, memory) {
    this.#exports = exports;
    this.#memory = memory;
    const abi = exports.abi?.() ?? 0;
    if ((abi & 0xffff) !== ABI) {
      throw new TypeError(`counterfoil-edge: the module speaks version ${abi & 0xffff} of its interface, this package ${ABI}: they must come from one release`);
    }
    /** Whether the host verifies signatures. */
    this.hostCrypto = (abi & 0x10000) !== 0;
    this.#token = exports.token_buffer() >>> 0;
    this.#look();
  }

  /** Makes an instance of a compiled module. */
  static async start(compiled) {
    const host = wasi();
    let instance;
    try {
      instance = await WebAssembly.instantiate(compiled, host.imports);
    } catch (cause) {
      throw new TypeError("counterfoil-edge: this is not the module of this package", { cause });
    }
    const { memory, _initialize, abi } = instance.exports;
    if (!(memory instanceof WebAssembly.Memory) || typeof _initialize !== "function" || typeof abi !== "function") {
      throw new TypeError("counterfoil-edge: this is not the module of this package");
    }
    host.bind(memory);
    _initialize();
    return new Module(instance.exports, memory);
  }

  #view() {
    if (this.#bytes.length === 0) this.#look();
    return this.#bytes;
  }

  #look() {
    this.#bytes = new Uint8Array(this.#memory.buffer);
    this.#place = this.#bytes.subarray(this.#token, this.#token + MAX_TOKEN);
  }

  /** How much memory the module has, in bytes. */
  get memory() {
    return this.#memory.buffer.byteLength;
  }

  /** The text of the last answer, a copy. */
  bytes() {
    const at = this.#exports.text() >>> 0, n = this.#exports.text_len() >>> 0;
    return this.#view().slice(at, at + n);
  }

  text() {
    const at = this.#exports.text() >>> 0, n = this.#exports.text_len() >>> 0;
    return decoder.decode(this.#view().subarray(at, at + n));
  }

  /** Hands bytes in for the call that follows. */
  #put(bytes) {
    const at = this.#exports.reserve(bytes.length) >>> 0;
    if (at === 0) return false;
    this.#view().set(bytes, at);
    return true;
  }

  #take(bytes, call) {
    if (bytes.length > 0 && !this.#put(bytes)) return { status: FAILED, value: 0, text: "oversize" };
    const r = call(bytes.length);
    return { status: r & 7, value: r >>> 3, text: (r & 7) === FAILED ? this.text() : "" };
  }

  /** Throws what is wrong with the configuration. */
  configure(text) {
    this.#accepted = [];
    const r = this.#take(encoder.encode(text), (n) => this.#exports.configure(n));
    if (r.status !== DONE) throw new TypeError(`counterfoil-edge: ${r.text}`);
  }

  /** @returns {string} why the key set was not taken, "" if it was */
  keys(bytes) {
    const r = this.#take(bytes, (n) => this.#exports.keys(n));
    return r.status === DONE ? "" : r.text || "refused";
  }

  /** Decides about a token, text or bytes. An answer is {ok: true, claims}, or {ok: false, error, reason}, or a {ticket} with what is to be done first. */
  check(token, policy, wall, steady) {
    if (this.#place.length === 0) this.#look();
    let n = MAX_TOKEN + 1;
    if (token.length > MAX_TOKEN) {
      // nobody looks at one that is too long
    } else if (typeof token === "string") {
      const { read, written } = encoder.encodeInto(token, this.#place);
      if (read === token.length) n = written;
    } else {
      this.#place.set(token);
      n = token.length;
    }
    const r = this.#exports.check(n, policy, wall, steady);
    if ((r & 7) === ACCEPTED) {
      const known = this.#accepted[r >>> 3];
      if (known !== undefined) return known;
    }
    return this.#answer(r);
  }

  finish(ticket, ok, wall, steady) {
    return this.#answer(this.#exports.finish(ticket, ok ? 1 : 0, wall, steady));
  }

  judge(ticket, active, wall, steady) {
    return this.#answer(this.#exports.judge(ticket, active ? 1 : 0, wall, steady));
  }

  drop(ticket) {
    this.#exports.drop(ticket);
  }

  #answer(r) {
    const status = r & 7, value = r >>> 3;
    switch (status) {
      case ACCEPTED:
        if (this.#accepted[value] !== undefined) return this.#accepted[value];
        if ((this.#exports.claims(value) & 7) !== LEARNED) break;
      // falls through
      case LEARNED:
        for (let n = this.#accepted.length; n <= value; n++) this.#accepted.push(undefined); // without gaps, which would make it a dictionary
        this.#accepted[value] = undefined;
        return (this.#accepted[value] = Object.freeze({ ok: true, claims: freeze(JSON.parse(this.text())) }));
      case REFUSED:
        return refusal(this.text());
      case VERIFY:
        return { ticket: value, verify: this.bytes() };
      case ASK:
        return { ticket: value, otherwise: refusal(this.text()) };
    }
    return refusal("stale: answer of another version");
  }

  /** Begins a question to the feed. */
  question(nonce) {
    const r = this.#put(nonce) ? this.#exports.question() : FAILED;
    if ((r & 7) !== DONE) return undefined;
    return { after: this.text(), full: r >>> 3 === 1 };
  }

  /** @returns {{error: string} | {verify: Uint8Array} | {records: number}} */
  frame(bytes, sent, now) {
    const r = this.#take(bytes, (n) => this.#exports.frame(n, sent.wall, sent.steady, now.wall, now.steady));
    if (r.status === VERIFY) return { verify: this.bytes() };
    return r.status === DONE ? { records: r.value } : { error: r.text || "refused" };
  }

  finishFrame(ok, digest, now) {
    this.#view().set(digest, this.#token);
    const r = this.#exports.finish_frame(ok ? 1 : 0, now.wall, now.steady);
    return (r & 7) === DONE ? { records: r >>> 3 } : { error: this.text() };
  }

  state(wall, steady) {
    return (this.#exports.state(wall, steady) & 7) === DONE ? JSON.parse(this.text()) : undefined;
  }
}

/** Makes an answer of "<word>: <reason>". */
export function refusal(text) {
  const at = text.indexOf(": ");
  return { ok: false, error: text.slice(0, at), reason: text.slice(at + 2) };
}
