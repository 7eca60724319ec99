// Signatures, verified by WebCrypto for a module that holds no signature code.

const ED25519 = { name: "Ed25519" };
const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const HMAC = { name: "HMAC", hash: "SHA-256" };

const ALGORITHMS = [
  { verify: ED25519, import: (key) => crypto.subtle.importKey("raw", key, ED25519, false, ["verify"]) },
  {
    verify: P256,
    import(xy) {
      const point = new Uint8Array(65);
      point[0] = 4;
      point.set(xy, 1);
      return crypto.subtle.importKey("raw", point, P256, false, ["verify"]);
    },
  },
  { verify: HMAC, import: (secret) => crypto.subtle.importKey("raw", secret, HMAC, false, ["verify"]) },
];

/**
 * Verifies what the module described of a token. It rejects for a key that WebCrypto does not take.
 * @param {Uint8Array} b five numbers, then key material, signature and what was signed
 * @param {Map<number, CryptoKey>} keys those that were imported before, by the module's number
 */
export function verifySignature(b, keys) {
  const number = uint32(b, 4);
  const a = ALGORITHMS[uint32(b, 0) - 1];
  const signatureAt = 20 + uint32(b, 8), signedAt = signatureAt + uint32(b, 12);
  const signature = new Uint8Array(b.buffer, b.byteOffset + signatureAt, signedAt - signatureAt), signed = new Uint8Array(b.buffer, b.byteOffset + signedAt, uint32(b, 16));
  const key = keys.get(number);
  if (key !== undefined) return crypto.subtle.verify(a.verify, key, signature, signed);
  return a.import(b.subarray(20, signatureAt)).then((key) => {
    if (keys.size >= 64) keys.clear();
    keys.set(number, key);
    return crypto.subtle.verify(a.verify, key, signature, signed);
  });
}

const uint32 = (b, at) => (b[at] | b[at + 1] << 8 | b[at + 2] << 16 | b[at + 3] << 24) >>> 0;

/**
 * Verifies a frame of the feed, and makes the digest of its body.
 * @param {Uint8Array} described the length of what was signed, and the public key
 * @returns {Promise<[boolean, Uint8Array]>}
 */
export function verifyFrame(described, frame) {
  const n = new DataView(described.buffer, described.byteOffset).getUint32(0, true);
  const [{ import: load, verify }] = ALGORITHMS;
  return Promise.all([
    load(described.subarray(4)).then((key) => crypto.subtle.verify(verify, key, frame.subarray(n, n + 64), frame.subarray(0, n))).catch(() => false),
    crypto.subtle.digest("SHA-256", frame.subarray(n + 64)).then((digest) => new Uint8Array(digest)),
  ]);
}
