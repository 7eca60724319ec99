//go:build hostcrypto

package revocation

// With the build tag hostcrypto this package holds no signature code: the host of a WebAssembly module verifies the signature and makes the digest
// of the body, with WebCrypto for example, between [FrameReader.Begin] and [FrameReader.Finish].

func (FrameKey) verify(_, _ []byte) bool { return false }

func bodySum([]byte) (none [32]byte) { return none }

// A PendingFrame has the right form and a known key. It is good for one Finish.
type PendingFrame struct{ parts }

// Key returns the key that must have signed.
func (p *PendingFrame) Key() FrameKey { return p.key }

// Signed returns the bytes that must have been signed, a view on the frame.
func (p *PendingFrame) Signed() []byte { return p.signed }

// Signature returns the Ed25519 signature, a view on the frame.
func (p *PendingFrame) Signature() []byte { return p.signature }

// Body returns the bytes whose SHA-256 Finish is to be given, a view on the frame.
func (p *PendingFrame) Body() []byte { return p.body }

// Begin does what comes before the signature. The pending frame keeps views on the frame.
func (r *FrameReader) Begin(frame []byte) (*PendingFrame, error) {
	p, err := r.parse(frame)
	if err != nil {
		return nil, err
	}
	return &PendingFrame{p}, nil
}

// Finish does what comes after the signature. ok is the host's word that the key made the signature of the signed bytes, sum the SHA-256 of the body.
func (r *FrameReader) Finish(p *PendingFrame, ok bool, sum [32]byte) (Frame, error) {
	h := p.head
	p.head = nil
	if h == nil {
		return Frame{}, errFrameUnasked
	}
	if !ok {
		return Frame{}, errFrameSignature
	}
	if err := r.judge(h); err != nil {
		return Frame{}, err
	}
	return r.take(h, p.body, sum)
}
