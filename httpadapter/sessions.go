package httpadapter

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/revocation"
	"github.com/counterfoil/counterfoil/token"
)

var errBadHandle = errors.New("httpadapter: no handle")

// Device is one session of a subject as the subject may see it, and as [ListPath] spells it in JSON. Neither its ID nor a token is in it.
type Device struct {
	Handle   string    `json:"handle"` // names the session to [EndPath]; good for nothing else
	Current  bool      `json:"current"`
	Label    string    `json:"device"`             // "" = unknown
	Address  string    `json:"address,omitempty"`  // network of the login
	Location string    `json:"location,omitempty"` // what counterfoil.Config.Locate made of it
	Since    time.Time `json:"since"`
	Seen     time.Time `json:"seen"` // when its token was last renewed, so it may lag by half the token's life
	Expires  time.Time `json:"expires"`
}

// devices returns the sessions of the subject of s, that one first, then those seen last.
func (e *endpoints) devices(ctx context.Context, s *counterfoil.Session) ([]Device, error) {
	all, err := e.m.Devices(ctx, s)
	if err != nil {
		return nil, err
	}
	list := make([]Device, 0, len(all))
	for _, d := range all {
		list = append(list, Device{
			Handle: d.Handle, Current: d.Current, Label: d.Label, Address: d.Address, Location: d.Location,
			Since: d.LoggedIn.UTC(), Seen: d.LastSeen.UTC(), Expires: d.Expires.UTC(),
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
	list, err := e.devices(r.Context(), Session(r))
	if err != nil {
		Refuse(w, r, err)
		return
	}
	writeJSON(w, map[string]any{"sessions": list})
}

// end ends the session with the handle. A handle of nobody's and one of somebody else's do the same: nothing. Not so if whoever asks has ended, which is told.
func end(r *http.Request) error {
	if err := somebody(r); err != nil {
		return err
	}
	handle := only(r, "handle")
	if handle == "" {
		return errBadHandle
	}
	if err := EndDevice(r, handle); err != counterfoil.ErrNotFound { // itself: see counterfoil.Exchange.EndDevice
		return err
	}
	return nil
}

func endOthers(r *http.Request) error {
	if err := somebody(r); err != nil {
		return err
	}
	x := Exchange(r)
	return ended(r, x.Manager().EndOthers(r.Context(), x.Session()))
}

// active says whether the session of the presented token lives, by asking.
func (e *endpoints) active(w http.ResponseWriter, r *http.Request) {
	v := Verified(r)
	err := error(token.ErrInvalid)
	if v.Valid() {
		err = e.lives(r.Context(), v)
	}
	if err != nil {
		inactive(w, r, err)
		return
	}
	writeJSON(w, map[string]bool{"active": true})
}

// lives asks whether the session of a token lives. Paranoid asks although the list is fresh; where it is not, Strict asks and Paranoid would not.
func (e *endpoints) lives(ctx context.Context, v token.Verified) error {
	policy := revocation.Paranoid
	if !e.m.Guard().Status().Fresh {
		policy = revocation.Strict
	}
	return e.m.Guard().CheckVerified(ctx, v, policy)
}

// inactive answers for every token that does not count; that nothing can be known is another matter.
func inactive(w http.ResponseWriter, r *http.Request, err error) {
	if !unauthorized(err) {
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
