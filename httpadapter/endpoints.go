package httpadapter

import (
	"errors"
	"net/http"
	"slices"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/token/jwks"
)

// Paths of [Endpoints].
const (
	JWKSPath             = "/.well-known/jwks.json"
	RefreshPath          = "/session/refresh"
	LogoutPath           = "/session/logout"
	LogoutEverywherePath = "/session/logout-everywhere"
	AlivePath            = "/health/alive"
	ReadyPath            = "/health/ready"
)

var paths = []string{JWKSPath, RefreshPath, LogoutPath, LogoutEverywherePath, AlivePath, ReadyPath}

// Serves says whether path is one of those that [Endpoints] serves.
func Serves(path string) bool { return slices.Contains(paths, path) }

// Endpoints serves what every application with sessions needs besides its own pages:
//
//	GET  /.well-known/jwks.json         the public keys
//	POST /session/refresh               renews the cookies: 204; 409 = another tab did just now, read the jar again; 401 = log in
//	POST /session/logout                ends the session: 204
//	POST /session/logout-everywhere     ends all sessions of the subject: 204
//	GET  /health/alive                  200 while the process serves
//	GET  /health/ready                  200 while the store answers and the revocation list is fresh, 503 otherwise
//
// They need no middleware in front. No token is ever in a body.
func Endpoints(m *counterfoil.Manager) (http.Handler, error) {
	sessions, err := New(Config{Manager: m})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(JWKSPath, jwks.Handler(m.PublicKeys))
	mux.Handle("POST "+RefreshPath, refresh(m))
	mux.Handle("POST "+LogoutPath, sessions(leave(Logout)))
	mux.Handle("POST "+LogoutEverywherePath, sessions(leave(LogoutEverywhere)))
	mux.HandleFunc("GET "+AlivePath, func(w http.ResponseWriter, _ *http.Request) { healthy(w) })
	mux.HandleFunc("GET "+ReadyPath, func(w http.ResponseWriter, r *http.Request) {
		if err := m.Ready(r.Context()); err != nil {
			Refuse(w, r, err)
			return
		}
		healthy(w)
	})
	return mux, nil
}

func healthy(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

func refresh(m *counterfoil.Manager) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookies, err := m.RefreshCookies(r.Context(), request(r))
		if err != nil {
			Refuse(w, r, err)
			return
		}
		for _, c := range cookies {
			w.Header().Add("Set-Cookie", c.SetCookie())
		}
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	})
}

func leave(end func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := end(r); err != nil && !errors.Is(err, counterfoil.ErrNotFound) {
			Refuse(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
