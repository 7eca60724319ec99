package httpadapter

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

var (
	errNobody    = counterfoil.ErrNotFound
	errBadHandle = errors.New("httpadapter: no handle")
)

// isNobody says that what should end has ended already.
func isNobody(err error) bool { return errors.Is(err, counterfoil.ErrNotFound) }

// Device is one session of a subject as the subject may see it. Neither its ID nor a token is in it.
type Device struct {
	Handle  string    `json:"handle"` // names the session to [EndPath]; good for nothing else
	Current bool      `json:"current"`
	Label   string    `json:"device"` // as given at login; "" = unknown
	Since   time.Time `json:"since"`
	Seen    time.Time `json:"seen"` // when its token was last renewed, so it may lag by half the token's life
	Expires time.Time `json:"expires"`
}

const handleLen = 22 // base64url of 16 bytes

// handleOf returns the public name of a session. The ID holds 128 random bits, so nobody finds it from its hash.
func handleOf(id token.SessionID) string {
	sum := sha256.Sum256([]byte("counterfoil session handle v1\x00" + id.String()))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// devices returns the sessions of the subject, this one first, then those seen last.
func (e *endpoints) devices(ctx context.Context, subject string, own token.SessionID) ([]Device, error) {
	records, err := e.m.Sessions(ctx, subject)
	if err != nil {
		return nil, err
	}
	list := make([]Device, 0, len(records))
	for _, r := range records {
		list = append(list, Device{
			Handle: handleOf(r.Session), Current: r.Session == own, Label: r.Device,
			Since: time.UnixMilli(r.Created).UTC(), Seen: time.UnixMilli(r.Renewed).UTC(), Expires: time.UnixMilli(r.Expires).UTC(),
		})
	}
	slices.SortStableFunc(list, func(a, b Device) int {
		if a.Current != b.Current {
			if a.Current {
				return -1
			}
			return 1
		}
		return b.Seen.Compare(a.Seen)
	})
	return list, nil
}

func (e *endpoints) list(w http.ResponseWriter, r *http.Request) {
	s := Session(r)
	list, err := e.devices(r.Context(), s.Subject(), s.ID())
	if err != nil {
		Refuse(w, r, err)
		return
	}
	writeJSON(w, map[string]any{"sessions": list})
}

// end ends the session with the handle. A handle of nobody's and one of somebody else's do the same: nothing.
func (e *endpoints) end(r *http.Request) error {
	handle := r.PostForm.Get("handle")
	if len(handle) != handleLen {
		return errBadHandle
	}
	s := Session(r)
	if handle == handleOf(s.ID()) {
		return Logout(r)
	}
	records, err := e.m.Sessions(r.Context(), s.Subject())
	if err != nil {
		return err
	}
	for _, record := range records {
		if handleOf(record.Session) == handle {
			return e.m.End(r.Context(), record.Session)
		}
	}
	return nil
}

func (e *endpoints) endOthers(r *http.Request) error { return e.m.EndOthers(r.Context(), Session(r)) }

// active says whether the session of the presented token lives, by asking.
func (e *endpoints) active(w http.ResponseWriter, r *http.Request) {
	v := Verified(r)
	err := error(token.ErrInvalid)
	if v.Valid() {
		err = e.m.Guard().CheckVerified(r.Context(), v, revocation.Paranoid)
	}
	if err != nil {
		inactive(w, r, err)
		return
	}
	writeJSON(w, map[string]bool{"active": true})
}

// inactive answers for every token that does not count; that nothing can be known is another matter.
func inactive(w http.ResponseWriter, r *http.Request, err error) {
	if status, _ := counterfoil.Status(err); status != http.StatusUnauthorized {
		Refuse(w, r, err)
		return
	}
	writeJSON(w, map[string]bool{"active": false})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	b, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(append(b, '\n'))
}
