package revocation

import (
	"encoding/binary"

	"github.com/counterfoil/counterfoil/internal/lean/time"
)

// FrameType begins every frame, so that nothing else is ever taken for one: no token, and no other message that the same key might
// sign. The signature covers it.
const FrameType = "counterfoil-revocation-frame"

// Sizes of frames, in bytes.
const (
	FramePrefixLen     = len(FrameType) + 1 + 1 + 2 // what tells the length of the head, see [FrameHeadLen]
	FrameNonceLen      = 16
	DefaultMaxFrameLen = 64 << 20 // of a body, unless the reader says otherwise: some 1.9 million entries

	frameSignatureLen = 64
	frameVersion      = 1
	frameFull         = 1       // flag: the body is the whole log
	maxFrameLen       = 1 << 30 // of a body, whatever the reader says

	// What has the same length in every head: prefix, key ID, nonce, digest and seven numbers.
	frameFixedLen = FramePrefixLen + 16 + FrameNonceLen + 32 + 4 + 4 + 8 + 4 + 8 + 8 + 8

	maxIssuerLen = 255
	maxNameLen   = 64 // of epochs and positions
	maxHeadLen   = frameFixedLen + 1 + maxIssuerLen + 3*(1+maxNameLen)
	maxFrameAge  = (1<<32 - 1) * time.Millisecond
)

// A FrameError says why a frame was refused. Frames are refused whole: nothing in one that was refused is known to be true.
type FrameError struct {
	Reason string // short and stable, for logs and metrics
}

func (e *FrameError) Error() string { return "revocation: frame refused: " + e.Reason }

var (
	errFrameShort     = &FrameError{"truncated"}
	errFrameType      = &FrameError{"not a frame"}
	errFrameVersion   = &FrameError{"unknown version"}
	errFrameForm      = &FrameError{"malformed"}
	errFrameTrailing  = &FrameError{"trailing bytes"}
	errFrameSize      = &FrameError{"oversize"}
	errFrameKey       = &FrameError{"unknown key"}
	errFrameSignature = &FrameError{"signature"}
	errFrameBody      = &FrameError{"body of another head"}

	// These are about authentic frames.
	errFrameUnasked = &FrameError{"nothing was asked"}
	errFrameIssuer  = &FrameError{"other issuer"}
	errFrameNonce   = &FrameError{"answer to another question"}
	errFramePart    = &FrameError{"part instead of the whole"}
	errFrameEpoch   = &FrameError{"other epoch"}
	errFrameGap     = &FrameError{"gap"}
	errFrameBack    = &FrameError{"rolled back"}
)

// A FrameHead is what a frame says of itself. The signature covers it, and it holds the digest of the body: a server that gives one body to many
// signs a head for each.
type FrameHead struct {
	Issuer string   // whose tokens the log is about; 1 to 255 bytes
	Epoch  string   // of the log; never ""
	Full   bool     // the body is the whole log; otherwise what is newer than From
	From   Position // what was asked after; "" if Full
	To     Position // of the newest record; without records From
	ToTime int64    // the time of that record, Unix ms of the log's clock; 0 if To is ""

	// AsOf is up to when the server's own list knows the log, Unix ms: a time that the log said, never one of the server's clock. 0 = not said.
	AsOf int64

	// Age is how long before this answer the server had sent the request that brought it the newest record, by its monotonic clock.
	// It is rounded up to milliseconds.
	Age time.Duration

	Birth int64               // the log vouches for tokens with iat >= Birth, Unix ms; 0 = not said
	Nonce [FrameNonceLen]byte // of the request; zero = the answer to nobody in particular

	KeyID   [16]byte // of the key that signs: [FrameKey.ID]
	BodyLen int      // bytes
	BodySum [32]byte // SHA-256
	Count   int      // records in the body
}

// AppendBinary appends the head in the form that is signed. A frame is this, then the signature (Ed25519, 64 bytes), then the body, see [FrameBody].
//
//	type     28 bytes  "counterfoil-revocation-frame"
//	version   1        1
//	flags     1        1 = full
//	head      2        its length, from the type to the end of To
//	key ID   16
//	nonce    16
//	digest   32        of the body
//	length    4        of the body
//	count     4        of records
//	as-of     8
//	age       4        ms
//	birth     8
//	to time   8
//	issuer, epoch, from, to: one byte of length, then the text
//
// Numbers are big endian.
func (h *FrameHead) AppendBinary(b []byte) ([]byte, error) {
	if err := h.check(); err != nil {
		return b, err
	}
	start := len(b)
	var flags byte
	if h.Full {
		flags = frameFull
	}
	b = append(b, FrameType...)
	b = append(b, frameVersion, flags, 0, 0)
	b = append(b, h.KeyID[:]...)
	b = append(b, h.Nonce[:]...)
	b = append(b, h.BodySum[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(h.BodyLen))
	b = binary.BigEndian.AppendUint32(b, uint32(h.Count))
	b = binary.BigEndian.AppendUint64(b, uint64(h.AsOf))
	b = binary.BigEndian.AppendUint32(b, uint32((h.Age+time.Millisecond-1)/time.Millisecond))
	b = binary.BigEndian.AppendUint64(b, uint64(h.Birth))
	b = binary.BigEndian.AppendUint64(b, uint64(h.ToTime))
	for _, s := range [...]string{h.Issuer, h.Epoch, string(h.From), string(h.To)} {
		b = append(append(b, byte(len(s))), s...)
	}
	binary.BigEndian.PutUint16(b[start+FramePrefixLen-2:], uint16(len(b)-start))
	return b, nil
}

// check holds for every head, written or read.
func (h *FrameHead) check() error {
	zeroOr := func(ms int64) bool { return ms == 0 || validTime(ms) }
	switch {
	case h.BodyLen < 0 || h.BodyLen > maxFrameLen || h.Count < 0 || h.Count > maxRecords(h.BodyLen):
		return errFrameSize
	case len(h.Issuer) == 0 || len(h.Issuer) > maxIssuerLen || !validName(h.Epoch),
		h.From != "" && !validName(string(h.From)), h.To != "" && !validName(string(h.To)),
		!zeroOr(h.AsOf), !zeroOr(h.Birth), !zeroOr(h.ToTime), (h.ToTime == 0) != (h.To == ""),
		h.Age < 0 || h.Age > maxFrameAge:
		return errFrameForm
	case h.Full && (h.From != "" || (h.Count == 0) != (h.To == "")),
		!h.Full && (h.From == "" || (h.Count == 0) != (h.To == h.From)):
		return errFrameForm
	}
	return nil
}

// maxRecords bounds how many records a body may hold, and so what reading it allocates. A record with an entry has some 20 bytes at least;
// heartbeats are shorter, but a horizon has not many of them.
func maxRecords(bodyLen int) int { return 4096 + bodyLen/16 }

// validName reports whether s can be an epoch or a position of a feed: 1 to 64 characters of visible ASCII without '~', which separates the parts of a
// [Cursor].
func validName(s string) bool {
	if len(s) == 0 || len(s) > maxNameLen {
		return false
	}
	for i := range len(s) {
		if !nameChar(s[i]) {
			return false
		}
	}
	return true
}

func nameChar(c byte) bool { return ' ' < c && c < '~' }

// FrameHeadLen returns how many bytes head and signature of a frame have together, by its first FramePrefixLen bytes. Who reads a frame from
// a stream learns by it how much to read next. It is never more than 668.
func FrameHeadLen(prefix []byte) (int, error) {
	n := min(len(prefix), len(FrameType))
	switch {
	case string(prefix[:n]) != FrameType[:n]:
		return 0, errFrameType
	case len(prefix) < FramePrefixLen:
		return 0, errFrameShort
	case prefix[n] != frameVersion:
		return 0, errFrameVersion
	}
	size := int(binary.BigEndian.Uint16(prefix[FramePrefixLen-2:]))
	if size < frameFixedLen || size > maxHeadLen {
		return 0, errFrameForm
	}
	return size + frameSignatureLen, nil
}

// parseFrameHead reads a head of at least frameFixedLen bytes whose prefix has been looked at.
func parseFrameHead(b []byte) (*FrameHead, error) {
	flags := b[FramePrefixLen-3]
	if flags&^frameFull != 0 {
		return nil, errFrameForm
	}
	h := &FrameHead{Full: flags&frameFull != 0}
	b = b[FramePrefixLen:]
	b = b[copy(h.KeyID[:], b):]
	b = b[copy(h.Nonce[:], b):]
	b = b[copy(h.BodySum[:], b):]
	u32, u64 := binary.BigEndian.Uint32, binary.BigEndian.Uint64
	h.BodyLen = int(min(u32(b), maxFrameLen+1))
	h.Count = int(min(u32(b[4:]), maxFrameLen+1))
	h.AsOf = int64(u64(b[8:]))
	h.Age = time.Duration(u32(b[16:])) * time.Millisecond
	h.Birth = int64(u64(b[20:]))
	h.ToTime = int64(u64(b[28:]))
	b = b[36:]
	var from, to string
	for _, s := range [...]*string{&h.Issuer, &h.Epoch, &from, &to} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return nil, errFrameForm
		}
		*s = string(b[1 : 1+int(b[0])])
		b = b[1+len(*s):]
	}
	h.From, h.To = Position(from), Position(to)
	if len(b) != 0 {
		return nil, errFrameForm
	}
	return h, h.check()
}

// A Frame is one answer of a feed. A [FrameReader] makes it, and then it is authentic, the answer to what was asked, and in line with what was read before.
type Frame struct {
	FrameHead
	Permanent []Entry  // if Full: the entries that never expire
	Records   []Record // in the order of the log; their entries are views on the body
}

// Batch returns the frame as what a [Source] read.
func (f Frame) Batch() Batch {
	b := Batch{Full: f.Full, Records: f.Records, Age: f.Age, Checked: !f.Full}
	if f.Full {
		b.Epoch, b.Birth, b.Permanent = f.Epoch, f.Birth, f.Permanent
	}
	return b
}
