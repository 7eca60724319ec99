package revocation

import (
	"errors"

	"github.com/counterfoil/counterfoil/token"
)

var (
	// ErrRevoked means that the token was good and has been revoked, or that its session is known to have ended. It will never be
	// accepted again. [Reason] says by what.
	ErrRevoked = errors.New("revocation: token revoked")

	// ErrStale means that it cannot be known whether the token has been revoked: the list cannot prove that it is fresh, and asking
	// did not help. It says nothing against the token; the same token may be accepted a moment later. [Reason] says why.
	ErrStale = errors.New("revocation: cannot tell whether the token is revoked")
)

// refusal is one of the two errors above, or a token's expiry, with a reason. Those without a cause are made once, at start.
type refusal struct {
	is     error  // nil: the cause is what this is
	reason string // short and stable
	detail string // what became of asking
	cause  error  // of the asker
}

func (r *refusal) Error() string {
	text := "revocation: refused: " + r.reason
	if r.is != nil {
		text = r.is.Error() + ": " + r.reason
	}
	if r.detail != "" {
		text += ", " + r.detail
	}
	return text
}

func (r *refusal) Is(target error) bool { return r.is != nil && target == r.is }
func (r *refusal) Unwrap() error        { return r.cause }

var (
	revokedSession  = refusal{is: ErrRevoked, reason: "session revoked"}
	revokedSubject  = refusal{is: ErrRevoked, reason: "subject revoked"}
	revokedAll      = refusal{is: ErrRevoked, reason: "everything revoked"}
	revokedKey      = refusal{is: ErrRevoked, reason: "key revoked"}
	revokedByAnswer = refusal{is: ErrRevoked, reason: "session not alive"}
	staleBeforeLog  = refusal{is: ErrStale, reason: reasonBirth}
)

// Reasons that are no matter of age.
const (
	reasonBirth   = "issued before the log's birth"
	reasonLacks   = "list incomplete"
	reasonUnknown = "entry of an unknown kind in force"
	reasonAlways  = "policy asks always"
)

// Reason returns the stable short name of the reason why a Guard refused a token. The names are for logs and metrics, never for clients:
//
//   - of [ErrRevoked]: "session revoked", "subject revoked", "everything revoked", "key revoked", "session not alive";
//   - of [ErrStale]: "log not read yet", "log has no epoch", "nothing newer than the start of following", "log does not continue what was read",
//     "list too old", "newest record in the future", "clock stepped back", "list incomplete", "entry of an unknown kind in force",
//     "issued before the log's birth", "policy asks always"; what became of asking is in the error's text, and its cause may be unwrapped;
//   - of a [*token.ExpiredError] for a token that has not expired: "issued before the log's birth";
//   - of the errors of package token what [token.Reason] returns; of all others "".
func Reason(err error) string {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.reason
	}
	return token.Reason(err)
}
