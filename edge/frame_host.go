//go:build hostcrypto

package edge

import (
	"encoding/binary"

	"github.com/counterfoil/counterfoil/revocation"
)

type pendingFrame = *revocation.PendingFrame

// Frame takes a frame that came in answer to the last question, which was sent at the given moment. The answer is Verify, or Failed with the reason. The text is then the
// length of what was signed, 32 bits little endian, and the Ed25519 public key, 32 bytes; in the frame the signature follows what was signed, 64 bytes, and
// the rest is the body. The frame must stay as it is until FinishFrame or the next question.
func (e *Edge) Frame(b []byte, sent, m Moment) Result {
	if e.reader == nil {
		return e.failed(noFrames)
	}
	e.frame = frame{}
	p, err := e.reader.Begin(b)
	if err != nil {
		return e.refusedFrame(err)
	}
	e.frame = frame{p, sent}
	public := p.Key().Public()
	e.out = append(binary.LittleEndian.AppendUint32(e.out[:0], uint32(len(p.Signed()))), public[:]...)
	return Result{Status: Verify}
}

// FinishFrame goes on with the frame: ok is the host's word that the key made the signature, sum the SHA-256 of the body. The answer is Done, and Value
// the number of records, or Failed with the reason.
func (e *Edge) FinishFrame(ok bool, sum [32]byte, m Moment) Result {
	p, sent := e.frame.pending, e.frame.sent
	e.frame = frame{}
	if p == nil {
		return e.failed("no frame was begun")
	}
	f, err := e.reader.Finish(p, ok, sum)
	if err != nil {
		return e.refusedFrame(err)
	}
	return e.apply(f, sent, m)
}
