// Package parity shows that Fiber with Counterfoil does what Koa does with koa-session 7.0.2, and what a first tutorial about sessions in
// Redis promises. It is all tests: TestKoa has one for each traced behaviour of koa-session, TestTutorial one for each claim.
// Where we differ on purpose, [Differences] says why, and the test holds what we do instead.
//
// Run in its own directory it ends with a line of counts:
//
//	cd internal/parity && go test -count=1
package parity

// Differences are the numbers of TestKoa where we do something else, with the reason.
var Differences = map[int]string{
	4:  "Koa reads the store for every request with a cookie. Who asks is in the token, so we read it when state is touched.",
	5:  "An equal value is sent, since the request cannot know what another one wrote meanwhile; it changes nothing, and no cookie is set.",
	6:  "Values are typed and copied: a change is a Set, Update or Delete, not a mutation that a checksum has to find.",
	7:  "What cannot be stored is an error where it is set; nothing is dropped silently.",
	9:  "The record ends with the session, not ten seconds later: absent means ended.",
	11: "Rolling on every response is a write for every read. Idle time is extended when the token is renewed.",
	18: "A handler that failed has decided nothing: what it set is discarded. Increments have happened, and a session that began keeps its cookies.",
	19: "A token whose session is gone is refused until it has expired: a request that was under way when the session ended must not begin another.",
	22: "Nothing is cleared: what is in the jar by the time the answer arrives may be another tab's new pair.",
	26: "A handler without the middleware is a mistake in the program: it panics and says so.",
}
