//go:build counterfoil_seam && !hostcrypto

package token

import "encoding/base64"

// The seam for corpora whose payloads are no claim sets (internal/e2e): the production code for splitting, looking the header up and checking the signature, without the
// claims layer. It exists under the build tag counterfoil_seam only and is no part of the API.

// SeamOpen opens a token as a verifier does whose key set holds k, with another header segment than the issuer of this module would write.
func SeamOpen(k Key, header, raw string) (payload []byte, err error) {
	other := *k.key()
	other.header = header
	set := &keySetState{keys: []*key{&other}}
	v := &Verifier{keys: new(KeySet)}
	p, found, err := v.open(raw, set)
	if err != nil {
		return nil, err
	}
	if !found.verify(p.signed(), p.signature()) {
		return nil, errSignature
	}
	payload = make([]byte, decodedLen(len(p.payload())))
	decode(payload, p.payload())
	return payload, nil
}

// SeamVerify checks a bare signature.
func SeamVerify(k Key, message, signature []byte) bool {
	return k.key().verify(string(message), base64.RawURLEncoding.EncodeToString(signature))
}

// SeamHS256Key makes a key of a secret of any length.
func SeamHS256Key(secret []byte) Key {
	k := &key{alg: algHS256, secret: secret}
	k.ready.prepareSecret(secret)
	return newKey(k, "")
}
