import "./webcrypto.js";
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createGuard } from "../index.js";
import { Module } from "../module.js";
import { wasi } from "../wasi.js";
import { until } from "./origin.js";

const vectors = readFileSync(new URL("../../../token/testdata/vectors/tokens.txt", import.meta.url), "utf8").split("\n").map((line) => line.split("\t"));
const jwks = new TextEncoder().encode(vectors.find((f) => f[0] === "@keys" && f[1] === "ed")[2]);
const good = vectors.find((f) => f[0] === "token" && f[1] === "ed" && f[4] === "accepted")[2];
const now = 1893499200000;
const config = "issuer https://issuer.test\naudience https://service.test\npolicy best-effort\nlist 1024\nentries 256\n";

const STATUS = { accepted: 0, learned: 1, refused: 2, verify: 3, ask: 4, done: 5, failed: 6 };

/** The module as it is, without the wrapper's care. */
async function raw(bytes) {
  const host = wasi();
  const { instance } = await WebAssembly.instantiate(bytes, host.imports);
  const x = instance.exports;
  host.bind(x.memory);
  x._initialize();
  const put = (b) => {
    const at = x.reserve(b.length) >>> 0;
    new Uint8Array(x.memory.buffer).set(b, at);
    return b.length;
  };
  const text = () => new TextDecoder().decode(new Uint8Array(x.memory.buffer).slice(x.text() >>> 0, (x.text() >>> 0) + x.text_len()));
  return { x, put, text };
}

for (const name of ["host", "own"]) {
  const bytes = readFileSync(new URL(`../${name}.wasm`, import.meta.url));
  describe(name, () => {
    test("hostile lengths, pointers and numbers are refused", async () => {
      const { x, put, text } = await raw(bytes);
      const refused = (r) => assert.ok((r & 7) === STATUS.refused || (r & 7) === STATUS.failed, `${r & 7} ${text()}`);
      const numbers = [0, 1, 7, 8191, 8192, 8193, 65536, 0x7fffffff, -1, -0x80000000];
      const times = [0, -1, 1, NaN, Infinity, -Infinity, 1e308, 2 ** 53, now];
      const everything = () => {
        for (const n of numbers) {
          for (const t of times) {
            refused(x.check(n, n, t, t));
            refused(x.again(n, n, t, t));
            refused(x.finish(n, n, t, t));
            refused(x.judge(n, n, t, t));
            refused(x.frame(n, t, t, t, t));
            refused(x.finish_frame(n, t, t));
          }
          refused(x.keys(n));
          refused(x.claims(n));
          refused(x.seed(n));
          refused(x.configure(n));
          x.drop(n);
          x.ahead(n);
        }
      };
      everything(); // before there is a configuration
      for (const n of [0, -1, (128 << 20) + 1, 0x7fffffff]) assert.equal(x.reserve(n), 0, `reserve(${n})`);
      assert.equal(x.configure(put(new TextEncoder().encode(config))) & 7, STATUS.done);
      refused(x.keys(10_000)); // more than was reserved
      assert.equal(x.keys(put(jwks)) & 7, STATUS.done);
      for (const n of numbers) {
        for (const t of times) {
          refused(x.check(n, n, t, t));
          refused(x.again(n, n, t, t));
          refused(x.finish(n, n, t, t));
          refused(x.judge(n, n, t, t));
          refused(x.frame(n, t, t, t, t));
          refused(x.finish_frame(n, t, t));
        }
        refused(x.claims(n));
        if (n !== 0) refused(x.seed(n));
        x.drop(n);
        x.ahead(n);
      }
      refused(x.question()); // without a key for the answer

      // After all that it still decides.
      const { written } = new TextEncoder().encodeInto(good, new Uint8Array(x.memory.buffer, x.token_buffer(), 8192));
      let r = x.check(written, -1, now, 1);
      if ((r & 7) === STATUS.verify) r = x.finish(r >>> 3, 1, now, 1);
      assert.equal(r & 7, STATUS.learned, text());
    });

    test("memory stays flat over a million hostile checks", async (t) => {
      const m = await Module.start(await WebAssembly.compile(bytes));
      m.configure(config);
      assert.equal(m.keys(jwks), "");
      const [head, claims, signature] = good.split(".");
      const long = "A".repeat(8192);
      const hostile = [
        "", ".", "..", good.slice(0, -1), good + "A", good + ".", `${head}.${claims}.`, `${head}..${signature}`, `.${claims}.${signature}`, long, long + long, `${head}.${long.slice(0, 7000)}.${signature}`,
        "\0".repeat(100), "é".repeat(3000), `${head}.${claims}.${signature.replace(/^./, "A")}`, `${claims}.${head}.${signature}`,
      ];
      const round = (n) => {
        for (let i = 0; i < n; i++) {
          const raw = hostile[i % hostile.length];
          let r = m.check(i % 97 === 0 ? `${head}.${claims.slice(0, -4)}${i.toString(36).padStart(4, "A").slice(-4)}.${signature}` : raw, -1, now + i / 1000, i / 1000);
          if (r.ticket !== undefined) r = i % 3 === 0 ? m.finish(r.ticket, false, now, i / 1000) : (m.drop(r.ticket), { ok: false });
          if (r.ok) assert.fail(`accepted ${raw}`);
        }
      };
      // Checking a signature inside takes half a millisecond, so the flavour that does has fewer of those that come so far.
      if (name === "own") hostile.splice(0, hostile.length, ...hostile.filter((h) => h.split(".").length !== 3 || !h.startsWith(head)));
      round(500_000); // Go's collector first comes when 4 MiB have been used
      const before = m.memory;
      round(500_000);
      t.diagnostic(`${(before / 1048576).toFixed(1)} MiB after 500,000 checks, ${(m.memory / 1048576).toFixed(1)} MiB after 1,000,000`);
      assert.ok(m.memory <= before + 2 * 1048576, `${before}, then ${m.memory} bytes`);
    });

    test("of a token that is known nothing but itself is accepted", async () => {
      const m = await Module.start(await WebAssembly.compile(bytes));
      m.configure(config);
      assert.equal(m.keys(jwks), "");
      const check = (raw) => {
        const r = m.check(raw, -1, now, 1);
        return r.ticket === undefined ? r : m.finish(r.ticket, raw === good, now, 1);
      };
      const first = check(good);
      assert.equal(first.ok, true);
      // At the second sight its text is kept, and from then on compared outside of the module.
      for (let i = 0; i < 3; i++) assert.equal(m.check(`Bearer ${good}`.slice(7), -1, now, 1), first);
      for (let at = 0; at < good.length; at++) {
        // Where the module verifies, a signature takes half a millisecond: each place once.
        for (const c of name === "host" ? ["A", "B", "_", ".", "\0"] : [good[at] === "A" ? "B" : "A"]) {
          if (c === good[at]) continue;
          const other = good.slice(0, at) + c + good.slice(at + 1);
          assert.equal(check(other).ok, false, `${c} at ${at}`);
        }
      }
      assert.equal(m.check(good, -1, now, 1), first, "and itself is, without another signature");
    });

    test("a text that is known is judged as one that is not", async () => {
      const m = await Module.start(await WebAssembly.compile(bytes));
      const known = () => {
        m.configure(config);
        assert.equal(m.keys(jwks), "");
        const r = m.check(good, -1, now, 1);
        if (r.ticket !== undefined) m.finish(r.ticket, true, now, 1);
        for (let i = 0; i < 3; i++) assert.equal(m.check(good, -1, now, 1).ok, true);
      };
      known();
      assert.equal(m.check(good, -1, now + 3600_000, 1).error, "expired");
      assert.equal(m.check(good, -1, now - 3600_000, 1).reason, "issued in the future");
      assert.equal(m.check(good, -1, now, 1).ok, true);
      const asked = m.check(good, 1, now, 1); // paranoid, and there is no list
      assert.equal(asked.error, "stale");
      const other = JSON.parse(new TextDecoder().decode(jwks));
      other.keys = other.keys.filter(({ kid }) => kid !== JSON.parse(atob(good.split(".")[0])).kid);
      other.keys.push({ kty: "OKP", crv: "Ed25519", alg: "EdDSA", use: "sig", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", kid: "other" });
      assert.equal(m.keys(new TextEncoder().encode(JSON.stringify(other))), "");
      assert.equal(m.check(good, -1, now, 1).reason, "unknown key");
      known();
      m.configure("issuer https://other.test\naudience https://service.test\npolicy best-effort\nlist 1024\nentries 256\n");
      assert.equal(m.check(good, -1, now, 1).ok ?? false, false, "of another configuration");
      assert.equal(m.keys(jwks), "");
      const wrong = m.check(good, -1, now, 1);
      assert.equal(wrong.ticket === undefined ? wrong.reason : m.finish(wrong.ticket, true, now, 1).reason, "issuer");
    });

    test("a token is checked after memory has grown as before", async () => {
      const m = await Module.start(await WebAssembly.compile(bytes));
      m.configure(config);
      assert.equal(m.keys(jwks), "");
      const accepted = () => {
        const r = m.check(good, -1, now, 1);
        return r.ticket === undefined ? r : m.finish(r.ticket, true, now, 1);
      };
      const first = accepted();
      assert.equal(first.ok, true);
      for (const mib of [32, 64, 120]) {
        const before = m.memory;
        assert.notEqual(m.keys(new Uint8Array(mib << 20)), "");
        assert.ok(m.memory > before, "it has grown");
        assert.equal(accepted(), first);
        assert.equal(m.check("a.bb.cc", -1, now, 1).reason, "not canonical");
      }
    });

    test("claims are those of the token, whatever shares its slot", async () => {
      const m = await Module.start(await WebAssembly.compile(bytes));
      m.configure(config);
      m.keys(jwks);
      let r = m.check(good, -1, now, 1);
      if (r.ticket !== undefined) r = m.finish(r.ticket, true, now, 1);
      assert.equal(r.claims.sub, "user-7");
      assert.equal(m.check(good, -1, now, 1), r);
      assert.equal(m.check(new TextEncoder().encode(good), -1, now, 1), r, "as bytes");
    });
  });
}

/** The instances of the module that start from now on. fails tells whether the next one does not. */
function instances(t, fails = () => false) {
  const all = [];
  const { instantiate } = WebAssembly;
  t.mock.method(WebAssembly, "instantiate", async (...args) => {
    if (fails()) throw new RangeError("out of memory");
    const instance = await instantiate(...args);
    all.push(instance);
    return instance;
  });
  return all;
}

/** Spoils all that an instance remembers: the next call into it traps, inside of it. */
const spoil = (instance) => new Uint8Array(instance.exports.memory.buffer).fill(0xff);

const alone = {
  issuer: "https://issuer.test", audience: "https://service.test", origin: "https://origin.test", follow: "never", policy: "best-effort", keys: new TextDecoder().decode(jwks),
};
const failed = { ok: false, error: "stale", reason: "the module failed" };

for (const name of ["host", "own"]) {
  test(`${name}: a module that traps is replaced, and what was asked of it is refused`, async (t) => {
    const all = instances(t);
    const g = await createGuard({ ...alone, module: readFileSync(new URL(`../${name}.wasm`, import.meta.url)), clock: { wall: () => now, steady: () => 1 } });
    t.after(() => g.close());
    for (const calls of [1, 2, 3]) {
      assert.equal((await g.check(good)).ok, true);
      assert.equal(all.length, calls);
      spoil(all.at(-1));
      assert.throws(() => all.at(-1).exports.state(now, 1), WebAssembly.RuntimeError, "it does trap");
      assert.deepEqual(await g.check(good), failed, "a token that it knew");
      assert.match(g.status().failures.feed, /out of bounds/);
      await until("the next one has the keys too", async () => (await g.check(good)).ok);
    }
  });
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

/** Bytes that a guard's module holds, and that JavaScript holds besides after a collection, its buffers included. */
async function held(g) {
  for (let i = 0; i < 3; i++) {
    await new Promise((done) => setImmediate(done)); // what has been answered lets go of its tokens
    collect();
  }
  const { heapUsed, external } = process.memoryUsage();
  const wasm = g.status().memory;
  return { heap: heapUsed + external - wasm, wasm };
}

// Tokens by the thousand, each signed by itself: with HS256.
const secret = Buffer.alloc(32, 7), kid = "hostile-key";
const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const head = encode({ alg: "HS256", kid, typ: "session+jwt" }), seconds = now / 1000;
const { sid: someone } = JSON.parse(Buffer.from(good.split(".")[1], "base64url"));
const claims = (i, age = 0, sid = someone) => encode({ iss: alone.issuer, aud: alone.audience, sub: `user-${i}`, sid, gen: 1, iat: seconds - age, exp: seconds - age + 300 });
const sign = (signed) => `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
const secrets = JSON.stringify({ keys: [{ kty: "oct", alg: "HS256", use: "sig", kid, k: secret.toString("base64url") }] });
const mib = ({ heap, wasm }) => `${(heap / 1048576).toFixed(2)} MiB in JavaScript, ${(wasm / 1048576).toFixed(1)} in the module`;

for (const name of ["host", "own"]) {
  test(`${name}: a guard that was shown a thousand tokens a thousand times holds no more than after a few`, async (t) => {
    const session = (i) => someone.slice(0, 3) + createHmac("sha256", "sessions").update(String(i)).digest().subarray(0, 16).toString("base64url");
    const tokens = Array.from({ length: 1000 }, (_, i) => sign(`${head}.${claims(i, 0, session(i))}`));
    const g = await createGuard({ ...alone, keys: secrets, module: readFileSync(new URL(`../${name}.wasm`, import.meta.url)), clock: { wall: () => now, steady: () => 1 } });
    t.after(() => g.close());
    const show = async (times) => {
      for (; times > 0; times--) {
        for (let i = 0; i < tokens.length; i++) assert.equal((await g.check(tokens[i])).claims.sub, `user-${i}`);
      }
      return held(g);
    };
    const before = await show(20), after = await show(980);
    t.diagnostic(`${mib(before)}; then ${mib(after)}`);
    assert.ok(after.heap <= before.heap + 1048576, "JavaScript holds something of every check");
    assert.ok(after.wasm <= before.wasm + 8 * 1048576, "the module holds something of every check"); // its heap grows by 4 MiB and a little
  });

  test(`${name}: a guard that was shown a million hostile tokens, each another one, holds no more than after the first of them`, async (t) => {
    const digits = (i) => Buffer.from(String(i).padStart(12, "0")).toString("base64url"); // always as long, and canonical
    const filler = "QUFB".repeat(1900);
    const kinds = {
      long: [(i) => `${digits(i)}.${filler}.${filler}`, "too long"],
      "nearly too long": [(i) => `${head}.${digits(i)}${filler}.${"A".repeat(43)}`, "bad signature"],
      malformed: [(i) => `${digits(i)}.${digits(i + 1)}`, "not three segments"],
      "of another kind": [(i) => `${encode({ alg: "none", kid, n: i })}.${claims(i)}.${digits(i)}`, "unknown key"],
      "wrong signature": [(i) => `${head}.${claims(i)}.${digits(i)}${"A".repeat(27)}`, "bad signature"],
      "unknown key": [(i) => `${encode({ alg: "HS256", kid: `key-${i}`, typ: "session+jwt" })}.${claims(i)}.${"A".repeat(43)}`, "unknown key"],
      expired: [(i) => sign(`${head}.${claims(i, 3600)}`), "expired"],
    };
    let at = 1, fetched = 0;
    const g = await createGuard({
      ...alone, keys: undefined, module: readFileSync(new URL(`../${name}.wasm`, import.meta.url)), clock: { wall: () => now, steady: () => at },
      fetch: async () => (fetched++, new Response(secrets, { headers: { "content-type": "application/jwk-set+json" } })),
    });
    t.after(() => g.close());
    await g.refresh();
    assert.equal((await g.check(sign(`${head}.${claims(0)}`))).ok, true, "and this is how a good one looks");
    const makers = Object.entries(kinds), seen = {};
    let shown = 0;
    const show = async (n) => {
      for (const end = shown + n; shown < end; at += 100) {
        // Some at a time, of which a few more have to be verified than may be at once.
        const batch = Array.from({ length: Math.min(490, end - shown) }, () => shown++);
        const answers = await Promise.all(batch.map((i) => g.check(makers[i % makers.length][1][0](i))));
        answers.forEach((r, k) => {
          const [kind, [, reason]] = makers[batch[k] % makers.length];
          if (r.reason !== reason && r.reason !== "too many checks under way") assert.fail(`${kind}: ${r.reason}`);
          seen[r.reason] = (seen[r.reason] ?? 0) + 1;
        });
      }
      return held(g);
    };
    const before = await show(100_000), after = await show(900_000);
    t.diagnostic(`after 100,000 tokens ${mib(before)}; after 1,000,000 ${mib(after)}; keys fetched ${fetched} times`);
    t.diagnostic(JSON.stringify(seen));
    assert.ok(after.heap <= before.heap + 2 * 1048576, "JavaScript holds something of every token");
    assert.ok(after.wasm <= before.wasm + 4 * 1048576, "the module holds more than Go's collector plays with, which first comes when 4 MiB have been used");
  });
}

test("a module whose successor does not start is replaced later, not in a hot loop", async (t) => {
  let full = false, tries = 0;
  const all = instances(t, () => full && ++tries > 0);
  const g = await createGuard({ ...alone, module: readFileSync(new URL("../host.wasm", import.meta.url)), clock: { wall: () => now, steady: () => 1 } });
  t.after(() => g.close());
  assert.equal((await g.check(good)).ok, true);
  full = true;
  spoil(all[0]);
  for (let i = 0; i < 100; i++) assert.deepEqual(await g.check(good), failed);
  assert.equal(tries, 1);
  await until("its failure is told", () => /does not start/.test(g.status().failures.feed));
  await until("it is tried again", async () => (await g.check(good), tries > 1));
  full = false;
  await until("it starts", async () => (await g.check(good)).ok);
});

test("a clock that throws means refusal", async (t) => {
  let broken = false;
  const g = await createGuard({
    ...alone, module: readFileSync(new URL("../host.wasm", import.meta.url)),
    clock: { wall: () => { if (broken) throw new Error("no time"); return now; }, steady: () => 1 },
  });
  t.after(() => g.close());
  assert.equal((await g.check(good)).ok, true);
  broken = true;
  assert.deepEqual(await g.check(good), failed);
  broken = false;
  await until("it decides again", async () => (await g.check(good)).ok);
});

test("what began with a module that is dead does not end with the next", async (t) => {
  const all = instances(t);
  const g = await createGuard({ ...alone, module: readFileSync(new URL("../host.wasm", import.meta.url)), clock: { wall: () => now, steady: () => 1 } });
  t.after(() => g.close());
  const verify = crypto.subtle.verify;
  let release;
  crypto.subtle.verify = () => new Promise((done) => (release = () => done(true))); // a signature that is called good, much later
  t.after(() => (crypto.subtle.verify = verify));
  const first = g.check(good);
  await until("the host verifies", () => release !== undefined);
  const late = release;
  spoil(all[0]);
  assert.deepEqual(await g.check(good), failed);
  release = undefined;
  const others = [];
  await until("the next module verifies", () => (others.push(g.check(good)), release !== undefined));
  late();
  assert.deepEqual(await first, failed);
});

test("a host that cannot verify a signature says nothing against the token", async (t) => {
  const g = await createGuard({ ...alone, module: readFileSync(new URL("../host.wasm", import.meta.url)), clock: { wall: () => now, steady: () => 1 } });
  t.after(() => g.close());
  const { subtle } = crypto;
  for (const name of ["importKey", "verify"]) {
    const { [name]: real } = subtle;
    subtle[name] = () => Promise.reject(new DOMException("unrecognized algorithm", "NotSupportedError"));
    try {
      for (let i = 0; i < 300; i++) assert.deepEqual(await g.check(good), { ok: false, error: "stale", reason: "the host cannot verify this signature" }, `${name} ${i}`);
      assert.equal((await g.check("a.bb.cc")).error, "invalid", "what needs no signature is decided");
    } finally {
      subtle[name] = real;
    }
  }
  assert.equal((await g.check(good)).ok, true, "and it is good where the host can");
});

test("a module of another version is refused", async () => {
  // (module (memory (export "memory") 1) (func (export "_initialize")) (func (export "abi") (result i32) i32.const 2))
  const strange = Uint8Array.of(
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    1, 8, 2, 0x60, 0, 0, 0x60, 0, 1, 0x7f,
    3, 3, 2, 0, 1,
    5, 3, 1, 0, 1,
    7, 30, 3, 6, ...new TextEncoder().encode("memory"), 2, 0, 11, ...new TextEncoder().encode("_initialize"), 0, 0, 3, ...new TextEncoder().encode("abi"), 0, 1,
    10, 9, 2, 2, 0, 0x0b, 4, 0, 0x41, 2, 0x0b,
  );
  await assert.rejects(createGuard({ module: strange, issuer: "i", audience: "a", origin: "https://origin.test" }), /version 2 of its interface, this package 1/);
});
