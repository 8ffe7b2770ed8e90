package demo_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/demo"
	"github.com/rivulet-rt/rivulet/fanout"
)

// stage is an audience that comes and goes, and a log that may be away.
type stage struct {
	mu       sync.Mutex // guards the following
	watchers int
	down     bool
	asked    []string // keys of all publishes
	stored   []*fanout.Publication
	times    []time.Time
}

func (s *stage) set(watchers int, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers, s.down = watchers, down
}

func (s *stage) list() []*fanout.Publication {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored
}

func (s *stage) Clients(_ context.Context, c fanout.Channel) (int, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.String() != demo.FeedChannel {
		return 0, false, errors.New("another channel")
	}
	return s.watchers, false, nil
}

func (s *stage) Publish(_ context.Context, p *fanout.Publication) (fanout.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, p.Key)
	if s.down {
		return fanout.Receipt{}, fanout.ErrUnavailable
	}
	s.stored, s.times = append(s.stored, p), append(s.times, time.Now())
	return fanout.Receipt{}, nil
}

type played struct {
	Run                              string
	N                                int
	Project, Commit, Author, Subject string
	Time                             int64
}

func decode(t testing.TB, list []*fanout.Publication) []played {
	t.Helper()
	out := make([]played, len(list))
	for i, p := range list {
		if err := json.Unmarshal(p.Data, &out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// newStage has a feed on it, which ends with the test.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{}
	feed, err := demo.NewFeed(s, s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	feed.Start(t.Context())
	t.Cleanup(func() {
		if err := errors.Join(feed.Stop(t.Context()), feed.Stop(t.Context())); err != nil {
			t.Error(err)
		}
		n := len(s.list())
		pass(time.Minute)
		if len(s.list()) != n {
			t.Error("played after Stop")
		}
	})
	return s
}

// pass lets the time of the bubble go on.
func pass(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // the bubble's clock

func TestFeedPlaysOnlyWhileWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		pass(time.Hour)
		if n := len(s.asked); n > 0 {
			t.Fatalf("%d events for nobody", n)
		}
		s.set(1, false)
		pass(3 * time.Second)
		if len(s.list()) == 0 {
			t.Fatal("nothing in three seconds of being watched")
		}
		s.set(0, false)
		pass(11 * time.Second) // it lingers
		n := len(s.list())
		pass(time.Hour)
		if more := len(s.list()) - n; more > 0 {
			t.Errorf("%d more when everybody had gone", more)
		}
		s.set(2, false)
		pass(3 * time.Second)
		if len(s.list()) == n {
			t.Error("it does not begin again")
		}
	})
}

func TestFeedIsNumberedAndPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.set(1, false)
		pass(10 * time.Minute)
		list := decode(t, s.list())
		if len(list) < 900 || len(list) > 4000 {
			t.Errorf("%d events in ten minutes", len(list))
		}
		loops := 0
		for i, e := range list {
			if e.N != i+1 || e.Run == "" || e.Run != list[0].Run {
				t.Fatalf("event %d is the %d-th of %q", i+1, e.N, e.Run)
			}
			if e.Project == "" || e.Commit == "" || e.Author == "" || e.Subject == "" || e.Time == 0 {
				t.Errorf("event %d lacks something: %+v", i+1, e)
			}
			if strings.ContainsRune(e.Subject+e.Author, '@') {
				t.Errorf("event %d may have an address in it: %q", i+1, e.Subject)
			}
			if i > 0 {
				if e.Commit == list[0].Commit {
					loops++
				}
				if gap := s.times[i].Sub(s.times[i-1]); gap < 100*time.Millisecond || gap > time.Second {
					t.Errorf("%v between two events", gap)
				}
			}
		}
		if loops == 0 {
			t.Error("it never began anew")
		}
		for _, p := range s.list() {
			if p.TTL <= 0 || p.TTL > time.Hour {
				t.Fatalf("an event is kept for %v", p.TTL)
			}
		}
	})
}

// What failed is tried again under its key, so that no number is missing.
func TestFeedWhileTheLogIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.set(1, false)
		pass(5 * time.Second)
		before := len(s.list())
		s.set(1, true)
		pass(20 * time.Second)
		s.set(1, false)
		pass(5 * time.Second)
		list := decode(t, s.list())
		if len(list) == before {
			t.Fatal("nothing after the log came back")
		}
		for i, e := range list {
			if e.N != i+1 || e.Run != list[0].Run {
				t.Fatalf("event %d is the %d-th of %q", i+1, e.N, e.Run)
			}
		}
		tries := map[string]int{}
		for _, key := range s.asked {
			tries[key]++
		}
		if n := len(tries); n != len(list) {
			t.Errorf("%d keys for %d events", n, len(list))
		}
	})
}

// Nobody knows about an event that could not be stored for long: the numbers begin anew.
func TestFeedGivesUpOnAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.set(1, false)
		pass(5 * time.Second)
		s.set(1, true)
		pass(90 * time.Second)
		s.set(1, false)
		pass(5 * time.Second)
		list := decode(t, s.list())
		first, last := list[0], list[len(list)-1]
		if first.Run == last.Run {
			t.Fatal("the same run goes on")
		}
		for i, e := range list[1:] {
			if before := list[i]; e.Run == before.Run && e.N != before.N+1 || e.Run != before.Run && e.N != 1 {
				t.Errorf("%d of %q follows %d of %q", e.N, e.Run, before.N, before.Run)
			}
		}
	})
}
