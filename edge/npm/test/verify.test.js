import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import process from "node:process";
import { describe, test } from "node:test";

const atOnce = process.getBuiltinModule === undefined ? undefined : await import("../verify.js?node");
const { getBuiltinModule } = process;
process.getBuiltinModule = undefined;
const webcrypto = await import("../verify.js?webcrypto");
process.getBuiltinModule = getBuiltinModule;

const ways = { webcrypto, ...(atOnce && { "node:crypto": atOnce }) };

/** What a module describes of a token. */
function described(algorithm, number, material, signature, signed) {
  const b = Buffer.alloc(20);
  [algorithm, number, material.length, signature.length, signed.length].forEach((n, i) => b.writeUInt32LE(n, 4 * i));
  return new Uint8Array(Buffer.concat([b, material, signature, Buffer.from(signed)]));
}

const ALGORITHMS = { EdDSA: 1, ES256: 2, HS256: 3 };
const materialOf = (jwk) => Buffer.concat([jwk.x, jwk.y, jwk.k].filter((s) => s !== undefined).map((s) => Buffer.from(s, "base64url")));

/** The tokens of a file of vectors whose form is good enough for the host to be asked, with what there is to be said of the signature. */
function* vectors(file) {
  const keys = {};
  for (const line of readFileSync(new URL(`../../../token/testdata/vectors/${file}`, import.meta.url), "utf8").split("\n")) {
    const [kind, set, raw, , want] = line.split("\t");
    if (kind === "@keys") keys[set] = JSON.parse(raw).keys;
    if (kind !== "token" || !["accepted", "bad signature"].includes(want)) continue;
    const [header, payload, signature] = raw.split(".");
    const { kid } = JSON.parse(Buffer.from(header, "base64url"));
    const jwk = keys[set].find((k) => k.kid === kid), bytes = Buffer.from(signature, "base64url");
    if (bytes.length === (jwk.kty === "oct" ? 32 : 64)) yield { key: `${set} ${kid}`, jwk, bytes, signed: `${header}.${payload}`, want };
  }
}

for (const [name, { verifySignature }] of Object.entries(ways)) {
  describe(name, () => {
    test("signatures of the vectors", async () => {
      const seen = {};
      for (const file of ["tokens.txt", "es256.txt"]) {
        const keys = new Map(), numbers = new Map();
        for (const { key, jwk, bytes, signed, want } of vectors(file)) {
          if (!numbers.has(key)) numbers.set(key, numbers.size + 1);
          const b = described(ALGORITHMS[jwk.alg], numbers.get(key), materialOf(jwk), bytes, signed);
          const ok = await verifySignature(b, keys);
          assert.equal(ok, want === "accepted", `${jwk.alg} ${want}: ${signed.slice(0, 40)}`);
          seen[`${jwk.alg} ${want}`] = true;
        }
      }
      for (const kind of ["EdDSA accepted", "EdDSA bad signature", "ES256 accepted", "ES256 bad signature", "HS256 accepted", "HS256 bad signature"]) assert.ok(seen[kind], `no vector: ${kind}`);
    });

    // What is described lies in the module's memory, which the next check overwrites, before the host may have begun.
    test("what is overwritten at once was taken before", async () => {
      for (const [alg, pair] of [["EdDSA", generateKeyPairSync("ed25519")], ["ES256", generateKeyPairSync("ec", { namedCurve: "P-256" })]]) {
        const material = materialOf(pair.publicKey.export({ format: "jwk" })), keys = new Map();
        const signed = "some.token".repeat(30);
        const signature = alg === "EdDSA" ? sign(null, Buffer.from(signed), pair.privateKey) : sign("sha256", Buffer.from(signed), { key: pair.privateKey, dsaEncoding: "ieee-p1363" });
        for (let i = 0; i < 50; i++) {
          const good = described(ALGORITHMS[alg], 1, material, signature, signed), bad = described(ALGORITHMS[alg], 1, material, signature, signed.replace("token", "taken"));
          const memory = new Uint8Array(good.length);
          memory.set(good);
          const first = verifySignature(memory, keys);
          memory.set(bad);
          const second = verifySignature(memory, keys);
          memory.fill(0);
          assert.deepEqual(await Promise.all([first, second]), [true, false], `${alg} ${i}`);
        }
      }
    });

    test("a key that is none is refused", async () => {
      const attempt = async (...args) => verifySignature(described(...args), new Map());
      await assert.rejects(attempt(2, 1, Buffer.alloc(64, 1), Buffer.alloc(64), "x"));
      await assert.rejects(attempt(1, 1, Buffer.alloc(31, 1), Buffer.alloc(64), "x"));
      await assert.rejects(attempt(9, 1, Buffer.alloc(32, 1), Buffer.alloc(64), "x"));
    });

    test("keys are kept by their number, and not more than 64", async () => {
      const pair = generateKeyPairSync("ed25519"), material = materialOf(pair.publicKey.export({ format: "jwk" })), keys = new Map();
      const signature = sign(null, Buffer.from("x"), pair.privateKey);
      for (let n = 1; n <= 200; n++) {
        assert.equal(await verifySignature(described(1, n, material, signature, "x"), keys), true);
        assert.ok(keys.has(n) && keys.size <= 64);
      }
    });
  });
}

test("node:crypto answers at once, so that no check waits", { skip: atOnce === undefined }, () => {
  const pair = generateKeyPairSync("ed25519");
  const b = described(1, 1, materialOf(pair.publicKey.export({ format: "jwk" })), sign(null, Buffer.from("x"), pair.privateKey), "x");
  assert.equal(atOnce.verifySignature(b, new Map()), true);
});
