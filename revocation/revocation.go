// Package revocation knows which tokens have been revoked, and how old that knowledge is. A [Guard] decides on a token in one call; a [Follower]
// keeps the [List] that the guard looks at in step with the log.
//
// A service that verifies makes a list ([NewList]), follows a [Source] into it ([NewFollower], [Follower.Follow] in a goroutine, [Follower.Ready]
// before it serves) and gives the list and a token.Verifier to [NewGuard]; then it calls [Guard.Check] for each request. Sources are in packages
// store (Redis) and revocation/feed (HTTP). A counterfoil.Manager does all of this by itself.
//
// # One log
//
// Revocations go to one append-only log. An entry matters only until the newest token from before it has expired, so a log trimmed by age is whole:
// it is at once the snapshot and the tail. [Entry] says what can be revoked: a session, the sessions of a subject that began until a time, all that
// began until a time, a signing key. A token is dead when its session did not begin after the latest not-before that applies to it. When the token was
// issued does not count: a renewal that did not know of the end must not undo it.
//
// # Knowing, and knowing how old
//
// Every verifier holds the whole log in memory and looks a token up without I/O. The age of that knowledge is part of every decision. A list is fresh
// if its newest record came, over an unbroken chain of the log's present epoch, from a request sent at most MaxStale ago, and if that record is
// itself not older than that by the wall clock, leeway granted. An answer without news proves nothing, so a live log has a [Heartbeat]. Whatever
// cannot be proved counts as stale.
//
// # Policies
//
//	policy      fresh           stale                                        log lost
//	BestEffort  list            list, counted and reported                   list
//	Strict      list            asks; no answer: ErrStale                    tokens older than the log are answered like expired ones
//	Paranoid    list, and asks  ErrStale                                     tokens older than the log: ErrStale
//
// A list that is full, a log with a hole, and an entry of a kind that only newer versions know have the same effect: the list cannot prove that a
// token is good. [Strict] and [Paranoid] then ask, and refuse if there is no answer. [BestEffort] goes by what it knows and counts these cases: it
// was chosen where an outage does more harm than a session that lives on for minutes, and a newer writer must not cause that outage.
//
// # Asking
//
// An [Asker] answers for one session. Questions have a deadline, and their number is bounded, to one at a time for each session. After several
// failures a breaker spares the origin. A check never gets the answer to a question that was sent before the check began.
//
// # Confirming
//
// A follower with a name reports how far it has read, if its source is a [Reporter]; its list holds what it has reported. A [Census] tells the
// progress of all followers, so whoever revokes can wait until every follower refuses. Two followers that were given one name still are two, because
// each adds something random of its own. One that ends takes its leave. One that has been silent for half a minute ([Live]) is not waited for; its
// list has been stale for long by then.
//
// # Never forgotten early
//
// What a list has read it keeps until it expires, whatever happens to the log. Forks, gaps, rollbacks and new epochs are noticed by the chain of
// positions and by the epoch's name; the log is then read whole again and united with what is known. Expired entries are forgotten by the earlier of
// two clocks.
//
// # Compatibility
//
// The binary form of entries is stable: kinds may be added, and older versions treat them as said above. The names follow semantic versioning with
// the module.
package revocation
