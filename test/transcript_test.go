package test_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/rivulet-rt/rivulet/protocol"
)

// transcript is what a client was told, in order: the data of messages, "lost:"
// and a reason where it came back and history was gone, "gap:" and a reason where
// it went while the client was subscribed.
type transcript []string

func (s *transcript) add(what string) { *s = append(*s, what) }

func (s transcript) String() string { return strings.Join(s, " ") }

// numbers is a transcript of messages with the numbers from first to last.
func numbers(first, last int) string {
	var s transcript
	for n := first; n <= last; n++ {
		s.add(fmt.Sprint(n))
	}
	return s.String()
}

// lastLoss cuts a transcript at the last word of a loss.
func (s transcript) lastLoss() (reason, before, after string) {
	for i, what := range slices.Backward(s) {
		if kind, reason, found := strings.Cut(what, ":"); found && (kind == "lost" || kind == "gap") {
			return reason, s[:i].String(), s[i+1:].String()
		}
	}
	return "", s.String(), ""
}

// words joins parts of a transcript.
func words(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

// comeBack resumes a channel at a position over WebSocket, SSE and history, and
// returns what each was told: until it had caught up and whole said that it was all,
// since a message that was stored a moment ago may come live.
func (s *site) comeBack(channel, position string, whole func(transcript) bool) map[string]transcript {
	s.t.Helper()
	f := s.socket().follow(protocol.SubscribeCommand{Channel: channel, Position: position})
	e := s.events("channel="+url.QueryEscape(channel), position)
	for _, client := range []*follower{f, &e.follower} {
		client.catchUp()
		for !whole(client.seen) {
			client.take()
		}
		client.close()
	}
	return map[string]transcript{"WebSocket": f.seen, "SSE": e.seen, "history": s.history(channel, position)}
}

// expect resumes where nothing is gone and compares.
func (s *site) expect(what, channel, position, want string) {
	s.t.Helper()
	whole := func(seen transcript) bool { return len(seen) >= len(strings.Fields(want)) }
	for transport, got := range s.comeBack(channel, position, whole) {
		if got.String() != want {
			s.t.Errorf("%s: coming back to %s over %s\n got %s\nwant %s", what, channel, transport, got, want)
		}
	}
}

// expectGone resumes where history is gone for reason: want is what the log still
// has. A node may give of what is gone what it has at hand, and say then that
// there is a hole; not so of what was purged.
func (s *site) expectGone(what, channel, position, reason, want string) {
	s.t.Helper()
	whole := func(seen transcript) bool {
		_, _, after := seen.lastLoss()
		return len(strings.Fields(after)) >= len(strings.Fields(want))
	}
	for transport, got := range s.comeBack(channel, position, whole) {
		told, before, after := got.lastLoss()
		if told != reason || after != want || before != "" && reason == protocol.ReasonPurged {
			s.t.Errorf("%s: coming back to %s over %s\n got %s\nwant that what was before is gone for %s, then %s", what, channel, transport, got, reason, want)
		}
	}
}
