//go:build !hostcrypto

package edge

//lint:ignore U1000 used under the build tag hostcrypto
type pendingFrame struct{}

// Frame takes a frame that came in answer to the last question, which was sent at the given moment. The answer is Done, and Value the number of records, or Failed with the
// reason. The frame may be overwritten afterwards.
func (e *Edge) Frame(b []byte, sent, m Moment) Result {
	if e.reader == nil {
		return e.failed(noFrames)
	}
	f, err := e.reader.Open(b)
	if err != nil {
		return e.refusedFrame(err)
	}
	return e.apply(f, sent, m)
}

// FinishFrame has nothing to finish in this flavour.
func (e *Edge) FinishFrame(ok bool, sum [32]byte, m Moment) Result {
	return e.failed("no frame was begun")
}
