import assert from "node:assert/strict";
import { test } from "node:test";
import { Texts } from "../texts.js";

test("it finds what a Map finds", () => {
  const texts = new Texts(), map = new Map();
  let seed = 1;
  const random = (n) => {
    for (const shift of [13, -17, 5]) seed ^= shift > 0 ? seed << shift : seed >>> -shift;
    return (seed >>> 0) % n;
  };
  // Few ends, so that many texts want the same place, and some that differ in nothing else.
  const text = () => `${random(40)}.token.${"x".repeat(random(3))}${["ABCDEFGH", "ABCDEFGI", "_bcdefg-", "00000000", "\0\0\0\0\0\0\0\0"][random(5)]}`;
  for (let i = 0; i < 200_000; i++) {
    const t = text();
    const at = texts.find(t);
    assert.equal(at >= 0, map.has(t), t);
    if (at >= 0) {
      assert.deepEqual({ slot: texts.slot(at), answer: texts.answer(at) }, map.get(t));
      if (random(2) === 0) {
        texts.remove(t);
        map.delete(t);
      }
    } else if (random(4) === 0) {
      const value = { slot: i, answer: { ok: true } };
      texts.put(t, value.slot, value.answer);
      map.set(t, value);
    }
    if (i % 20_000 === 0) texts.remove("one that is not there");
  }
  assert.ok(map.size > 50);
});

test("an equal text is found, whatever string it is a part of", () => {
  const texts = new Texts();
  texts.put("header.payload.signature", 7, "answer");
  assert.equal(texts.slot(texts.find("Bearer header.payload.signature".slice(7))), 7);
  assert.equal(texts.slot(texts.find(["header", "payload", "signature"].join("."))), 7);
  for (const other of ["", "x", "ignature", "eader.payload.signature", "header.payload.signature ", "Header.payload.signature"]) assert.equal(texts.find(other), -1, other);
});

test("who comes and goes leaves no place taken", () => {
  const texts = new Texts();
  for (let i = 0; i < 100_000; i++) {
    texts.put(`token number ${i}`, i, "answer");
    if (i >= 20) texts.remove(`token number ${i - 20}`);
  }
  for (let i = 99_980; i < 100_000; i++) assert.equal(texts.slot(texts.find(`token number ${i}`)), i);
  assert.equal(texts.places, 128, "for twenty");
});
