// The texts of tokens that were shown more than once, with what is known of each. A string that arrives is a new one every time, and a Map hashes all of it; here the place
// follows from a few characters of the signature, which nobody chooses who cannot sign, and what is found there is compared as a whole.

const CELLS = 4; // of an entry: hash, text, slot, answer; next to each other, because each line of memory is far away
const FREE = -1, GONE = -2; // in place of a hash
const LEAST = 64; // entries

function hash(token) {
  const n = token.length;
  const a = token.charCodeAt(n - 8) | token.charCodeAt(n - 7) << 8 | token.charCodeAt(n - 6) << 16 | token.charCodeAt(n - 5) << 24;
  const b = token.charCodeAt(n - 4) | token.charCodeAt(n - 3) << 8 | token.charCodeAt(n - 2) << 16 | token.charCodeAt(n - 1) << 24;
  const h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  return (h ^ h >>> 15) >>> 2; // a small number in every engine
}

/** A table with open addressing, which has at least twice as many places as entries. */
export class Texts {
  #cells;
  #used = 0; // places that are not free
  #held = 0; // of which hold an entry

  constructor() {
    this.#clear(LEAST);
  }

  /** How many texts it has room for, so that it can be seen that it does not grow without need. */
  get places() {
    return this.#cells.length / CELLS;
  }

  #clear(places) {
    this.#cells = new Array(CELLS * places).fill(FREE);
    this.#used = this.#held = 0;
  }

  /** Returns where the text is, -1 if it is not there. What is returned is good until something is put in. */
  find(text) {
    if (text.length < 8) return -1;
    const cells = this.#cells, last = cells.length - 1, h = hash(text);
    for (let at = h * CELLS & last; cells[at] !== FREE; at = at + CELLS & last) {
      if (cells[at] === h && cells[at + 1] === text) return at;
    }
    return -1;
  }

  slot(at) {
    return this.#cells[at + 2];
  }

  answer(at) {
    return this.#cells[at + 3];
  }

  /** Keeps a text of at least eight characters that is not there. */
  put(text, slot, answer) {
    if (2 * (this.#used + 1) * CELLS > this.#cells.length) {
      const old = this.#cells;
      let places = LEAST;
      while (places < 4 * (this.#held + 1)) places *= 2;
      this.#clear(places);
      for (let at = 0; at < old.length; at += CELLS) if (old[at] >= 0) this.#insert(old[at], old[at + 1], old[at + 2], old[at + 3]);
    }
    this.#insert(hash(text), text, slot, answer);
  }

  #insert(h, text, slot, answer) {
    const cells = this.#cells, last = cells.length - 1;
    let at = h * CELLS & last;
    while (cells[at] >= 0) at = at + CELLS & last;
    if (cells[at] === FREE) this.#used++;
    this.#held++;
    cells[at] = h;
    cells[at + 1] = text;
    cells[at + 2] = slot;
    cells[at + 3] = answer;
  }

  remove(text) {
    const at = this.find(text);
    if (at < 0) return;
    this.#cells.fill(FREE, at + 1, at + CELLS);
    this.#cells[at] = GONE;
    this.#held--;
  }
}
