package revocation

import "errors"

// A Policy says what a [Guard] does when its list cannot prove that a token is good. Of several that apply the strictest wins.
type Policy int8

// The policies, from the laxest to the strictest. The zero value is Strict.
const (
	// BestEffort uses the list however old or incomplete it is. That is counted and reported, never refused: it is for
	// routes where an ended session that lives on to the end of its token does less harm than an outage.
	BestEffort Policy = -1

	// Strict asks about the token whenever the list cannot prove that it is good, and refuses if nobody answers.
	Strict Policy = 0

	// Paranoid asks about every token, fresh list or not, and refuses while the list is stale.
	Paranoid Policy = 1
)

// String returns "best-effort", "strict" or "paranoid".
func (p Policy) String() string {
	switch {
	case p < Strict:
		return "best-effort"
	case p == Strict:
		return "strict"
	}
	return "paranoid"
}

// MarshalText returns what String returns.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText accepts what String returns, and nothing else: a misspelt policy must not become another one.
func (p *Policy) UnmarshalText(text []byte) error {
	switch string(text) {
	case "best-effort":
		*p = BestEffort
	case "strict":
		*p = Strict
	case "paranoid":
		*p = Paranoid
	default:
		return errors.New("revocation: policy is none of best-effort, strict, paranoid")
	}
	return nil
}
