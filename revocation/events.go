package revocation

import "github.com/counterfoil/counterfoil/internal/lean/time"

// Events is told what an operator wants to know. It is called on the goroutine that noticed, so it must be quick, must not call back,
// and must be safe for concurrent use. New kinds of events may be added; ignore those you do not know.
type Events interface {
	Event(Event)
}

// EventFunc is a function as Events.
type EventFunc func(Event)

// Event calls f.
func (f EventFunc) Event(e Event) { f(e) }

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	EventRevoked    EventKind = iota + 1 // the log brought an Entry, at Position, that the list did not hold; not told for the first read
	EventStale                           // freshness cannot be proved any more, or never could in the first MaxStale of following; Reason, from a Follower with the error of the last read if that failed; Age
	EventHealed                          // it can be again, or now
	EventEpoch                           // the log lost something and began a new life; Epoch
	EventFork                            // the log does not continue what was read before: fork, gap or rollback
	EventUnknown                         // an entry that this version does not understand: verifiers ask until it expires; Entry, if it has a kind; once for each read
	EventFull                            // the list is full and Entry is not in it: verifiers ask until it expires; not told again before
	EventReappended                      // entries that the log had lost were appended again; Count
	EventReuse                           // a refresh token came back that had been replaced, and ended the session that Entry names; told by whoever issues tokens
)

// String returns the name of the kind, such as "stale".
func (k EventKind) String() string {
	switch k {
	case EventRevoked:
		return "revoked"
	case EventStale:
		return "stale"
	case EventHealed:
		return "healed"
	case EventEpoch:
		return "new epoch"
	case EventFork:
		return "fork"
	case EventUnknown:
		return "unknown entry"
	case EventFull:
		return "list full"
	case EventReappended:
		return "appended again"
	case EventReuse:
		return "refresh token reused"
	}
	return "unknown"
}

// An Event is one thing that happened. Which fields count is said at its kind.
type Event struct {
	Kind     EventKind
	Time     time.Time // when it was noticed, by the clock of this process
	Entry    Entry
	Position Position // "" = not known
	Epoch    string
	Reason   string
	Age      time.Duration
	Count    int
}
