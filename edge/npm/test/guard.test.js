import "./webcrypto.js";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createGuard } from "../index.js";
import { createGuard as createWorkerGuard } from "../worker.js";
import { proxy, serve, startOrigin, until } from "./origin.js";

const compiled = new Map();
for (const name of ["host", "own"]) compiled.set(name, await WebAssembly.compile(readFileSync(new URL(`../${name}.wasm`, import.meta.url))));
const module = compiled.get("host");

/** @type {Awaited<ReturnType<typeof startOrigin>>} */
let origin;
before(async () => { origin = await startOrigin(); });
after(() => origin.stop());

const word = (r) => (r.ok ? "ok" : `${r.error}: ${r.reason}`);

/** Makes a guard that is closed when the test ends. */
async function guard(t, options) {
  const g = await createGuard({ module, ...origin.options, ...options });
  t.after(() => g.close());
  return g;
}
const fresh = async (g) => assert.ok(await g.ready(), `the list is fresh: ${JSON.stringify(g.status())}`);

for (const [name, m] of compiled) {
  describe(name, () => {
    test("accepts, and refuses after the logout", async (t) => {
      const g = await guard(t, { module: m });
      await fresh(g);
      const [mine, other] = [await origin.login("alice"), await origin.login("bob")];
      const first = await g.check(mine);
      assert.equal(word(first), "ok");
      assert.equal(first.claims.sub, "alice");
      assert.equal(await g.check(mine), first, "a token that was seen before has the same claims");
      assert.throws(() => { first.claims.sub = "root"; }, TypeError, "claims are shared, so nobody may write them");
      assert.equal(word(await g.state(mine)), "ok");
      const began = performance.now();
      await origin.logout(mine);
      await until("the token is refused", async () => !(await g.check(mine)).ok);
      t.diagnostic(`refused ${(performance.now() - began).toFixed(0)} ms after the logout began`);
      assert.equal(word(await g.check(mine)), "revoked: session revoked");
      assert.equal(word(await g.state(mine)), "revoked: session revoked");
      for (const policy of ["best-effort", "strict", "paranoid"]) assert.equal(word(await g.check(other, { policy })), "ok", policy);
    });

    test("overlapping checks do not mix", async (t) => {
      const g = await guard(t, { module: m, entries: 0 });
      await fresh(g);
      const tokens = await Promise.all(Array.from({ length: 40 }, (_, i) => origin.login(`user-${i}`)));
      const forged = tokens.map((token) => token.slice(0, -10) + (token.at(-10) === "A" ? "B" : "A") + token.slice(-9));
      const answers = await Promise.all([...tokens, ...forged].map((token) => g.check(token)));
      answers.forEach((r, i) => {
        if (i < tokens.length) assert.equal(r.claims?.sub, `user-${i}`, word(r));
        else assert.equal(word(r), "invalid: bad signature");
      });
    });

    test("refuses what is no token of the issuer", async (t) => {
      const g = await guard(t, { module: m });
      await fresh(g);
      const token = await origin.login();
      for (const [bad, want] of [
        ["", "invalid: not three segments"], ["a.bb.cc", "invalid: not canonical"], ["aa.aa.é", "invalid: not base64url"], ["x".repeat(9000), "invalid: too long"], ["é".repeat(8000), "invalid: too long"],
        [token + "=", "invalid: not base64url"], [token.replace(".", ".."), "invalid: not three segments"],
      ]) assert.equal(word(await g.check(bad)), want, bad.slice(0, 20));
      for (const bad of [undefined, null, 1, {}]) assert.throws(() => g.check(bad), TypeError);
      assert.throws(() => g.check(token, { policy: "lax" }), TypeError);
    });
  });
}

test("feed cut: the policy shows", async (t) => {
  let cut = "";
  const through = await proxy(origin.origin, (req, res) => cut !== "" && new RegExp(cut).test(req.url) && (res.destroy(), true));
  t.after(through.stop);
  const guards = {};
  for (const policy of ["best-effort", "strict", "paranoid"]) guards[policy] = await guard(t, { origin: through.url, policy, maxStale: 1500 });
  for (const g of Object.values(guards)) await fresh(g);
  const token = await origin.login();
  const words = async () => Object.fromEntries(await Promise.all(Object.entries(guards).map(async ([p, g]) => [p, word(await g.check(token))])));
  assert.deepEqual(await words(), { "best-effort": "ok", strict: "ok", paranoid: "ok" });
  cut = "/session/revocations";
  await until("all are stale", () => Object.values(guards).every((g) => !g.status().fresh));
  assert.deepEqual(await words(), { "best-effort": "ok", strict: "ok", paranoid: "stale: list too old" }, "strict asks");
  cut = "/session/";
  assert.deepEqual(await words(), { "best-effort": "ok", strict: "stale: list too old", paranoid: "stale: list too old" });
  assert.equal(word(await guards["best-effort"].state(token)), "stale: nobody answered");
  await origin.logout(token);
  assert.equal((await words())["best-effort"], "ok", "it was chosen");
  cut = "";
  for (const g of Object.values(guards)) await fresh(g);
  await until("all know", async () => Object.values(await words()).every((w) => w === "revoked: session revoked"));
});

test("without a credential the origin is asked with the token itself", async (t) => {
  const asked = [];
  const through = await proxy(origin.origin, (req) => (asked.push(req.url), false));
  t.after(through.stop);
  const g = await guard(t, { origin: through.url, credential: undefined, frameKeys: undefined });
  const token = await origin.login();
  await until("there are keys", () => g.status().keys === 1);
  assert.equal(word(await g.check(token)), "ok");
  assert.ok(asked.includes("/session/active"));
  await origin.logout(token);
  assert.equal(word(await g.check(token)), "revoked: session not alive");
});

test("where nothing runs between requests, a request reads what is due", async (t) => {
  const g = await createWorkerGuard({ module, ...origin.options, maxStale: 2000 });
  t.after(() => g.close());
  const token = await origin.login();
  assert.equal(word(await g.check(token)), "ok", "the first one asks");
  await until("a request finds the list fresh", async () => word(await g.check(token)) === "ok" && g.status().fresh);
  await origin.logout(token);
  await until("it is refused by the list", async () => word(await g.check(token)) === "revoked: session revoked", 5000);
});

test("requests that come while the first keys travel wait for them", async (t) => {
  let keys = 0, lost = 0;
  const through = await proxy(origin.origin, async (req, res) => {
    if (!req.url.startsWith("/.well-known/")) return false;
    await new Promise((done) => setTimeout(done, 150));
    return keys++ < lost && (res.destroy(), true);
  });
  t.after(through.stop);
  const token = await origin.login();
  const three = async (options) => {
    const g = await createWorkerGuard({ module, ...origin.options, origin: through.url, ...options });
    t.after(() => g.close());
    const works = [];
    const answers = await Promise.all([0, 1, 2].map(() => g.check(token, { waitUntil: (work) => works.push(work) })));
    assert.equal(works.length, 3, "each request keeps what it waits for");
    await Promise.all(works);
    return answers.map(word);
  };
  assert.deepEqual(await three(), ["ok", "ok", "ok"]);
  assert.equal(keys, 1, "they share a fetch");

  keys = 0, lost = 1;
  assert.deepEqual(await three(), ["stale: keys not read yet", "ok", "ok"], "whose fetch fails is refused, the others try for themselves");

  // A request that has ended takes along what it was fetching: it never comes, and nobody hears of it.
  let first = true;
  const cut = (url, init) => (first && String(url).includes("/.well-known/") ? (first = false, new Promise(() => {})) : fetch(url, init));
  const began = performance.now();
  assert.deepEqual((await three({ fetch: cut, askTimeout: 1000 })).slice(1), ["ok", "ok"]);
  assert.ok(performance.now() - began < 7000);
});

test("so do those that come as soon as a guard is made", async (t) => {
  let delay = 150;
  const through = await proxy(origin.origin, async (req) => {
    if (req.url.startsWith("/.well-known/")) await new Promise((done) => setTimeout(done, delay));
    return false;
  });
  t.after(through.stop);
  const token = await origin.login();
  const g = await guard(t, { origin: through.url });
  assert.deepEqual((await Promise.all([g.check(token), g.check(token), g.state(token)])).map(word), ["ok", "ok", "ok"]);
  const told = await guard(t, { origin: through.url, follow: "never" });
  assert.equal(word(await told.check(token)), "stale: keys not read yet", "nobody told it to read");
  told.refresh();
  assert.equal(word(await told.check(token)), "ok");

  delay = 2000;
  const slow = await guard(t, { origin: through.url, askTimeout: 100 });
  const began = performance.now();
  assert.equal(word(await slow.check(token)), "stale: keys not read yet");
  assert.ok(performance.now() - began < 1500, "not for ever");
});

test("no more than 1,024 checks wait for keys", async (t) => {
  let release, waiting = new Promise((done) => (release = done));
  const slow = (url, init) => (String(url).includes("/.well-known/") ? waiting.then(() => fetch(url, init)) : fetch(url, init));
  const token = await origin.login();
  const other = await startOrigin();
  t.after(() => other.stop());
  const strange = await other.login();
  const counted = async (answers) => {
    const n = {};
    for (const r of await Promise.all(answers)) n[word(r)] = (n[word(r)] ?? 0) + 1;
    return n;
  };
  const busy = "stale: too many checks under way";
  for (const [name, make] of Object.entries({ poll: createGuard, request: createWorkerGuard })) {
    waiting = new Promise((done) => (release = done));
    let offset = 0;
    const g = await make({ module: compiled.get("own"), ...origin.options, fetch: slow, askTimeout: 4000, policy: "best-effort", clock: { wall: () => Date.now(), steady: () => performance.now() + 1 + offset } });
    t.after(() => g.close());
    const first = Array.from({ length: 1024 }, () => g.check(token));
    const more = [g.check(token), g.check(strange), g.state(token)];
    assert.deepEqual(await counted(more), { [busy]: 3 }, `${name}: those who are too many need not wait`);
    release();
    assert.deepEqual(await counted(first), { ok: 1024 }, name);
    assert.equal(word(await g.check(token)), "ok", "there is room again");

    // Keys that are new are waited for, too.
    offset = 11_000;
    assert.equal(word(await g.check(token)), "ok", "and what was due is read");
    waiting = new Promise((done) => (release = done));
    const late = Array.from({ length: 1024 }, () => g.check(strange));
    await until(`${name}: all of them wait`, async () => word(await Promise.race([g.check(strange), new Promise((done) => setTimeout(done, 50, { ok: true }))])) === busy);
    assert.equal(word(await g.check(token)), "ok", "a key that is known is not waited for");
    release();
    assert.deepEqual(await counted(late), { "invalid: unknown key": 1024 }, name);
  }
});

// As in a worker that has answered a request before the guard did: neither its timers nor what it waited for come.
for (const [name, { most, loses, ask, full }] of Object.entries({
  "checks that wait for keys": { most: 1024, loses: "/.well-known/", ask: (g, token) => g.check(token), full: "stale: too many checks under way" },
  signatures: { most: 192, loses: "verify", ask: (g, token) => g.check(token), full: "stale: too many checks under way" },
  questions: { most: 128, loses: "/session/introspect", ask: (g, token) => g.state(token), full: "stale: nobody answered" },
})) {
  test(`${name} that are lost with their requests are not counted for ever`, async (t) => {
    const token = await origin.login();
    const never = new Promise(() => {});
    let lost = false, gone = 0;
    const lose = () => (gone++, never);
    const g = await createWorkerGuard({ module, ...origin.options, policy: "best-effort", entries: 0, askTimeout: 777, fetch: (url, init) => (lost && String(url).includes(loses) ? lose() : fetch(url, init)) });
    t.after(() => g.close());
    const { verify } = crypto.subtle;
    crypto.subtle.verify = (...args) => (lost && loses === "verify" ? lose() : verify.apply(crypto.subtle, args));
    t.after(() => (crypto.subtle.verify = verify));
    if (loses !== "/.well-known/") assert.equal(word(await ask(g, token)), "ok");
    lost = true;
    const { setTimeout: real } = globalThis;
    const timers = t.mock.method(globalThis, "setTimeout", (f, ms, ...rest) => ([777, 1554, 5000].includes(ms) ? undefined : real(f, ms, ...rest))); // the guard's; fetch has others
    for (let i = 0; i < most; i++) ask(g, token);
    // All are where they will stay: those who wait for keys at once, since one fetch is for all of them.
    for (let i = 0; i < 1000 && gone < (loses === "/.well-known/" ? 1 : most); i++) await new Promise((done) => real(done, 5));
    timers.mock.restore();
    lost = false;
    assert.equal(word(await ask(g, token)), full);
    const { now } = performance;
    performance.now = () => now.call(performance) + 31_000;
    t.after(() => (performance.now = now));
    await until("there is room again", async () => word(await ask(g, token)) === "ok");
  });
}

test("a feed that is not the issuer's, or not the answer, is refused", async (t) => {
  const other = await startOrigin();
  t.after(() => other.stop());
  let replay, how = "keep";
  const type = "application/vnd.counterfoil.revocations";
  const through = await proxy(origin.origin, async (req, res) => {
    if (!req.url.startsWith("/session/revocations")) return false;
    const send = (bytes, media = type) => (res.writeHead(200, { "content-type": media }), res.end(bytes), true);
    if (how === "html") return send("<html>", "text/html");
    if (how === "replay") return send(replay);
    if (how === "redirect") return res.writeHead(302, { location: origin.origin + req.url }), res.end(), true;
    if (how === "endless") {
      res.writeHead(200, { "content-type": type });
      const flood = () => { while (!res.destroyed && res.write(Buffer.alloc(65536))); };
      res.on("drain", flood);
      flood();
      return true;
    }
    const from = how === "other" ? other : origin;
    const query = how === "other" ? req.url.replace(/after=[^&]*&?/, "") : req.url;
    const r = await fetch(from.origin + query, { headers: { authorization: "Basic " + btoa(`${from.credential.name}:${from.credential.secret}`) } });
    if (r.status !== 200) return res.writeHead(r.status), res.end(), true;
    const bytes = Buffer.from(await r.arrayBuffer());
    replay ??= Buffer.from(bytes);
    if (how === "body") bytes[bytes.length - 1] ^= 1;
    if (how === "head") bytes[90] ^= 1;
    if (how === "cut") return send(bytes.subarray(0, bytes.length - 3));
    return send(bytes);
  });
  t.after(through.stop);
  const g = await guard(t, { origin: through.url, maxStale: 2000, maxFrame: 100_000 });
  await fresh(g);
  for (const [kind, want] of [
    ["replay", /answer to another question/], ["other", /unknown key/], ["body", /body of another head|signature/], ["head", /signature/],
    ["cut", /truncated/], ["html", /another type/], ["redirect", /elsewhere/], ["endless", /too long/],
  ]) {
    how = kind;
    await until(`${kind} is refused: ${want}`, () => want.test(g.status().failures.feed));
    await until(`${kind} leaves the list stale`, () => !g.status().fresh);
    how = "keep";
    await fresh(g);
  }
  const wrong = await guard(t, { issuer: "https://else.example" });
  await until("a feed of another issuer is refused", () => /other issuer/.test(wrong.status().failures.feed));
});

test("keys that do not come are waited for, and bad ones leave the good ones in place", async (t) => {
  let how = "fail";
  const through = await proxy(origin.origin, (req, res) => {
    if (!req.url.startsWith("/.well-known/") || how === "pass") return false;
    if (how === "html") return res.writeHead(200, { "content-type": "text/html" }), res.end("<html>"), true;
    if (how === "none") return res.writeHead(200, { "content-type": "application/json" }), res.end("{"), true;
    return res.destroy(), true;
  });
  t.after(through.stop);
  const g = await guard(t, { origin: through.url });
  const token = await origin.login();
  assert.equal(word(await g.check(token)), "stale: keys not read yet");
  how = "pass";
  await fresh(g);
  assert.equal(word(await g.check(token)), "ok");
  for (how of ["html", "none", "fail"]) {
    await g.refresh();
    assert.notEqual(g.status().failures.keys, "", how);
    assert.equal(word(await g.check(token)), "ok", how);
  }
});

test("keys that do not come keep no news waiting", async (t) => {
  let how = "pass", hanging = 0;
  const g = await guard(t, {
    policy: "best-effort",
    fetch: (url, init) => {
      if (how === "pass" || !String(url).includes("/.well-known/")) return fetch(url, init);
      return how === "fail" ? Promise.reject(new Error("nobody there")) : (hanging++, new Promise(() => {}));
    },
  });
  await fresh(g);
  const token = await origin.login();
  assert.equal(word(await g.check(token)), "ok");
  how = "fail";
  await g.refresh();
  how = "hang";
  await until("it tries again", () => hanging > 0);
  await origin.logout(token);
  await until("the logout is heard of", async () => !(await g.check(token)).ok, 4000);
  assert.equal(hanging, 1, "one at a time");
});

test("a clock that throws for a while does not end the following", async (t) => {
  let broken = false;
  const time = (now) => () => {
    if (broken) throw new Error("no time");
    return now();
  };
  const g = await guard(t, { clock: { wall: time(() => Date.now()), steady: time(() => performance.now() + 1) } });
  await fresh(g);
  broken = true;
  await until("it notices", () => g.status().failures.feed === "no time");
  await g.refresh();
  assert.equal(g.status().failures.keys, "no time");
  await new Promise((done) => setTimeout(done, 1500));
  broken = false;
  await fresh(g);
  const token = await origin.login();
  assert.equal(word(await g.check(token)), "ok");
  await origin.logout(token);
  await until("it hears of the logout", async () => word(await g.check(token)) === "revoked: session revoked");
});

test("a clock that throws once, wherever that is, leaves nothing to wait for", { timeout: 20_000 }, async (t) => {
  let left = 0;
  const steady = () => {
    if (--left === 0) throw new Error("no time");
    return performance.now() + 1;
  };
  const g = await guard(t, { follow: "never", clock: { wall: () => Date.now(), steady } });
  for (let call = 1; call <= 12; call++) {
    left = call;
    await g.refresh();
    left = 0;
    await g.refresh();
    assert.deepEqual([g.status().failures.keys, g.status().failures.feed], ["", ""], `call ${call}`);
  }
});

test("a host whose clock is wrong", async (t) => {
  const at = (hours) => ({ wall: () => Date.now() + hours * 3_600_000, steady: () => performance.now() + 1 });
  const token = await origin.login();
  const behind = await guard(t, { clock: at(-5) });
  await fresh(behind);
  assert.equal(word(await behind.check(token)), "ok", "what the feed signed is a floor");
  assert.ok(Math.abs(behind.status().now - Date.now()) < 5000);
  const ahead = await guard(t, { clock: at(5) });
  await until("it has read keys and feed", () => ahead.status().epoch !== "" && ahead.status().keys > 0);
  assert.equal(word(await ahead.check(token)), "expired: expired");
  assert.equal(ahead.status().fresh, false);
});

test("questions are bounded", async (t) => {
  let asked = 0;
  const through = await proxy(origin.origin, (req) => /introspect/.test(req.url) && (asked++, true)); // and never answered
  t.after(through.stop);
  const g = await guard(t, { origin: through.url, follow: "never", askTimeout: 50 });
  await until("it is told to read, and does", async () => (await g.refresh(), g.status().failures.feed === "")); // an origin that has just started has no log yet
  const token = await origin.login();
  for (let i = 0; i < 20; i++) assert.equal(word(await g.check(token)), "stale: nothing newer than the start of following");
  assert.ok(asked >= 5 && asked < 15, `a breaker spares the origin: ${asked}`);
});

test("a guard that does not follow reads when it is told to, and one read at a time", async (t) => {
  let reads = 0, now = 0, most = 0;
  const counted = async (url, init) => {
    if (!String(url).includes("/session/revocations")) return fetch(url, init);
    reads++;
    most = Math.max(most, ++now);
    return fetch(url, init).then((r) => new Promise((done) => setTimeout(done, 30, r))).finally(() => now--);
  };
  const g = await guard(t, { follow: "never", fetch: counted, policy: "paranoid" });
  const token = await origin.login();
  await new Promise((done) => setTimeout(done, 100));
  await g.check(token);
  assert.equal(reads, 0, "nobody told it to");
  await g.refresh();
  assert.equal(reads, 1);
  await fresh(g);
  assert.equal(word(await g.check(token)), "ok");
  await origin.logout(token);
  const before = reads;
  await Promise.all([g.refresh(), g.refresh(), g.refresh()]);
  assert.deepEqual([reads - before, most, g.status().failures.feed], [3, 1, ""]);
  assert.equal(word(await g.check(token)), "revoked: session revoked");
  const followed = await guard(t, { fetch: counted });
  reads = most = 0;
  await Promise.all([followed.refresh(), followed.refresh(), fresh(followed)]);
  assert.deepEqual([most, followed.status().failures.feed], [1, ""]);
});

test("whoever waits for a guard to be ready gets an answer, in a program that does nothing else", async (t) => {
  const nobody = await serve(() => {});
  await nobody.stop();
  for (const follow of ["poll", "request", "never"]) {
    const options = JSON.stringify({ ...origin.options, origin: nobody.url, follow });
    const program = `
      import { readFileSync } from "node:fs";
      import { createGuard } from "./index.js";
      const guard = await createGuard({ module: readFileSync("host.wasm"), ...${options} });
      console.log("ready", await guard.ready(700));
      guard.close();`;
    const child = spawnSync(process.execPath, ["--input-type=module", "-e", program], { cwd: fileURLToPath(new URL("..", import.meta.url)), encoding: "utf8", timeout: 30_000 });
    assert.deepEqual([child.status, child.stdout], [0, "ready false\n"], `${follow}: ${child.stderr}`);
  }
  const g = await guard(t, { origin: nobody.url });
  assert.equal(await g.ready(NaN), false, "what is no time is over");
  const asking = await guard(t, { credential: undefined, frameKeys: undefined });
  assert.equal(await asking.ready(5_000), true, "without a credential there is no list to wait for");
});

test("programming errors throw", async () => {
  const good = { module, ...origin.options };
  for (const [name, bad] of Object.entries({
    nothing: undefined, empty: {}, "no module": { ...good, module: undefined }, "bytes that are no module": { ...good, module: new Uint8Array(8) },
    "relative origin": { ...good, origin: "app.example" }, "origin without TLS": { ...good, origin: "http://app.example" }, "no issuer": { ...good, issuer: "" },
    "a line in the issuer": { ...good, issuer: "a\nseed b" }, policy: { ...good, policy: "lax" }, maxStale: { ...good, maxStale: -1 }, "a list that is never fresh": { ...good, maxStale: 999 },
    "a clock without steady": { ...good, clock: { wall: () => 1 } }, "a clock of numbers": { ...good, clock: { wall: 1, steady: 1 } }, "no clock": { ...good, clock: null },
    "a clock of dates": { ...good, clock: { wall: () => new Date(), steady: () => 1 } }, leeway: { ...good, leeway: 90_000 },
    frameKeys: { ...good, frameKeys: "frame-ed25519:AAAA" }, "unknown option": { ...good, colour: "red" }, secret: { ...good, credential: { name: "edge", secret: "short" } },
    "keys that are none": { ...good, keys: "" }, "a weak key": { ...good, keys: { keys: [{ kty: "oct", alg: "HS256", kid: "k", k: "AAAA" }] } },
    "a path in the origin": { ...good, origin: origin.origin + "/app" }, "a module that is not there": { ...good, module: new URL("none.wasm", import.meta.url) },
    "a module by a path": { ...good, module: "./host.wasm" }, "a module of another server": { ...good, module: origin.origin + "/host.wasm" },
    path: { ...good, paths: { feed: "//elsewhere.example/" } }, "credential without frame keys": { ...good, frameKeys: undefined },
    "another module": { ...good, module: await WebAssembly.compile(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)) },
  })) await assert.rejects(createGuard(bad), { name: "TypeError", message: /^counterfoil-edge: / }, name);
});

test("an option that is undefined, or 0 where that means nothing, is the default", async (t) => {
  const options = Object.fromEntries(["policy", "maxStale", "leeway", "maxLife", "entries", "list", "maxFrame", "askTimeout", "follow", "fetch", "clock", "keys", "paths"].map((name) => [name, undefined]));
  const urls = [];
  const seen = (url, init) => (urls.push(String(url)), fetch(url, init));
  for (const more of [options, { ...options, maxStale: 0, leeway: 0, maxLife: 0, list: 0, maxFrame: 0, askTimeout: 0, paths: { keys: undefined }, fetch: seen }]) {
    const g = await guard(t, more);
    await fresh(g);
    assert.equal(word(await g.check(await origin.login(), { policy: undefined })), "ok");
    assert.equal(word(await g.state(await origin.login())), "ok", "the origin has time to answer");
  }
  await until("it waits for news as with the default", () => urls.some((url) => /wait=3\.333/.test(url)));
  const worker = await createWorkerGuard({ module, ...origin.options, ...options });
  t.after(() => worker.close());
  await new Promise((done) => setTimeout(done, 200));
  assert.equal(worker.status().keys, 0, "a worker's guard does not poll");
});

test("the feed is not asked in a hot loop, whatever is wrong with it", async (t) => {
  t.mock.method(Math, "random", () => 0); // the shortest pauses
  let asked = 0;
  const g = await guard(t, { maxStale: 1000, fetch: async (url, init) => (String(url).includes("/session/revocations") ? (asked++, Promise.reject(new Error("nobody there"))) : fetch(url, init)) });
  await new Promise((done) => setTimeout(done, 1000));
  assert.ok(asked >= 5 && asked <= 51, `${asked} questions in a second`);
  g.close();
});

test("a closed guard refuses everything", async (t) => {
  const g = await guard(t);
  await fresh(g);
  const token = await origin.login();
  g.close();
  for (const r of [await g.check(token), await g.check("a.bb.cc"), await g.state(token)]) {
    assert.equal(word(r), "stale: the guard is closed");
    assert.throws(() => { r.ok = true; }, TypeError, "refusals are shared, so nobody may write them");
  }
  assert.deepEqual([g.status().fresh, g.status().reason], [false, "the guard is closed"]);
});

test("a key that is new is looked for, not too often", async (t) => {
  const other = await startOrigin(); // its keys are those that come later
  t.after(() => other.stop());
  let keys = 0, offset = 0, rotated = false;
  const through = await proxy(origin.origin, async (req, res) => {
    if (!req.url.startsWith("/.well-known/")) return false;
    keys++;
    if (!rotated) return false;
    const sets = await Promise.all([origin, other].map(async (o) => (await (await fetch(o.origin + req.url)).json()).keys));
    res.writeHead(200, { "content-type": "application/json" });
    res.end(JSON.stringify({ keys: sets.flat() }));
    return true;
  });
  t.after(through.stop);
  const g = await guard(t, { origin: through.url, policy: "best-effort", clock: { wall: () => Date.now(), steady: () => performance.now() + 1 + offset } });
  await fresh(g);
  const late = await other.login("late");
  assert.equal(word(await g.check(late)), "invalid: unknown key");
  assert.equal(word(await g.check(late)), "invalid: unknown key");
  assert.equal(keys, 1, "whoever shows tokens of strange keys does not make the edge fetch");
  rotated = true;
  offset = 11_000;
  assert.deepEqual((await Promise.all([g.check(late), g.check(late), g.check(late)])).map(word), ["ok", "ok", "ok"]);
  assert.equal(keys, 2);
});
