// Signatures, verified by the host for a module that holds no signature code.
//
// WebCrypto does it everywhere. Node, Deno and Bun have node:crypto too, which answers at once, where their WebCrypto takes each signature to another thread and back: that takes
// as long as the signature itself and half of the processor time. Only for ES256 in Deno it is the slower one. In the thread that asks, a signature takes 0.05 to 0.12 ms.
const ED25519 = { name: "Ed25519" };
const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const HMAC = { name: "HMAC", hash: "SHA-256" };

const { process, navigator, Deno } = globalThis;
const node = navigator?.userAgent === "Cloudflare-Workers" ? undefined : process?.getBuiltinModule?.("node:crypto");

export const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
const nodeKey = (jwk) => node.createPublicKey({ key: jwk, format: "jwk" });

const ALGORITHMS = [
  {
    import: (key) => crypto.subtle.importKey("raw", key, ED25519, false, ["verify"]),
    verify: ED25519,
    importAtOnce: node && ((key) => nodeKey({ kty: "OKP", crv: "Ed25519", x: base64url(key) })),
    verifyAtOnce: (key, signature, signed) => node.verify(null, signed, key, signature),
  },
  {
    import(xy) {
      const point = new Uint8Array(65);
      point[0] = 4;
      point.set(xy, 1);
      return crypto.subtle.importKey("raw", point, P256, false, ["verify"]);
    },
    verify: P256,
    importAtOnce: node && !Deno && ((xy) => ({
      key: nodeKey({ kty: "EC", crv: "P-256", x: base64url(xy.subarray(0, 32)), y: base64url(xy.subarray(32)) }), dsaEncoding: "ieee-p1363",
    })),
    verifyAtOnce: (key, signature, signed) => node.verify("sha256", signed, key, signature),
  },
  { import: (secret) => crypto.subtle.importKey("raw", secret, HMAC, false, ["verify"]), verify: HMAC },
];

/**
 * Verifies what the module described of a token. It throws or rejects for a key that the host does not take.
 * @param {Uint8Array} b five numbers, then key material, signature and what was signed; it may be a view of what is overwritten as soon as this returns
 * @param {Map<number, object>} keys those that were imported before, by the module's number
 * @returns {boolean | Promise<boolean>}
 */
export function verifySignature(b, keys) {
  const number = uint32(b, 4);
  const a = ALGORITHMS[uint32(b, 0) - 1];
  const signatureAt = 20 + uint32(b, 8), signedAt = signatureAt + uint32(b, 12);
  const material = b.subarray(20, signatureAt), signature = b.subarray(signatureAt, signedAt), signed = b.subarray(signedAt, signedAt + uint32(b, 16));
  const keep = (key) => {
    if (keys.size >= 64) keys.clear();
    keys.set(number, key);
    return key;
  };
  const key = keys.get(number);
  if (a.importAtOnce) return a.verifyAtOnce(key ?? keep(a.importAtOnce(material)), signature, signed);
  if (key !== undefined) return crypto.subtle.verify(a.verify, key, signature, signed);
  const copy = [signature.slice(), signed.slice()];
  return a.import(material).then((key) => crypto.subtle.verify(a.verify, keep(key), ...copy));
}

const uint32 = (b, at) => (b[at] | b[at + 1] << 8 | b[at + 2] << 16 | b[at + 3] << 24) >>> 0;

/**
 * Verifies a frame of the feed, and makes the digest of its body. It rejects where the host does not know the algorithm.
 * @param {Uint8Array} described the length of what was signed, and the public key
 * @returns {Promise<[boolean, Uint8Array]>}
 */
export function verifyFrame(described, frame) {
  const n = new DataView(described.buffer, described.byteOffset).getUint32(0, true);
  const [{ import: load, verify }] = ALGORITHMS;
  return Promise.all([
    load(described.subarray(4)).then((key) => crypto.subtle.verify(verify, key, frame.subarray(n, n + 64), frame.subarray(0, n))),
    crypto.subtle.digest("SHA-256", frame.subarray(n + 64)).then((digest) => new Uint8Array(digest)),
  ]);
}
