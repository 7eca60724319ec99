package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/counterfoil/counterfoil"
)

// fieldPrefix begins the names of application fields in a record.
const fieldPrefix = "f:"

// Load implements counterfoil.Store, in one round trip; the first load that comes with a new generation takes a second one to confirm it.
//
// It runs no script, which would cost Redis several times what it reads. It sends two reads on one connection, the record's and then that of the
// subject's not-before, and what it answers is the session as it was at the first: the record was there, so neither its idle nor its absolute
// life was over, and as a not-before only grows, one that does not hit the session at the second read did not hit it at the first. The other
// way round a session could be ended with all of its subject's between the two and be answered as alive.
func (s *Redis) Load(ctx context.Context, ref counterfoil.Ref) (counterfoil.Record, error) {
	if !belongs(ref.Session, ref.Subject) {
		return counterfoil.Record{}, counterfoil.ErrNotFound
	}
	bounded := s.until(ctx)
	defer bounded.Release()
	session, notBefore := s.keys.both(ref)
	keys := []string{session, notBefore}
	f, err := s.look(bounded, keys, ref)
	if err != nil {
		return counterfoil.Record{}, err
	}
	if ref.Generation != 0 && ref.Generation == f.Generation && !f.confirmed && !f.Frozen {
		rep, err := s.run(bounded, confirmScript, false, keys, ref.Session.String(), ref.Subject, ref.Generation)
		if err == nil {
			err = codeError(rep)
		}
		if err != nil {
			return counterfoil.Record{}, err
		}
	}
	return f.Record, nil
}

// found is a record as it was found.
type found struct {
	counterfoil.Record
	own       string // the ID that it says it has
	confirmed bool   // its generation is known to have arrived
}

// look reads a record and its subject's not-before and decides whether the session lives: as live in head.lua does, but by the presence of the
// record in place of the clock.
func (s *Redis) look(ctx context.Context, keys []string, ref counterfoil.Ref) (found, error) {
	record, notBefore := redis.NewRawCmd(ctx, "hgetall", keys[0]), redis.NewRawCmd(ctx, "get", keys[1])
	if err := s.sendReads(ctx, record, notBefore); err != nil {
		return found{}, fmt.Errorf("store: load: %w", err)
	}
	f, n, ok := parseRecord(record.Val(), ref), int64(0), true
	if f.Fields != nil {
		n, ok = parseNotBefore(notBefore.Val())
	}
	if f.Fields == nil || !ok { // an error, a redirection, or something else that go-redis knows how to deal with
		return s.lookAgain(ctx, keys, ref)
	}
	return f, f.judge(ref, n)
}

// lookAgain is look by commands whose replies go-redis understands, so that it follows redirections and repeats what can be repeated.
func (s *Redis) lookAgain(ctx context.Context, keys []string, ref counterfoil.Ref) (found, error) {
	record, notBefore := redis.NewMapStringStringCmd(ctx, "hgetall", keys[0]), redis.NewStringCmd(ctx, "get", keys[1])
	err := s.sendReads(ctx, record, notBefore)
	if err == nil {
		err = record.Err()
	}
	switch {
	case redis.HasErrorPrefix(err, "WRONGTYPE"): // what is under the key is no session
		return found{}, counterfoil.ErrNotFound
	case err != nil:
		return found{}, fmt.Errorf("store: load: %w", err)
	}
	f := found{Record: counterfoil.Record{Session: ref.Session, Fields: make(map[string][]byte, len(record.Val()))}}
	for name, value := range record.Val() {
		f.note(name, []byte(value))
	}
	var n int64
	switch text, err := notBefore.Result(); {
	case errors.Is(err, redis.Nil):
	case err != nil:
		return found{}, fmt.Errorf("store: load: not-before: %w", err)
	default:
		if n, err = strconv.ParseInt(text, 10, 64); err != nil {
			return found{}, errors.New("store: load: not-before is not a number") // guessing would revive the dead
		}
	}
	return f, f.judge(ref, n)
}

// judge keeps promise 1: absent = dead, and so is a session created at or before its subject's not-before.
func (f *found) judge(ref counterfoil.Ref, notBefore int64) error {
	if f.own != ref.Session.String() || f.Subject != ref.Subject || f.Created <= 0 || f.Expires <= 0 || f.Created <= notBefore {
		*f = found{}
		return counterfoil.ErrNotFound
	}
	return nil
}

// note takes one field of a record in.
func (f *found) note(name string, value []byte) {
	switch name {
	case "id":
		f.own = string(value)
	case "k":
		f.confirmed = string(value) != "0"
	default:
		note(&f.Record, name, value)
	}
}

func note(r *counterfoil.Record, name string, value []byte) {
	switch name {
	case "u":
		r.Subject = string(value)
	case "c":
		r.Created = number(value)
	case "t":
		r.Renewed = number(value)
	case "a":
		r.Expires = number(value)
	case "i":
		r.Idle = time.Duration(number(value)) * time.Millisecond
	case "at":
		r.AuthTime = number(value)
	case "d":
		r.Device = string(value)
	case "g":
		r.Generation = uint64(number(value))
	case "z":
		r.Frozen = true
	default:
		if field, ok := strings.CutPrefix(name, fieldPrefix); ok {
			r.Fields[field] = value
		}
	}
}

// number reads a number of a record; what is none reads as 0, which no step takes for a time.
func number(b []byte) int64 {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// parseRecord reads the reply to HGETALL of either protocol. The fields' values are parts of the reply. Fields is nil if it is anything else.
func parseRecord(reply []byte, ref counterfoil.Ref) found {
	var f found
	kind, n, at := header(reply, 0)
	switch {
	case kind == '*' && n%2 == 0:
		n /= 2
	case kind != '%':
		return found{}
	}
	if n > len(reply)/8 { // the least that a field and its value take, so that a length alone makes nothing grow
		return found{}
	}
	f.Session, f.Fields = ref.Session, make(map[string][]byte, n)
	text := string(reply) // for the names, at once: what Redis holds is small
	for range n {
		name, end := bulk(reply, at)
		if end == 0 {
			return found{}
		}
		begin := end - len("\r\n") - len(name)
		value, next := bulk(reply, end)
		if next == 0 {
			return found{}
		}
		f.note(text[begin:begin+len(name)], value)
		at = next
	}
	return f
}

// parseNotBefore reads the reply to GET; ok is false if it is neither a number nor nothing.
func parseNotBefore(reply []byte) (n int64, ok bool) {
	if string(reply) == "_\r\n" || string(reply) == "$-1\r\n" {
		return 0, true
	}
	text, end := bulk(reply, 0)
	if end == 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, err == nil
}

// bulk returns the string at an offset of a reply, and where it ends; 0 if there is none.
func bulk(reply []byte, at int) ([]byte, int) {
	kind, n, at := header(reply, at)
	if kind != '$' || n > len(reply)-at-len("\r\n") {
		return nil, 0
	}
	return reply[at : at+n : at+n], at + n + len("\r\n")
}

// header reads what begins every part of a reply: its kind and a length, 0 if it is malformed.
func header(reply []byte, at int) (kind byte, n, next int) {
	if at >= len(reply) {
		return 0, 0, 0
	}
	kind = reply[at]
	for at++; at < len(reply) && reply[at] != '\r'; at++ {
		digit := reply[at] - '0'
		if digit > 9 || n > 1<<30 {
			return 0, 0, 0
		}
		n = 10*n + int(digit)
	}
	return kind, n, at + len("\r\n")
}
