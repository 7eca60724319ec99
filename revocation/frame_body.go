package revocation

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// The first byte of an item of a body: what it is and what follows.
const (
	itemEntry      = 1 << iota // one byte of length and a binary entry
	itemPermanent              // the entry is one that never expires, and the item is no record
	itemAbsolute               // the time is not counted from the record before, and the predecessor is named
	itemTimed                  // the position is the time, '-', and a number, of which only the number is sent
	itemReplicated             // how much older the record is that the replicas have
	itemEpoch                  // the first record of an epoch

	itemKnown = 1<<iota - 1
)

// maxPermanent bounds the permanent entries of a frame.
const maxPermanent = 1 << 16

var (
	errBodyFull   = errors.New("revocation: more permanent entries than a frame can carry")
	errBodyOrder  = errors.New("revocation: a frame has what is permanent before its records")
	errBodyRecord = errors.New("revocation: record that no frame can carry")
)

// A FrameBody is what a frame carries: first the permanent entries, then records. The zero value is empty and ready for use. It only grows, so
// that what [FrameBody.Bytes] returned stays valid; bodies of records may be joined by appending the bytes of one to those of another. It is not
// safe for concurrent use.
//
// The body is a row of items. Each begins with a byte of flags, and then has, as the flags say:
//
//	absolute 4  uvarint       the time, Unix ms         not set: varint, the time less that of the record before
//	            text          the record's predecessor  not set: the record before is its predecessor
//	timed    8  uvarint n     the position is <time>-n  not set: text, the position
//	replicated 16  varint     the time less the replicated time
//	epoch   32  text
//	entry    1  text          none: the record is a heartbeat
//
// A text is one byte of length and that many bytes. uvarint is the variable-length integer of Protocol Buffers (uint64), varint the same with zigzag
// (sint64), both in their shortest form. An item with the flags permanent (2) and entry has nothing but the entry and precedes all records.
type FrameBody struct {
	b         []byte
	permanent int
	count     int
	at        Position // of the last record
	time      int64
}

// Bytes returns the body so far.
func (f *FrameBody) Bytes() []byte { return f.b }

// Count returns the number of records so far.
func (f *FrameBody) Count() int { return f.count }

// AddPermanent adds an entry that never expires, to be known whether or not it is among the records.
func (f *FrameBody) AddPermanent(e Entry) error {
	if f.count > 0 {
		return errBodyOrder
	}
	if f.permanent == maxPermanent {
		return errBodyFull
	}
	var buf [MaxEntryLen]byte
	raw := buf[:0]
	var err error
	switch {
	case e.known():
		raw, err = e.AppendBinary(raw)
	case e.Kind == 0 || !validTime(e.At):
		err = errEntryTime
	default: // of a newer version: what makes verifiers ask is kind and time
		raw = binary.BigEndian.AppendUint64(append(raw, byte(e.Kind)), uint64(e.At))
	}
	if err != nil {
		return err
	}
	f.b = appendText(append(f.b, itemPermanent|itemEntry), raw)
	f.permanent++
	return nil
}

// AddRecord adds a record. It refuses one whose position, predecessor or epoch is not of 1 to 64 characters of visible ASCII without '~' (but the first record of a
// log has no predecessor), whose times are none, or whose entry is longer than MaxEntryLen.
func (f *FrameBody) AddRecord(r Record) error {
	if !validName(string(r.Position)) || r.Prev != "" && !validName(string(r.Prev)) || r.Epoch != "" && !validName(r.Epoch) ||
		!validTime(r.Time) || r.Replicated != 0 && !validTime(r.Replicated) || len(r.Entry) > MaxEntryLen {
		return errBodyRecord
	}
	start := len(f.b)
	b := append(f.b, 0)
	var flags byte
	if f.count == 0 || r.Prev != f.at {
		flags |= itemAbsolute
		b = binary.AppendUvarint(b, uint64(r.Time))
		b = appendText(b, []byte(r.Prev))
	} else {
		b = binary.AppendVarint(b, r.Time-f.time)
	}
	if n, ok := timedPosition(r.Position, r.Time); ok {
		flags |= itemTimed
		b = binary.AppendUvarint(b, n)
	} else {
		b = appendText(b, []byte(r.Position))
	}
	if r.Replicated != 0 {
		flags |= itemReplicated
		b = binary.AppendVarint(b, r.Time-r.Replicated)
	}
	if r.Epoch != "" {
		flags |= itemEpoch
		b = appendText(b, []byte(r.Epoch))
	}
	if len(r.Entry) > 0 {
		flags |= itemEntry
		b = appendText(b, r.Entry)
	}
	b[start] = flags
	f.b, f.at, f.time = b, r.Position, r.Time
	f.count++
	return nil
}

func appendText(b, text []byte) []byte { return append(append(b, byte(len(text))), text...) }

// timedPosition returns n if p is spelled <time>-<n>, as the IDs of a Redis stream are.
func timedPosition(p Position, time int64) (n uint64, ok bool) {
	ms, seq, ok := strings.Cut(string(p), "-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return 0, false
	}
	var buf [maxNameLen]byte
	b := strconv.AppendInt(buf[:0], time, 10)
	return n, string(b) == ms && string(strconv.AppendUint(b[:0], n, 10)) == seq
}

// bodyScanner reads a body. Its first failure makes every later read one.
type bodyScanner struct {
	b      []byte
	failed bool
}

func (s *bodyScanner) byte() byte {
	if len(s.b) == 0 {
		s.failed = true
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

// text returns a view.
func (s *bodyScanner) text(limit int) []byte {
	n := int(s.byte())
	if n > limit || n > len(s.b) {
		s.failed = true
		return nil
	}
	t := s.b[:n:n]
	s.b = s.b[n:]
	return t
}

// name returns a view on a text that is a valid name.
func (s *bodyScanner) name() []byte {
	t := s.text(maxNameLen)
	s.check(t)
	return t
}

// check fails the scanner unless t is a valid name.
func (s *bodyScanner) check(t []byte) {
	s.failed = s.failed || len(t) == 0
	for _, c := range t {
		s.failed = s.failed || !nameChar(c)
	}
}

func (s *bodyScanner) uvarint() uint64 {
	n, size := binary.Uvarint(s.b)
	if size <= 0 || size > 1 && s.b[size-1] == 0 { // a last byte of zero adds nothing: not the shortest form
		s.failed = true
		return 0
	}
	s.b = s.b[size:]
	return n
}

func (s *bodyScanner) varint() int64 {
	u := s.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// parseFrameBody reads the body of a frame with that head and holds the one against the other. What it allocates is bounded by the length of the body.
func parseFrameBody(h *FrameHead, body []byte) (Frame, error) {
	f := Frame{FrameHead: *h}
	if h.Count > 0 {
		f.Records = make([]Record, h.Count)
	}
	// The texts of all positions become strings at once, in link. Until then they are here, and how long each is.
	var p positions
	p.text, p.spans = make([]byte, 0, 16*h.Count), make([]span, h.Count)
	s := bodyScanner{b: body}
	at := 0
	for len(s.b) > 0 {
		if s.b[0]&itemPermanent == 0 {
			if at == h.Count {
				return Frame{}, errFrameForm
			}
			s.record(&f.Records[at], &p, at)
			at++
		} else if e, ok := s.permanent(); ok && at == 0 && h.Full && len(f.Permanent) < maxPermanent {
			f.Permanent = append(f.Permanent, e)
		} else {
			return Frame{}, errFrameForm
		}
		if s.failed {
			return Frame{}, errFrameForm
		}
	}
	if at != h.Count || !f.link(&p) {
		return Frame{}, errFrameForm
	}
	return f, nil
}

// permanent reads an item that is no record.
func (s *bodyScanner) permanent() (Entry, bool) {
	flags := s.byte()
	e, err := ParseEntry(s.text(MaxEntryLen))
	return e, err == nil && flags == itemPermanent|itemEntry
}

// positions are the positions of the records read so far.
type positions struct {
	text  []byte
	spans []span
	time  int64 // of the last record
}

// span is the length of a position's text, and whether its predecessor was named.
type span struct {
	len   uint8
	named bool
}

// record reads a record, but for its position, which goes to p, and for its predecessor, unless it is named.
func (s *bodyScanner) record(r *Record, p *positions, at int) {
	flags := s.byte()
	start := len(p.text)
	if flags&itemAbsolute != 0 {
		p.time = int64(s.uvarint())
		if prev := s.text(maxNameLen); len(prev) > 0 {
			s.check(prev)
			r.Prev = Position(prev)
		}
	} else {
		p.time += s.varint()
	}
	r.Time = p.time
	if flags&itemTimed != 0 {
		p.text = append(strconv.AppendInt(p.text, p.time, 10), '-')
		p.text = strconv.AppendUint(p.text, s.uvarint(), 10)
	} else {
		p.text = append(p.text, s.name()...)
	}
	p.spans[at] = span{uint8(len(p.text) - start), flags&itemAbsolute != 0}
	if flags&itemReplicated != 0 {
		r.Replicated = p.time - s.varint()
		s.failed = s.failed || !validTime(r.Replicated)
	}
	if flags&itemEpoch != 0 {
		r.Epoch = string(s.name())
	}
	if flags&itemEntry != 0 {
		r.Entry = s.text(MaxEntryLen)
		s.failed = s.failed || len(r.Entry) == 0
	}
	if flags&^itemKnown != 0 || !validTime(p.time) || at == 0 && flags&itemAbsolute == 0 {
		s.failed = true
	}
}

// link gives every record its position and its predecessor, and reports whether they are what the head says.
func (f *Frame) link(p *positions) bool {
	if len(f.Records) == 0 {
		return true // then the head agrees with itself
	}
	text, prev := string(p.text), f.From
	for i := range f.Records {
		r, n := &f.Records[i], p.spans[i]
		r.Position, text = Position(text[:n.len]), text[n.len:]
		if !n.named {
			r.Prev = prev
		}
		// A part that does not hang together is none; in the whole a reader has to see the holes that the log has.
		if !f.Full && (r.Prev != prev || r.Epoch != "" && r.Epoch != f.Epoch) {
			return false
		}
		prev = r.Position
	}
	last := &f.Records[len(f.Records)-1]
	ok := last.Position == f.To && last.Time == f.ToTime
	last.Position = f.To // who keeps it does not keep the texts of all the others
	return ok
}
