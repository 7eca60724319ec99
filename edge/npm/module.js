// The module behind functions: memory, statuses and texts, and nothing of networks.
import { Texts } from "./texts.js";
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
  #slots = new Map(); // each {text, answer}: what check answers for the token whose claims are in there, and its text if it was shown more than once
  #texts = new Texts(); // these texts

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

  /** The text of the last answer, a view that the next call overwrites. */
  #said() {
    const at = this.#exports.text() >>> 0, n = this.#exports.text_len() >>> 0;
    return this.#view().subarray(at, at + n);
  }

  text() {
    return decoder.decode(this.#said());
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
    this.#slots = new Map();
    this.#texts = new Texts();
    const r = this.#take(encoder.encode(text), (n) => this.#exports.configure(n));
    if (r.status !== DONE) throw new TypeError(`counterfoil-edge: ${r.text}`);
  }

  /** Takes 32 random bytes, by which its tables are hashed. Without them that is known to whoever has the module. */
  seed(bytes) {
    this.#take(bytes, (n) => this.#exports.seed(n));
  }

  /** @returns {string} why the key set was not taken, "" if it was */
  keys(bytes) {
    const r = this.#take(bytes, (n) => this.#exports.keys(n));
    return r.status === DONE ? "" : r.text || "refused";
  }

  /** Decides about a token, text or bytes. An answer is {ok: true, claims}, or {ok: false, error, reason}, or a {ticket} with what is to be done first. */
  check(token, policy, wall, steady) {
    if (typeof token === "string" && token.length <= MAX_TOKEN) {
      // A text that is known need not be copied, looked up and compared in there.
      const at = this.#texts.find(token);
      if (at >= 0) {
        const slot = this.#texts.slot(at), r = this.#exports.again(slot, policy, wall, steady);
        if ((r & 7) === ACCEPTED) return this.#texts.answer(at);
        if ((r & 7) !== FAILED) return this.#answer(r);
        this.#forget(slot); // if the token is good by keys of now, it gets another one
      }
    }
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
      const known = this.#slots.get(r >>> 3);
      if (known !== undefined) {
        if (typeof token === "string" && known.text === undefined) this.#note(r >>> 3, n);
        return known.answer;
      }
    }
    return this.#answer(r);
  }

  /** Keeps the text of a slot's token, which is the first n bytes where tokens go: a copy, because the string may be a part of something long. */
  #note(slot, n) {
    const known = this.#slots.get(slot);
    known.text = decoder.decode(this.#view().subarray(this.#token, this.#token + n));
    this.#texts.put(known.text, slot, known.answer);
  }

  #forget(slot) {
    const known = this.#slots.get(slot);
    if (known?.text === undefined) return;
    this.#texts.remove(known.text);
    known.text = undefined;
  }

  finish(ticket, ok, wall, steady) {
    return this.#answer(this.#exports.finish(ticket, ok ? 1 : 0, wall, steady));
  }

  ahead(ticket) {
    this.#exports.ahead(ticket);
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
        if (this.#slots.has(value)) return this.#slots.get(value).answer;
        if ((this.#exports.claims(value) & 7) !== LEARNED) break;
      // falls through
      case LEARNED:
        this.#forget(value); // it is another token's now
        this.#slots.delete(value);
        const answer = Object.freeze({ ok: true, claims: freeze(JSON.parse(this.text())) });
        this.#slots.set(value, { text: undefined, answer });
        return answer;
      case REFUSED:
        return refusal(this.text());
      case VERIFY:
        return { ticket: value, verify: this.#said() };
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
    if (r.status === VERIFY) return { verify: this.#said().slice() };
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

/** Makes an answer of "<word>: <reason>". Frozen, because some are given to many. */
export function refusal(text) {
  const at = text.indexOf(": ");
  return Object.freeze({ ok: false, error: text.slice(0, at), reason: text.slice(at + 2) });
}
