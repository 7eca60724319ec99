package token

import (
	"errors"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// ErrInvalid is matched, through errors.Is, by every refusal except expiry. What to do about it does not depend on the rule that was
// broken: the token is worthless. [Reason] names the rule for logs.
var ErrInvalid error = errors.New("token: invalid")

// An ExpiredError says that a token has expired and that everything else about it was right: its key is known, its signature, issuer and
// audience hold. It does not say that the session still lives, and no claims come with it.
type ExpiredError struct {
	ExpiresMilli int64 // the token's exp, Unix milliseconds
}

// Expires returns the token's exp.
func (e *ExpiredError) Expires() time.Time { return time.UnixMilli(e.ExpiresMilli) }

func (e *ExpiredError) Error() string { return "token: expired" }

// refusal is an error made once at start: refusing costs no allocation, and the text cannot hold any part of a token.
type refusal struct{ reason string }

func (r *refusal) Error() string        { return "token: refused: " + r.reason }
func (r *refusal) Is(target error) bool { return target == ErrInvalid }

// The rules, in the order in which they are applied.
var (
	errTooLong      = &refusal{"too long"}
	errSegments     = &refusal{"not three segments"}
	errAlphabet     = &refusal{"not base64url"}
	errSpelling     = &refusal{"not canonical"}
	errUnknownKey   = &refusal{"unknown key"}
	errSignature    = &refusal{"bad signature"}
	errPayload      = &refusal{"payload not strict JSON"}
	errDuplicate    = &refusal{"duplicate claim"}
	errName         = &refusal{"claim name"}
	errUnsupported  = &refusal{"unsupported claim"}
	errType         = &refusal{"claim type"}
	errMissing      = &refusal{"claim missing"}
	errRange        = &refusal{"claim out of range"}
	errIssuer       = &refusal{"issuer"}
	errAudience     = &refusal{"audience"}
	errLifetime     = &refusal{"lifetime"}
	errIssuedFuture = &refusal{"issued in the future"}
)

// Reason returns the stable short name of the rule by which Verify refused a token: "too long", "not three segments", "not base64url",
// "not canonical", "unknown key", "bad signature", "payload not strict JSON", "duplicate claim", "claim name", "unsupported claim", "claim type",
// "claim missing", "claim out of range", "issuer", "audience", "lifetime", "issued in the future" or "expired".
// It returns "" for nil and for errors that are not refusals of this package. The names are for logs and metrics, never for clients.
func Reason(err error) string {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.reason
	}
	if _, ok := errors.AsType[*ExpiredError](err); ok {
		return "expired"
	}
	return ""
}
