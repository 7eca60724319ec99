package revocation

import (
	"errors"
	"strconv"
	"strings"
)

// A Cursor is a place in a feed: a position, its time, and the epoch in which it means something.
type Cursor struct {
	Epoch    string
	Time     int64 // Unix ms of the log's clock
	Position Position
}

// String returns the cursor as it is sent: <epoch>~<time>~<position>; "" for the zero value.
func (c Cursor) String() string {
	if c == (Cursor{}) {
		return ""
	}
	return c.Epoch + "~" + strconv.FormatInt(c.Time, 10) + "~" + string(c.Position)
}

var errCursor = errors.New("revocation: not a cursor")

// ParseCursor reads what String returned; "" is the zero Cursor.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	epoch, rest, _ := strings.Cut(s, "~")
	ms, position, _ := strings.Cut(rest, "~")
	t, err := strconv.ParseInt(ms, 10, 64)
	c := Cursor{epoch, t, Position(position)}
	if err != nil || !validTime(t) || !validName(epoch) || !validName(position) || c.String() != s {
		return Cursor{}, errCursor
	}
	return c, nil
}

// FrameReaderConfig says which frames a [FrameReader] takes. Issuer and Keys are required.
type FrameReaderConfig struct {
	Issuer string     // whose tokens are checked by the list
	Keys   []FrameKey // 1 to 16 that may sign; more than one while a key is replaced
	MaxLen int        // bytes of a body; 0 = DefaultMaxFrameLen, at most 1 GiB

	// SkipNonce takes frames that answer nobody in particular, such as those that a cache keeps. Nothing but the clocks then tells how old a frame is,
	// so it is sound only where the clock of this machine is right to within the leeway.
	SkipNonce bool
}

// A FrameReader reads one feed: it knows what it asked and what it has seen, and takes no frame that is forged, replayed, out of order or older than
// what it knows. [FrameReader.Ask] begins each question; then either Open takes the whole frame, or OpenHead and OpenBody
// take it as it arrives, so that nothing is read on behalf of a frame that will be refused. Under the build tag hostcrypto these refuse everything, and
// there are Begin and Finish.
//
// Errors are [*FrameError]. There is no useful zero value; NewFrameReader makes one. It is not safe for concurrent use.
type FrameReader struct {
	issuer    string
	keys      []FrameKey
	maxLen    int
	skipNonce bool

	seen  Cursor // the newest record of all frames taken
	whole bool   // the next question must be for the whole log
	asked *question
	head  *FrameHead // of a frame whose body is still to come
}

type question struct {
	FrameQuery
	nonce [FrameNonceLen]byte
}

// A FrameQuery is what to ask a feed for.
type FrameQuery struct {
	After Cursor // the newest record known, zero if there is none
	Full  bool   // for the whole log
}

// NewFrameReader makes a FrameReader that has seen nothing.
func NewFrameReader(cfg FrameReaderConfig) (*FrameReader, error) {
	r := &FrameReader{issuer: cfg.Issuer, maxLen: cfg.MaxLen, skipNonce: cfg.SkipNonce}
	if r.issuer == "" || len(r.issuer) > maxIssuerLen {
		return nil, errors.New("revocation: FrameReaderConfig.Issuer is not of 1 to 255 bytes")
	}
	if len(cfg.Keys) == 0 || len(cfg.Keys) > 16 {
		return nil, errors.New("revocation: FrameReaderConfig.Keys are not 1 to 16")
	}
	for _, k := range cfg.Keys {
		if k.IsZero() {
			return nil, errors.New("revocation: one of FrameReaderConfig.Keys is no key")
		}
	}
	r.keys = append(r.keys, cfg.Keys...)
	if r.maxLen == 0 {
		r.maxLen = DefaultMaxFrameLen
	}
	if r.maxLen < 0 || r.maxLen > maxFrameLen {
		return nil, errors.New("revocation: FrameReaderConfig.MaxLen is not between 0 and 1 GiB")
	}
	return r, nil
}

// Ask begins a question, for what is newer than after, and forgets one that had no answer. It asks for the whole log if after is "" or not the
// position that the last frame led to, and after a frame that showed that the log does not go on from there. The nonce must be
// random and new, and zero only with SkipNonce. One frame answers one question.
func (r *FrameReader) Ask(after Position, nonce [FrameNonceLen]byte) FrameQuery {
	q := FrameQuery{After: r.seen, Full: r.whole || after == "" || after != r.seen.Position}
	r.asked, r.head = &question{q, nonce}, nil
	return q
}

// parts are the parts of a frame of which nothing is known yet but its form, and which key should have signed it.
type parts struct {
	head              *FrameHead
	key               FrameKey
	signed, signature []byte // views
	body              []byte // whatever comes after the signature
}

func (r *FrameReader) parse(frame []byte) (p parts, err error) {
	size, err := FrameHeadLen(frame)
	if err != nil {
		return p, err
	}
	if len(frame) < size {
		return p, errFrameShort
	}
	end := size - frameSignatureLen
	p.signed, p.signature, p.body = frame[:end], frame[end:size], frame[size:]
	if p.head, err = parseFrameHead(p.signed); err != nil {
		return p, err
	}
	if p.head.BodyLen > r.maxLen {
		return p, errFrameSize
	}
	for _, k := range r.keys {
		if k.id == p.head.KeyID {
			p.key = k
			return p, nil
		}
	}
	return p, errFrameKey
}

// judge decides whether an authentic frame answers the question and is in line with what was seen.
func (r *FrameReader) judge(h *FrameHead) error {
	q := r.asked
	switch {
	case q == nil:
		return errFrameUnasked
	case h.Issuer != r.issuer:
		return errFrameIssuer
	case h.Nonce != q.nonce || q.nonce == [FrameNonceLen]byte{} && !r.skipNonce:
		return errFrameNonce
	case h.Full:
		if h.Epoch == r.seen.Epoch && h.ToTime < r.seen.Time {
			return errFrameBack
		}
	case q.Full:
		return errFramePart
	case h.Epoch != r.seen.Epoch:
		r.whole = true
		return errFrameEpoch
	case h.From != r.seen.Position:
		r.whole = true
		return errFrameGap
	case h.Count == 0 && h.ToTime != r.seen.Time:
		return errFrameForm
	}
	return nil
}

// take reads the body of a frame that is to be taken, and remembers what it led to. sum is the SHA-256 of the body.
func (r *FrameReader) take(h *FrameHead, body []byte, sum [32]byte) (Frame, error) {
	switch {
	case len(body) < h.BodyLen:
		return Frame{}, errFrameShort
	case len(body) > h.BodyLen:
		return Frame{}, errFrameTrailing
	case sum != h.BodySum:
		return Frame{}, errFrameBody
	}
	f, err := parseFrameBody(h, body)
	if err != nil {
		return Frame{}, err
	}
	r.asked, r.whole = nil, false
	r.seen = Cursor{}
	if h.To != "" {
		r.seen = Cursor{h.Epoch, h.ToTime, h.To}
	}
	return f, nil
}

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
	case !p.key.verify(p.signed, p.signature):
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
	return r.take(h, body, bodySum(body))
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
