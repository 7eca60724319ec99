// Checks of tokens by counterfoil-edge and by its peers, in whatever runtime loads this. Each of a group is handed the same tokens, each time as new strings ([arrive]); a run checks some
// and fails if one is refused.
import { createGuard } from "../../edge/npm/index.js";
import { Module } from "../../edge/npm/module.js";

/** @param {{modules: {host: WebAssembly.Module, own: WebAssembly.Module}, data: object, jose?: object, fastJwt?: object, pem?: (jwk: object) => string}} with_ */
export async function contenders({ modules, data, jose, fastJwt, pem }) {
  const { issuer, audience, tokens } = data;
  const list = [];
  const guard = (module, alg, entries) =>
    createGuard({
      module, issuer, audience, keys: { keys: data.jwks.keys.filter((k) => k.alg === alg) }, entries, origin: "https://nobody.test", follow: "never",
      policy: "best-effort", list: 64,
    });
  const encoder = new TextEncoder();
  const add = (group, name, raws, run) => list.push({ group, name, headers: raws.map((raw) => encoder.encode(`Bearer ${raw}`)), next: 0, run });
  // Each is used as its documentation says: what answers at once is not waited for.
  const ours = (group, name, raws, g) =>
    add(group, name, raws, async (arrived) => {
      for (const raw of arrived) {
        const r = await g.check(raw);
        if (!r.ok) throw new Error(`${name}: ${r.error}: ${r.reason}`);
      }
    });
  const fast = (group, name, raws, alg, cache) => {
    const verify = fastJwt.createVerifier({
      key: pem(data.jwks.keys.find((k) => k.alg === alg)), algorithms: [alg], allowedIss: issuer, allowedAud: audience, cache,
    });
    add(group, name, raws, (arrived) => {
      for (const raw of arrived) verify(raw);
    });
  };
  for (const alg of ["EdDSA", "ES256"]) {
    const group = `${alg}, cold`, raws = tokens[alg];
    ours(group, "counterfoil, host crypto", raws, await guard(modules.host, alg, 0));
    if (alg === "EdDSA") ours(group, "counterfoil, self-contained", raws, await guard(modules.own, alg, 0));
    if (jose !== undefined) {
      const keys = jose.createLocalJWKSet({ keys: data.jwks.keys });
      const options = { issuer, audience, algorithms: [alg], typ: "session+jwt" };
      add(group, "jose", raws, async (arrived) => {
        for (const raw of arrived) await jose.jwtVerify(raw, keys, options);
      });
    }
    if (fastJwt !== undefined) fast(group, "fast-jwt", raws, alg, false);
  }
  // A set of the table has four places: ten times as many places as tokens, and hardly a set overflows. A place that is free costs some 80 bytes.
  const host = await guard(modules.host, "EdDSA", 131072), own = await guard(modules.own, "EdDSA", 131072);
  for (const [group, raws] of [["EdDSA, warm, 10,000 in turn", tokens.warm], ["EdDSA, warm, one of 10,000", tokens.warm.slice(0, 1)]]) {
    ours(group, "counterfoil, host crypto", raws, host);
    ours(group, "counterfoil, self-contained", raws, own);
    if (fastJwt !== undefined) fast(group, "fast-jwt, cache", raws, "EdDSA", 20_000);
  }
  return list;
}

const decoder = new TextDecoder();

/**
 * Makes the next n tokens of a contender as they arrive: each is a part of a header that was just read, and no string that anybody has seen, hashed or laid out before. That is not
 * measured.
 */
export function arrive(c, n) {
  const arrived = new Array(n);
  for (let i = 0; i < n; i++) {
    arrived[i] = decoder.decode(c.headers[c.next]).slice("Bearer ".length);
    c.next = (c.next + 1) % c.headers.length;
  }
  return arrived;
}

/** Fills the tables: every token of the warm group once. */
export async function warmUp(list) {
  for (const c of list) await c.run(arrive(c, c.group.includes("warm") ? 10_000 : 50));
}

/**
 * Lets all of a group take turns of some ms, in a new order each time. Cold checks, of which the ratio is a matter of a few percent, take three times as many.
 * @returns {Promise<object[]>} the µs of each turn, by contender
 */
export async function measure(list, rounds, turn = 4) {
  const out = [];
  for (const group of new Set(list.map((c) => c.group))) {
    const members = list.filter((c) => c.group === group).map((c) => ({ c, n: 1, us: [] }));
    const take = async (m) => {
      const arrived = arrive(m.c, m.n);
      const began = performance.now();
      await m.c.run(arrived);
      return performance.now() - began;
    };
    for (const m of members) while (await take(m) < turn) m.n *= 2;
    for (let r = 0; r < (group.includes("cold") ? 3 * rounds : rounds); r++) {
      for (const m of shuffled(members)) m.us.push(((await take(m)) * 1000) / m.n);
    }
    for (const { c, us } of members) out.push({ group, name: c.name, us });
  }
  return out;
}

function shuffled(list) {
  const a = [...list];
  for (let i = a.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [a[i], a[j]] = [a[j], a[i]];
  }
  return a;
}

/** How long it takes to compile and to instantiate, ms each time. What was compiled before is not found again: the bytes differ in a section without meaning. */
export async function start(bytes) {
  const compile = [], instantiate = [];
  for (let i = 0; i < 5; i++) {
    const other = new Uint8Array(bytes.length + 6);
    other.set(bytes);
    other.set([0, 4, 1, 0x78, i, Math.floor(Math.random() * 256)], bytes.length);
    let began = performance.now();
    const module = await WebAssembly.compile(other);
    compile.push(performance.now() - began);
    began = performance.now();
    await Module.start(module);
    instantiate.push(performance.now() - began);
  }
  return { compile, instantiate };
}
