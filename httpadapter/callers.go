package httpadapter

import (
	"net/http"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
)

// called lets those pass who show a credential of EndpointsConfig.Callers, and hands on the form field "token".
func (e *endpoints) called(serve func(w http.ResponseWriter, r *http.Request, raw string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if !e.known(r) {
			w.Header().Set("WWW-Authenticate", `Basic realm="callers"`)
			refuseCaller(w, http.StatusUnauthorized, "invalid_client")
			return
		}
		raw := ""
		if form(w, r) {
			raw = only(r, "token")
		}
		if raw == "" {
			refuseCaller(w, http.StatusBadRequest, "invalid_request")
			return
		}
		serve(w, r, raw)
	}
}

// refuseCaller answers as RFC 6749 says in section 5.2, which is what clients of RFC 7662 and RFC 7009 parse.
func refuseCaller(w http.ResponseWriter, status int, code string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error":"` + code + `"}` + "\n"))
}

func (e *endpoints) known(r *http.Request) bool {
	if e.callers == nil {
		return false
	}
	_, ok := e.callers.Authenticate(r)
	return ok
}

// introspect answers as RFC 7662 says. A token is active if it would be accepted now, and the store says that its session lives;
// of all others nothing is said, not even why. Refresh tokens are for this service alone and never active here.
func (e *endpoints) introspect(w http.ResponseWriter, r *http.Request, raw string) {
	v, err := e.m.Guard().CheckPolicy(r.Context(), raw, revocation.BestEffort)
	if err == nil {
		err = e.lives(r.Context(), v)
	}
	if err != nil {
		inactive(w, r, err)
		return
	}
	answer := map[string]any{
		"active": true, "token_type": "Bearer", "iss": v.Issuer(), "aud": v.Audience(), "iat": v.IssuedAt().Unix(), "exp": v.Expires().Unix(),
	}
	if v.Subject() != "" {
		answer["sub"] = v.Subject()
	}
	if at, ok := v.AuthTime(); ok {
		answer["auth_time"] = at.Unix()
	}
	writeJSON(w, answer)
}

// revoke ends the session of an access or a refresh token, as RFC 7009 says: 200 for every token that is not active afterwards, whether or not
// it ever was, and 503 if that is not certain, or could be undone by the loss of a server: then the caller repeats it. An access token that has expired is as good
// as none (section 2.2): its session lives on.
func (e *endpoints) revoke(w http.ResponseWriter, r *http.Request, raw string) {
	if err := e.m.EndToken(r.Context(), raw); err != nil {
		if status, _ := counterfoil.Status(err); status != http.StatusUnauthorized {
			Refuse(w, r, err)
			return
		}
	}
	w.WriteHeader(http.StatusOK)
}
