package revocation

import (
	"errors"

	"github.com/counterfoil/counterfoil/internal/lean/context"
	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// Heartbeat is how often a log that has a writer gets a record at least: its newest record is hardly older than this.
const Heartbeat = time.Second

// Position is a place in a log, opaque to everybody but its Source. "" is the start. In Redis it is the ID of a stream entry.
type Position string

// A Record is one element of a log: an entry or a heartbeat.
type Record struct {
	Position Position // of this record; never ""
	Prev     Position // of the record before it; this is the chain that shows forks and gaps
	Time     int64    // Unix ms of the log's clock, when it was appended
	Entry    []byte   // binary entry; nil = heartbeat

	// Replicated is the time (Unix ms) of the newest record that the configured replicas have acknowledged; 0 = not said. Once a
	// heartbeat says it, the list is as old as that, not as old as the newest record.
	Replicated int64

	Epoch string // set on the first record of an epoch
}

// A Batch is what one read of a log returns.
type Batch struct {
	Full    bool     // the whole log; otherwise what is newer than the position asked for
	Records []Record // in the order of the log

	// On full reads:
	Epoch     string  // names the life of this log; a log that lost something begins another one; "" = the log was never begun
	Birth     int64   // Unix ms; the log vouches for tokens with iat >= Birth. Any margin for clocks is already in it
	Permanent []Entry // the entries that never expire, whether or not they are among the records

	// From a source that passes on what somebody else has read:
	Age     time.Duration // how old it was when it was asked for; 0 = the log itself was read
	Checked bool          // the log was seen to hold the position asked after, so silence is no sign that it was rolled back
}

// A Source reads a log of revocations. Package store has one over Redis, package revocation/feed one over HTTP.
type Source interface {
	// Read returns what the log holds. With after == "" it reads the whole log at once and does not wait; the batch is Full. Otherwise it
	// returns the records newer than after, at most some thousands; if there are none it waits up to wait for one
	// and may return an empty batch, which proves nothing. It may answer with a full batch instead.
	//
	// An error means that the log was not reached; the follower tries again from where it was. Read must return soon after ctx ends. It is called
	// by one goroutine at a time. after is the position up to which the follower has applied everything, so it also says how far the follower is.
	// The records belong to the caller.
	Read(ctx context.Context, after Position, wait time.Duration) (Batch, error)
}

// An Appender is the writing side of a log. Whoever ends sessions appends to it and keeps its heartbeat; a Follower that is given one
// appends what the log has lost. It is safe for concurrent use.
type Appender interface {
	// Append appends the entries in order. It is idempotent in effect: an entry that is in the log twice revokes what it revokes once. Without
	// entries it writes a heartbeat, unless the newest record is younger than [Heartbeat]. When it returns nil all of them are in the log, and as
	// safe there as the log was configured to keep them. A Position beside an error says that they are in the log, but not (yet) as safe. With an
	// error that is [ErrPast] nothing was appended.
	Append(ctx context.Context, entries ...Entry) (Appended, error)
}

// ErrPast means that an entry was older than the [Horizon] of the log when it was to be appended. It could not revoke anything that is still valid.
// Neither it nor the entries beside it were appended; append the others without it.
var ErrPast = errors.New("revocation: entry is older than the log's horizon")

// Appended says where a log stands after an append.
type Appended struct {
	Position Position // of the last entry's record, or without entries of the newest record; "" = nothing was appended, or nobody knows
	Now      int64    // the log's clock when it was appended, Unix ms; not before its newest record, where that clock has stepped back
}

// A Reporter is a Source that takes reports of how far its followers are, so that whoever revokes can wait until all of them know. Those of package
// store keep the reports in Redis. The client of a feed is none and needs none, because each of its requests says how far it is.
type Reporter interface {
	// Report says that the follower of that name has applied everything up to a position, and that it came to know of that position age ago. With the
	// position "" it says that it follows no longer and is to be forgotten at once. Names are 1 to 160 printable ASCII characters without spaces. Of
	// two followers of one name the later report counts, so no two may share one; a [Follower] adds what tells it from others.
	Report(ctx context.Context, follower string, at Position, age time.Duration) error
}

// ErrNoRoom means that as many followers report to the log as it keeps. This one is not among them, so nobody will wait for it; nothing is wrong with
// the others.
var ErrNoRoom = errors.New("revocation: too many followers report to this log")

// Progress is how far one follower is.
type Progress struct {
	Follower string
	Position Position      // everything up to here is applied
	Silent   time.Duration // how long ago it came to know of Position, by the log's clock, or longer. It confirms nothing that was revoked since
	Apart    bool          // the log has no record at Position: the follower read another history of the log, and confirms nothing of this one
}

// A Census tells how far the followers of a log are. It is safe for concurrent use.
type Census interface {
	// Followers returns those that have reported within [Live], in the order of their names. It forgets the others.
	Followers(ctx context.Context) ([]Progress, error)
	// Holding returns what Followers does and, seen in the same moment of the same log, whether the record at that position holds the entry. If it
	// does not, the record was lost, as in a failover. Then the position of a follower does not tell whether it has read the entry: positions are
	// compared by number, and another history of the log has later ones.
	Holding(ctx context.Context, at Position, e Entry) (list []Progress, holds bool, err error)
	// Before reports whether position a is before b in the order of the log. It cannot tell different histories apart.
	Before(a, b Position) bool
}

// Live is how long after its last report a follower still counts. Whoever waits for confirmations does not wait for those that have been silent
// longer.
const Live = 30 * time.Second
