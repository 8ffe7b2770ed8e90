package rivulet_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/protocol"
)

// entry is a message.
type entry struct {
	seq     uint64
	channel string
	data    int
}

// modelLog is a stream that several channels share.
type modelLog struct {
	key     string
	entries []*entry
	last    uint64
	trimmed uint64 // everything up to here is gone
	epoch   int
}

func (l *modelLog) position(seq uint64) string {
	return fmt.Sprintf("%s%03d-%s-zz", l.key, l.epoch, strconv.FormatUint(seq, 36))
}

// offset of a position of this very log; ok is false for one of another.
func (l *modelLog) offset(position string) (seq uint64, ok bool) {
	if head, _, _ := strings.Cut(l.position(0), "-"); !strings.HasPrefix(position, head+"-") {
		return 0, false
	}
	return protocol.PositionOffset(position)
}

// modelCursor is where a subscription is in one stream.
type modelCursor struct {
	log       *modelLog
	start, at uint64
	epoch     int
}

// modelSub is one subscription of a connection.
type modelSub struct {
	channel string
	cursors []*modelCursor
	// delivered is what it has had, skip what it must not, for others have.
	delivered, skip map[*entry]bool
	brought         bool // the token names it, and nobody asked for it
	behind          bool // it asked for history and was not told that it caught up
}

func (s *modelSub) pattern() bool           { return strings.ContainsAny(s.channel, "*>") }
func (s *modelSub) covers(name string) bool { return modelCovers(s.channel, name) }
func (s *modelSub) where() (places []string) {
	for _, c := range s.cursors {
		places = append(places, c.log.position(c.at))
	}
	return places
}

// modelCovers is the grammar of patterns, written apart from the client's.
func modelCovers(pattern, name string) bool {
	p, n := strings.FieldsFunc(pattern, isCut), strings.FieldsFunc(name, isCut)
	for i := range p {
		switch {
		case p[i] == ">":
			return len(n) > i
		case i >= len(n) || p[i] != "*" && p[i] != n[i]:
			return false
		}
	}
	return len(p) == len(n)
}

func isCut(r rune) bool { return r == ':' || r == '.' }

// begin says where in the log a subscription begins, and why not where it asked to.
func (s *modelSub) begin(l *modelLog, asked []string, last int) (at uint64, reason string) {
	at = l.last
	for _, p := range asked {
		if !strings.HasPrefix(p, l.key) {
			continue
		}
		switch seq, ok := l.offset(p); {
		case !ok:
			at, reason = 0, protocol.ReasonLogChanged
		case seq < l.trimmed:
			at, reason = l.trimmed, protocol.ReasonRetention
		default:
			at = seq
		}
	}
	for _, e := range slices.Backward(l.entries) {
		if last > 0 && s.covers(e.channel) {
			at = e.seq - 1
			last--
		}
	}
	return at, reason
}

// places are those of an event: one of a channel, all of a pattern.
func (s *modelSub) places() (one string, many []string) {
	if s.pattern() {
		return "", s.where()
	}
	return s.where()[0], nil
}

func TestModelOfLogsThatLose(t *testing.T) {
	play(t, modelKind{names: modelNames, losses: true, last: 5}, func(w *modelWorld) []string {
		return w.complete(false, true)
	})
}
