package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// worker is a member of a group that keeps what it is offered.
type worker struct {
	fanout.Membership

	mu     sync.Mutex
	refuse bool
	got    []fanout.GroupMessage
	lost   []string
	ended  error
}

func (w *worker) Offer(m fanout.GroupMessage) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse {
		return false
	}
	w.got = append(w.got, m)
	return true
}

func (w *worker) Lost(_ fanout.Position, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = append(w.lost, reason)
}

func (w *worker) Ended(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = err
}

func (w *worker) messages() []fanout.GroupMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]fanout.GroupMessage(nil), w.got...)
}

func (w *worker) count() int { return len(w.messages()) }

func join(t *testing.T, b *broker.Broker, ch, group string, most int, start fanout.Start) (*worker, fanout.Joined) {
	t.Helper()
	w := &worker{}
	m, joined, err := b.JoinGroup(context.Background(), fanout.GroupRequest{
		Channel: channel(t, ch), Group: group, Start: start, MaxInFlight: most, Member: w,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Membership = m
	return w, joined
}

// settled waits for the log's word.
func settled(t *testing.T, do func(done func(error))) error {
	t.Helper()
	done := make(chan error, 1)
	do(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("not answered")
		return nil
	}
}

func ack(t *testing.T, w *worker, token string) error {
	t.Helper()
	return settled(t, func(done func(error)) { w.Ack(token, done) })
}

func groupsConfig(t *testing.T, g broker.GroupConfig) broker.Config {
	t.Helper()
	return config(t, one(func(*broker.NamespaceSpec) {}), func(c *broker.Config) { c.Groups = map[string]broker.GroupConfig{"t": g} })
}

func TestGroupSharesMessages(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{}))
	started(t, b)
	publish(t, b, "t:a", `"before"`)
	one, joined := join(t, b, "t:a", "workers", 2, fanout.Start{})
	two, again := join(t, b, "t:a", "workers", 2, fanout.Start{})
	if joined.Known || !joined.Recovered || !again.Known {
		t.Errorf("joined %+v, then %+v", joined, again)
	}
	publishMany(t, b, "t:a", 0, 10)
	eventually(t, "four messages", func() bool { return one.count()+two.count() == 4 })
	if one.count() != 2 || two.count() != 2 {
		t.Errorf("%d and %d messages, both have room for 2", one.count(), two.count())
	}
	seen := map[uint64]bool{}
	eventually(t, "all ten", func() bool {
		for _, w := range []*worker{one, two} {
			for _, m := range w.messages() {
				if seen[m.Offset()] {
					continue
				}
				seen[m.Offset()] = true
				if m.Attempt != 1 || m.Group != "workers" {
					t.Fatalf("%+v", m)
				}
				if err := ack(t, w, m.Token); err != nil {
					t.Fatal(err)
				}
			}
		}
		return len(seen) == 10
	})
	eventually(t, "an empty group", func() bool {
		info, err := b.Group(context.Background(), channel(t, "t:a"), "workers")
		return err == nil && info.InFlight == 0 && info.Pending == 0
	})
	if n := one.count() + two.count(); n != 10 {
		t.Errorf("%d deliveries of 10 messages", n)
	}
	if err := ack(t, one, one.messages()[0].Token); !errors.Is(err, fanout.ErrToken) {
		t.Errorf("settled twice: %v", err)
	}
}

func TestGroupGivesBack(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{MaxDeliver: 3, Backoff: []time.Duration{time.Millisecond}}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 10, fanout.Start{})
	at := publish(t, b, "t:a", `{"n":1}`)
	for attempt := 1; attempt <= 3; attempt++ {
		eventually(t, fmt.Sprint("attempt ", attempt), func() bool { return w.count() == attempt })
		m := w.messages()[attempt-1]
		if m.Attempt != attempt || m.Offset() != at.Offset {
			t.Fatalf("attempt %d: %+v", attempt, m)
		}
		if err := settled(t, func(done func(error)) { w.Nak(m.Token, -1, "no such customer", done) }); err != nil {
			t.Fatal(err)
		}
	}
	dead := source(t, b, "t:dead-letters.g")
	eventually(t, "a dead letter", func() bool { return len(read(t, b, fanout.Query{Source: dead, Limit: 10}).Messages) == 1 })
	m := read(t, b, fanout.Query{Source: dead, Limit: 10}).Messages[0]
	want := map[string]string{
		"Rivulet-Dead-Reason": "no such customer", "Rivulet-Dead-Channel": "t:a",
		"Rivulet-Dead-Offset": fmt.Sprint(at.Offset), "Rivulet-Dead-Attempts": "3",
	}
	for k, v := range want {
		if m.Headers[k] != v {
			t.Errorf("%s is %q, want %q", k, m.Headers[k], v)
		}
	}
	if string(m.Data) != `{"n":1}` {
		t.Errorf("data %s", m.Data)
	}
	info, err := b.Group(context.Background(), channel(t, "t:a"), "g")
	if err != nil || info.InFlight != 0 || info.Pending != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestGroupTimeIsUp(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{AckWait: 200 * time.Millisecond, MaxDeliver: 2}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	publish(t, b, "t:a", `1`)
	eventually(t, "another attempt", func() bool { return w.count() == 2 })
	if err := ack(t, w, w.messages()[0].Token); !errors.Is(err, fanout.ErrToken) {
		t.Errorf("a token whose time is up: %v", err)
	}
	dead := source(t, b, "t:dead-letters.g")
	eventually(t, "a dead letter", func() bool { return len(read(t, b, fanout.Query{Source: dead, Limit: 10}).Messages) == 1 })
	if reason := read(t, b, fanout.Query{Source: dead, Limit: 10}).Messages[0].Headers["Rivulet-Dead-Reason"]; reason != "max_deliver" {
		t.Errorf("reason %q", reason)
	}
	if w.count() != 2 {
		t.Errorf("%d attempts, want 2", w.count())
	}
}

func TestGroupInProgress(t *testing.T) {
	const wait = time.Second
	b := open(t, groupsConfig(t, broker.GroupConfig{AckWait: wait}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	publish(t, b, "t:a", `1`)
	eventually(t, "the message", func() bool { return w.count() == 1 })
	token, begin := w.messages()[0].Token, time.Now()
	eventually(t, "three times the wait", func() bool {
		if err := settled(t, func(done func(error)) { w.InProgress(token, done) }); err != nil {
			t.Fatal(err)
		}
		return time.Since(begin) > 3*wait
	})
	if err := ack(t, w, token); err != nil {
		t.Error(err)
	}
	if w.count() != 1 {
		t.Errorf("%d attempts, though it was in progress", w.count())
	}
}

func TestGroupMemberLeaves(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{}))
	started(t, b)
	one, _ := join(t, b, "t:a", "g", 5, fanout.Start{})
	publishMany(t, b, "t:a", 0, 5)
	eventually(t, "five messages", func() bool { return one.count() == 5 })
	two, _ := join(t, b, "t:a", "g", 5, fanout.Start{})
	one.Leave()
	one.Leave()
	eventually(t, "the five for the other", func() bool { return two.count() == 5 })
	two.Leave()
	publishMany(t, b, "t:a", 5, 3)
	three, joined := join(t, b, "t:a", "g", 8, fanout.Start{})
	if !joined.Known || !joined.Recovered {
		t.Errorf("%+v", joined)
	}
	eventually(t, "all that nobody settled", func() bool { return three.count() == 8 })
}

func TestGroupSlowMember(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{}))
	started(t, b)
	slow, _ := join(t, b, "t:a", "g", 100, fanout.Start{})
	slow.mu.Lock()
	slow.refuse = true
	slow.mu.Unlock()
	publishMany(t, b, "t:a", 0, 3)
	fast, _ := join(t, b, "t:a", "g", 100, fanout.Start{})
	eventually(t, "what the slow one refused", func() bool { return fast.count() == 3 })
	fast.Leave()
	slow.mu.Lock()
	slow.refuse = false
	slow.mu.Unlock()
	slow.Ready()
	eventually(t, "what the fast one left", func() bool { return slow.count() == 3 })
}

func TestGroupIsDeleted(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{Max: 1}))
	started(t, b)
	ctx, c := context.Background(), channel(t, "t:a")
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	_, _, err := b.JoinGroup(ctx, fanout.GroupRequest{Channel: c, Group: "h", MaxInFlight: 1, Member: &worker{}})
	if !errors.Is(err, fanout.ErrTooMany) {
		t.Errorf("a group too many: %v", err)
	}
	if list, err := b.Groups(ctx, c); err != nil || len(list) != 1 || list[0].Group != "g" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := b.DeleteGroup(ctx, c, "g"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return errors.Is(w.ended, fanout.ErrNoGroup) })
	if err := b.DeleteGroup(ctx, c, "g"); !errors.Is(err, fanout.ErrNoGroup) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := b.Group(ctx, c, "g"); !errors.Is(err, fanout.ErrNoGroup) {
		t.Error(err)
	}
}

// What the log drops before anybody had it is told.
func TestGroupTellsOfLosses(t *testing.T) {
	cfg := config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel = 5 }))
	b := open(t, cfg)
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	publishMany(t, b, "t:a", 0, 20)
	eventually(t, "word of the loss", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.lost) > 0 })
	w.Leave()
	publishMany(t, b, "t:a", 20, 20)
	if _, joined := join(t, b, "t:a", "g", 1, fanout.Start{}); !joined.Known || joined.Recovered {
		t.Errorf("after a loss while nobody was there: %+v", joined)
	}
}

func TestGroupStarts(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{}))
	started(t, b)
	at := publishMany(t, b, "t:a", 0, 10)
	last, _ := join(t, b, "t:a", "last", 100, fanout.Start{Last: 3})
	after, joined := join(t, b, "t:a", "after", 100, fanout.Start{Positions: at[4:5]})
	since, _ := join(t, b, "t:a", "since", 100, fanout.Start{Since: at[2].Time})
	if !joined.Recovered {
		t.Errorf("%+v", joined)
	}
	eventually(t, "the last three", func() bool { return last.count() == 3 })
	eventually(t, "the five after", func() bool { return after.count() == 5 })
	eventually(t, "the eight since", func() bool { return since.count() == 8 })
}

func TestGroupRefusals(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{}))
	for name, group := range map[string]string{"empty": "", "a dot": "a.b", "a space": "a b", "too long": fmt.Sprintf("%065d", 0)} {
		_, _, err := b.JoinGroup(context.Background(), fanout.GroupRequest{Channel: channel(t, "t:a"), Group: group, MaxInFlight: 1, Member: &worker{}})
		if in, ok := errors.AsType[*fanout.InputError](err); !ok || in.Field != "group" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A member that begins behind a hole, which nothing but the number of messages that
// wait betrays, is told.
func TestGroupBeginsBehindAHole(t *testing.T) {
	cfg := config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel = 5 }))
	b := open(t, cfg)
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	w.Leave()
	publishMany(t, b, "t:a", 0, 3)
	w, joined := join(t, b, "t:a", "g", 1, fanout.Start{})
	eventually(t, "the first", func() bool { return w.count() == 1 })
	if !joined.Recovered {
		t.Errorf("nothing is gone yet: %+v", joined)
	}
	publishMany(t, b, "t:a", 3, 20)
	if err := ack(t, w, w.messages()[0].Token); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one from behind the hole", func() bool { return w.count() == 2 })
	eventually(t, "word of it", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.lost) == 1 })
}
