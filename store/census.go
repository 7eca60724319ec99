package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/revocation"
)

const (
	maxFollowers    = 4096 // that report; another one is refused, and none is dropped for it
	maxFollowerName = 160
	maxAge          = 24 * time.Hour // of what is reported: nobody looks back so far
)

// ErrNoRoom is the [revocation.ErrNoRoom] of this log, see [Redis.Report].
var ErrNoRoom = fmt.Errorf("store: report: %w", revocation.ErrNoRoom)

// Report implements [revocation.Reporter]. At most 4096 followers are kept; for one more it returns [ErrNoRoom].
func (s *Redis) Report(ctx context.Context, follower string, at revocation.Position, age time.Duration) error {
	return s.log.Report(ctx, follower, at, age)
}

// Report implements revocation.Reporter, as [Redis.Report] does. The Redis user needs the rights for it; see the package comment.
func (l *LogReader) Report(ctx context.Context, follower string, at revocation.Position, age time.Duration) error {
	if err := checkFollower(follower); err != nil {
		return err
	}
	if at != "" && !isStreamID(string(at)) {
		return errors.New("store: report: not a position of this log")
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	rep, err := runOn(ctx, sender(l.client), reportScript, false, []string{l.keys.edges()},
		follower, string(at), revocation.Live.Milliseconds(), maxFollowers, min(age.Abs(), maxAge).Milliseconds())
	if err != nil {
		return err
	}
	switch rep.at(0) {
	case int64(1):
		return nil
	case int64(0):
		return ErrNoRoom
	}
	return errors.New("store: report: Redis answered something that is no answer to this step")
}

// checkFollower says why a name cannot be a follower's: whatever stands in the log's census, programs and people read.
func checkFollower(name string) error {
	ok := name != "" && len(name) <= maxFollowerName
	for i := range len(name) {
		ok = ok && name[i] > ' ' && name[i] <= '~'
	}
	if !ok {
		return fmt.Errorf("store: report: a follower's name has 1 to %d printable ASCII characters, and no spaces", maxFollowerName)
	}
	return nil
}

// Followers implements revocation.Census.
func (s *Redis) Followers(ctx context.Context) ([]revocation.Progress, error) {
	list, _, err := s.followers(ctx, "", nil)
	return list, err
}

// Holding implements revocation.Census.
func (s *Redis) Holding(ctx context.Context, at revocation.Position, e revocation.Entry) ([]revocation.Progress, bool, error) {
	raw, err := e.AppendBinary(nil)
	if err != nil {
		return nil, false, fmt.Errorf("store: followers: %w", err)
	}
	return s.followers(ctx, at, raw)
}

func (s *Redis) followers(ctx context.Context, at revocation.Position, entry []byte) ([]revocation.Progress, bool, error) {
	if !isStreamID(string(at)) {
		at = "" // which holds nothing
	}
	rep, err := s.run(ctx, followersScript, false, []string{s.keys.edges(), s.keys.log()}, revocation.Live.Milliseconds(), string(at), entry)
	if err != nil {
		return nil, false, err
	}
	if len(rep)%4 != 1 {
		return nil, false, errors.New("store: followers: Redis answered something that is no answer to this step")
	}
	list := make([]revocation.Progress, 0, len(rep)/4)
	for i := 1; i < len(rep); i += 4 {
		list = append(list, revocation.Progress{
			Follower: rep.string(i),
			Position: revocation.Position(rep.string(i + 1)),
			Silent:   time.Duration(rep.int(i+2)) * time.Millisecond,
			Apart:    rep.int(i+3) != 1,
		})
	}
	slices.SortFunc(list, func(a, b revocation.Progress) int { return strings.Compare(a.Follower, b.Follower) })
	return list, rep.int(0) == 1, nil
}

// Before implements revocation.Census. What is no position counts as the start of the log: it confirms nothing.
func (s *Redis) Before(a, b revocation.Position) bool {
	ams, aseq := place(a)
	bms, bseq := place(b)
	return cmp.Or(cmp.Compare(ams, bms), cmp.Compare(aseq, bseq)) < 0
}

func place(p revocation.Position) (ms, seq uint64) {
	if !isStreamID(string(p)) {
		return 0, 0
	}
	left, right, _ := strings.Cut(string(p), "-")
	ms, _ = strconv.ParseUint(left, 10, 64)
	seq, _ = strconv.ParseUint(right, 10, 64)
	return ms, seq
}
