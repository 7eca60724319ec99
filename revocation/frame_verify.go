//go:build !hostcrypto

package revocation

import (
	"crypto/ed25519"
	"crypto/sha256"
)

// Everything of frames that needs signature code is in this file; frame_host.go stands for it where the host has that code.

// OpenHead checks head and signature of a frame, whose length [FrameHeadLen] tells, and returns the length of the body. When it returns no error the head is
// authentic, answers the question and is in line with what was seen.
func (r *FrameReader) OpenHead(head []byte) (bodyLen int, err error) {
	r.head = nil
	p, err := r.parse(head)
	switch {
	case err != nil:
		return 0, err
	case len(p.body) > 0:
		return 0, errFrameTrailing
	case !ed25519.Verify(p.key.public[:], p.signed, p.signature):
		return 0, errFrameSignature
	}
	if err := r.judge(p.head); err != nil {
		return 0, err
	}
	r.head = p.head
	return p.head.BodyLen, nil
}

// OpenBody takes the body that belongs to the head which OpenHead was given last. The frame's records are views on it.
func (r *FrameReader) OpenBody(body []byte) (Frame, error) {
	h := r.head
	r.head = nil
	if h == nil {
		return Frame{}, errFrameUnasked
	}
	return r.take(h, body, sha256.Sum256(body))
}

// Open takes a whole frame: OpenHead and OpenBody in one.
func (r *FrameReader) Open(frame []byte) (Frame, error) {
	size, err := FrameHeadLen(frame)
	if err != nil {
		return Frame{}, err
	}
	if _, err := r.OpenHead(frame[:min(size, len(frame))]); err != nil {
		return Frame{}, err
	}
	return r.OpenBody(frame[size:])
}
