// Package feed carries the revocation log over HTTP, to verifiers without Redis. [Handler] serves it, and a [Client] is a revocation.Source,
// so the Follower and the Guard of package revocation work as they do over Redis.
//
// # The server's side
//
// A process that follows the log does so through a [Tail], which keeps what it read. The [Handler] answers from that: a thousand edges cost Redis
// no more than one. It never says more than its process knows: while its own list is not fresh, or the asking edge is ahead of it, it answers
// [StatusBehind].
//
// # One request
//
//	GET …/revocations?after=<cursor>&wait=<seconds>&nonce=<nonce>&instance=<id>
//
// Without a cursor the answer is the whole log, at once; with full=1 too. With one it is what is newer, as soon as there is something, or nothing new when wait
// is over; if the log does not go on from the cursor, it is the whole log again. An edge that polls with a cursor has
// everything up to there: that is its [Confirmation], which the handler reports to the log, so that whoever revokes waits for it. The nonce is 16 random bytes in base64url.
//
// With DELETE, and nothing but the instance, an edge takes its leave: it follows no longer, and nobody waits for it.
//
//	200   a signed frame (see revocation.FrameHead), compressed with gzip where the client takes it
//	204   of the leave, noted
//	400   malformed
//	401   no valid credential of an edge
//	409   StatusBehind: this server knows less than the edge, or not whether what it knows is current
//	503   busy: too many clients
//
// # What an edge trusts
//
// A frame is signed with a key of its own ([Key]; a [Ring] of them while one is replaced), answers the nonce of the request, and continues what came before; anything else is refused. So neither a
// cache nor whoever holds the connection can forge, hide or repeat revocations; what they can do is cut the edge off, and then its list grows old, which a
// Guard notices. TLS keeps the credential secret.
//
// # Compatibility
//
// The form of requests and frames is stable: later versions add parameters and statuses, and a change of frames gets a new version number. The names
// follow semantic versioning with the module.
package feed

import (
	"encoding/base64"
	"net/http"
)

// ContentType is the media type of a frame.
const ContentType = "application/vnd.counterfoil.revocations"

// StatusBehind is the status of an answer by which a server says that it cannot say: its own list is not fresh, or the edge knows more than it does. Another
// server may know; the same one may a moment later.
const StatusBehind = http.StatusConflict

// Names of the parameters of a request.
const (
	paramAfter    = "after"
	paramFull     = "full"
	paramWait     = "wait"
	paramNonce    = "nonce"
	paramInstance = "instance"
)

// b64 is how binary parameters, keys and secrets are spelled: one spelling for each value.
var b64 = base64.RawURLEncoding.Strict()

// decode32 reads 32 bytes in base64url. The decoder skips line breaks; a text of the right length that has one is too short.
func decode32(s string) (b [32]byte, ok bool) {
	var buf [33]byte
	if len(s) != 43 {
		return b, false
	}
	n, err := b64.Decode(buf[:], []byte(s))
	return [32]byte(buf[:32]), err == nil && n == 32
}
