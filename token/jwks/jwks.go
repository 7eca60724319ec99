// Package jwks carries key sets over HTTP: [Handler] publishes the public keys of an issuer, and a [Client] keeps a token.KeySet up to date with
// such a document.
//
// # Compatibility
//
// The exported names follow semantic versioning with the module.
package jwks

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/token"
)

const maxAge = 300 // seconds for which caches may keep the document; rotation publishes keys far longer before they sign

// Handler serves the JWK set of the keys that the function returns, such as issuer.Ring.Public. It answers GET and HEAD, with Cache-Control and an ETag. It never
// serves a private or symmetric key: with one among them it answers 500 and no part of the set.
func Handler(keys func() []token.Key) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		doc, err := token.AppendJWKS(nil, keys()...)
		if err != nil {
			h.Set("Cache-Control", "no-store")
			http.Error(w, "no public key set", http.StatusInternalServerError)
			return
		}
		sum := sha256.Sum256(doc)
		etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
		h.Set("Cache-Control", "public, max-age="+strconv.Itoa(maxAge))
		h.Set("Content-Type", "application/jwk-set+json")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("ETag", etag)
		if matches(r.Header.Values("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Length", strconv.Itoa(len(doc)))
		if r.Method == http.MethodGet {
			w.Write(doc)
		}
	})
}

// matches reports whether an If-None-Match header names the tag, weakly or strongly (RFC 9110 section 13.1.2).
func matches(header []string, etag string) bool {
	for _, line := range header {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}
