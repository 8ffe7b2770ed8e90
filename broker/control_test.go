package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// ear is a listener that writes down what it is told.
type ear struct {
	mu        sync.Mutex // guards the following
	news      []string
	others    []string
	disturbed int
}

func (e *ear) Announced(node string, c fanout.Channel, news []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.news = append(e.news, fmt.Sprintf("%s %s %s", node, c, news))
}

func (e *ear) Nodes(others []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.others = others
}

func (e *ear) Disturbed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.disturbed++
}

func (e *ear) hears(others ...string) func() bool {
	return func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return slices.Equal(e.others, others)
	}
}

func (e *ear) told() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.news)
}

// speaker is a node on the bus.
type speaker struct {
	*broker.Control
	*ear
	b *broker.Broker
}

func speak(t *testing.T, r *remote, name string, answer broker.Answerer) *speaker {
	t.Helper()
	b := open(t, config(t, connected(r), func(c *broker.Config) { c.Node = name }))
	s := &speaker{Control: b.NewControl(), ear: &ear{}, b: b}
	if err := s.Start(s.ear, map[string]broker.Answerer{"t": answer}); err != nil {
		t.Fatal(err)
	}
	return s
}

// echo answers with the question in as many pieces as it has words.
func echo(name string) broker.Answerer {
	return func(question []byte, reply fanout.Reply) {
		words := strings.Fields(string(question))
		for i, w := range words {
			if reply([]byte(name+":"+w), i == len(words)-1) != nil {
				return
			}
		}
	}
}

func (s *speaker) ask(t *testing.T, bound time.Duration, question string) (got, missing []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	missing, err = s.Ask(ctx, "t", []byte(question), func(_ string, piece []byte) { got = append(got, string(piece)) })
	slices.Sort(got)
	return got, missing, err
}

func TestControlBus(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	a, b := speak(t, r, "a", echo("a")), speak(t, r, "b", echo("b"))
	silent := speak(t, r, "silent", func([]byte, fanout.Reply) {})
	eventually(t, "all to hear each other", func() bool {
		return a.hears("b", "silent")() && b.hears("a", "silent")() && silent.hears("a", "b")()
	})
	if err := a.Start(a.ear, nil); err == nil {
		t.Error("a bus was started twice")
	}

	began := time.Now()
	got, missing, err := a.ask(t, 300*time.Millisecond, "x y z")
	if err != nil || !slices.Equal(got, []string{"b:x", "b:y", "b:z"}) || !slices.Equal(missing, []string{"silent"}) || time.Since(began) > 5*time.Second {
		t.Errorf("%v, missing %v, %v", got, missing, err)
	}
	if got, missing, err := silent.ask(t, 10*time.Second, "x"); err != nil || !slices.Equal(got, []string{"a:x", "b:x"}) || len(missing) != 0 {
		t.Errorf("%v, missing %v, %v", got, missing, err)
	}

	// Announcements reach those who follow, each channel by its own name.
	odd := channel(t, "t:a.=ü/x y")
	for _, c := range []fanout.Channel{odd, channel(t, "t:plain")} {
		if err := a.Follow(c); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "an announcement to come", func() bool {
		for _, c := range []fanout.Channel{odd, channel(t, "t:other"), channel(t, "t:plain")} {
			if err := b.Announce(c, []byte("1")); err != nil {
				t.Error(err)
			}
		}
		return slices.Contains(a.told(), "b t:plain 1")
	})
	if told := a.told(); !slices.Contains(told, "b "+odd.String()+" 1") || slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "other") }) || len(b.told()) > 0 {
		t.Errorf("a was told %q, b %q", told, b.told())
	}

	// A node that stops says so.
	closeNow(t, silent.b)
	eventually(t, "the others to know", func() bool { return a.hears("b")() && b.hears("a")() })

	// The server is away and comes back: nobody counts as dead, and all are told that
	// announcements may have been lost.
	r.stop()
	eventually(t, "asking to fail", func() bool {
		_, missing, err := a.ask(t, 100*time.Millisecond, "x")
		return errors.Is(err, fanout.ErrUnavailable) && slices.Equal(missing, []string{"b"})
	})
	r.start(t)
	eventually(t, "asking to work again", func() bool {
		got, missing, err := a.ask(t, time.Second, "x")
		return err == nil && len(missing) == 0 && slices.Equal(got, []string{"b:x"})
	})
	eventually(t, "the disturbance to be told", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.disturbed > 0
	})
	if !a.hears("b")() {
		t.Error("a no longer knows b")
	}
}

// TestControlAlone: with its own server a node asks nobody, and nothing is started.
func TestControlAlone(t *testing.T) {
	c := open(t, config(t)).NewControl()
	if err := c.Start(&ear{}, nil); err != nil || !c.Alone() {
		t.Error(err)
	}
	missing, err := c.Ask(t.Context(), "t", nil, func(string, []byte) { t.Error("an answer") })
	if err != nil || missing != nil || c.Announce(channel(t, "t:a"), nil) != nil || c.Follow(channel(t, "t:a")) != nil {
		t.Error(missing, err)
	}
	c.Unfollow(channel(t, "t:a"))
}

// TestControlTopics: a topic that does not get on holds up no other, and when it gets on
// answers only those who still wait.
func TestControlTopics(t *testing.T) {
	r := startRemote(t, remoteOptions(t, "one"))
	asker := speak(t, r, "asker", echo("asker"))
	b := open(t, config(t, connected(r), func(c *broker.Config) { c.Node = "slow" }))
	slow := &speaker{Control: b.NewControl(), ear: &ear{}, b: b}
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	answered := make(chan string, 16)
	refused := make(chan error, 16)
	stuck := func(question []byte, reply fanout.Reply) {
		answered <- string(question)
		<-release
		refused <- reply(question, true)
	}
	if err := slow.Start(slow.ear, map[string]broker.Answerer{"stuck": stuck, "t": echo("slow")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all to hear each other", func() bool { return asker.hears("slow")() && slow.hears("asker")() })

	for _, question := range []string{"first", "stale", "stale too"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if missing, err := asker.Ask(ctx, "stuck", []byte(question), func(string, []byte) {}); err != nil || !slices.Equal(missing, []string{"slow"}) {
			t.Errorf("%s: missing %v, %v", question, missing, err)
		}
		cancel()
	}
	if got, missing, err := asker.ask(t, 10*time.Second, "x"); err != nil || len(missing) > 0 || !slices.Equal(got, []string{"slow:x"}) {
		t.Errorf("another topic: %v, missing %v, %v", got, missing, err)
	}
	<-time.After(60 * time.Millisecond) // what was asked before "t" was answered is stale now
	late := make(chan []string, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var got []string
		_, _ = asker.Ask(ctx, "stuck", []byte("wanted"), func(_ string, piece []byte) { got = append(got, string(piece)) })
		late <- got
	}()
	free()
	if got := <-late; !slices.Equal(got, []string{"wanted"}) {
		t.Errorf("the last question was answered with %q", got)
	}
	if one, two := <-answered, <-answered; one != "first" || two != "wanted" || len(answered) > 0 {
		t.Errorf("answered %s, %s and %d more", one, two, len(answered))
	}
	if err := <-refused; err == nil {
		t.Error("who answers the first question is not told that nobody waits")
	}
}
