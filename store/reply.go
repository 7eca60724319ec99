package store

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/revocation"
)

var (
	errReply = errors.New("store: read: Redis answered something that is no answer to this step")
	errID    = errors.New("store: read: an ID of the log is not a time")
	errAcked = errors.New("store: read: what the replicas have is not a time")
)

// serverError is an error that Redis answered, where go-redis passes the answer on as it came.
type serverError string

func (e serverError) Error() string { return string(e) }
func (serverError) RedisError()     {}

// parseRecords returns the records in a raw answer to XRANGE. go-redis would make a map of each, which is ten allocations for a record; here
// they share a few for all of them. Nothing of the answer is kept.
func parseRecords(raw []byte) ([]revocation.Record, error) {
	p := replyParser{rest: raw}
	n := p.list()
	if p.err != nil {
		return nil, p.err
	}
	if n > len(raw)/8 { // an element has more bytes than that
		return nil, errReply
	}
	rs := make([]revocation.Record, 0, n)
	ids := make([]byte, 0, 20*n) // text of all positions, one behind the other,
	ends := make([]int, 0, n)    // and where each ends
	var entries []byte           // bytes of entries, some of whose room is left
	var last []byte              // the position before
	for range n {
		if p.list() != 2 {
			return nil, errReply
		}
		id := p.bulk()
		fields := p.list()
		if p.err != nil || fields < 0 || fields%2 != 0 {
			return nil, errReply
		}
		r := revocation.Record{Time: timeOf(string(id))}
		if r.Time == 0 || !isStreamID(string(id)) {
			return nil, errID
		}
		for range fields / 2 {
			name, value := p.bulk(), p.bulk()
			if p.err != nil {
				return nil, errReply
			}
			switch string(name) {
			case "r":
				if len(value) > 0 {
					if cap(entries)-len(entries) < len(value) { // what is full belongs to the records in it
						entries = make([]byte, 0, max(24*(n-len(ends)), len(value)))
					}
					at := len(entries)
					entries = append(entries, value...)
					r.Entry = entries[at:len(entries):len(entries)]
				}
			case "p":
				switch {
				case string(value) == "0-0":
				case bytes.Equal(value, last):
					r.Prev = chained
				default:
					r.Prev = revocation.Position(value)
				}
			case "e":
				r.Epoch = string(value)
			case "a":
				acked, err := strconv.ParseInt(string(value), 10, 64)
				if err != nil || acked < 1 {
					return nil, errAcked
				}
				r.Replicated = acked
			}
		}
		ids = append(ids, id...)
		ends = append(ends, len(ids))
		last = id
		rs = append(rs, r)
	}
	if p.err != nil || len(p.rest) != 0 {
		return nil, errReply
	}
	text, from := string(ids), 0
	for i, end := range ends {
		r := &rs[i]
		r.Position = revocation.Position(text[from:end])
		if r.Prev == chained {
			r.Prev = rs[i-1].Position
		}
		from = end
	}
	if n > 0 { // the one that a follower keeps does not keep the others
		r := &rs[len(rs)-1]
		r.Position = revocation.Position(strings.Clone(string(r.Position)))
	}
	return rs, nil
}

// chained stands for the position of the record before, until that has one. It is no position.
const chained = "\x00"

// replyParser reads an answer in Redis' protocol. After the first thing that is not as expected err is set, and what it returns is empty.
type replyParser struct {
	rest []byte
	err  error
}

// line reads up to the end of a line whose first byte is the given one.
func (p *replyParser) line(kind byte) int {
	if p.err != nil {
		return 0
	}
	line, rest, ok := bytes.Cut(p.rest, []byte("\r\n"))
	if ok && len(line) > 0 && line[0] == '-' {
		p.err = serverError(line[1:])
		return 0
	}
	if !ok || len(line) < 2 || line[0] != kind {
		p.err = errReply
		return 0
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < 0 {
		p.err = errReply
		return 0
	}
	p.rest = rest
	return n
}

// list reads the head of a list and returns its length.
func (p *replyParser) list() int { return p.line('*') }

// bulk reads a string.
func (p *replyParser) bulk() []byte {
	n := p.line('$')
	if p.err == nil && (n > len(p.rest)-2 || p.rest[n] != '\r' || p.rest[n+1] != '\n') {
		p.err = errReply
	}
	if p.err != nil {
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n+2:]
	return b
}
