package rivulet_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// bring pushes that the token names a channel or pattern.
func (p *peer) bring(channel string, offset uint64) {
	p.send(protocol.Event{Subscribed: subscribedAt(channel, offset)})
}

// leave takes the unsubscribes of these names, in this order.
func (p *peer) leave(names ...string) {
	for _, want := range names {
		if got := p.letGo(); got != want {
			p.t.Errorf("let go of %s, want %s", got, want)
			panic(errGone)
		}
	}
}

// What the node delivers for a subscription that the token names would be kept from a pattern
// that matches, and says nothing of where that one is: it is let go of, and so is the pattern,
// for the node to begin anew where it was.
func TestSubscriptionOfTheTokenKeepsNothingFromAPattern(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.begin("t:>", 0)
		p.message("t:b", 1)
		p.bring("t:a", 5)
		p.message("t:a", 9) // its cursor is ahead
		p.message("t:b", 10)
		p.send(protocol.Event{Deleted: &protocol.DeletedEvent{Channel: "t:a", Offset: 1, Position: at(10)}})
		p.leave("t:a", "t:>")
		if c := p.begin("t:>", 1); !slices.Equal(c.Positions, []string{at(1)}) {
			p.t.Errorf("goes on from %v", c.Positions)
		}
		p.message("t:a", 4)
		p.message("t:a", 9)
		p.message("t:b", 10)
		p.idle()
	})
	s := subscribe(t, open(t, url, quick()), "t:>", rivulet.SubscribeOptions{})
	want := []string{"t:b@1", "subscribed resumed=true recovered=true", "t:a@4", "t:a@9", "t:b@10"}
	if got := take(t, s, 6); !slices.Equal(got[1:], want) {
		t.Errorf("got  %q\nwant %q", got[1:], want)
	}
	if got := s.Positions(); !slices.Equal(got, []string{at(10)}) {
		t.Errorf("positions %v", got)
	}
}

// What it had before one has begun, the node would keep from that one.
func TestSubscriptionOfTheTokenBeforeAnother(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.bring("t:>", 20)
		p.message("t:a", 21) // nobody is there yet
		p.begin("t:a", 12)
		p.message("t:a", 22)
		p.leave("t:>", "t:a")
		if c := p.begin("t:a", 12); c.Position != at(12) {
			p.t.Errorf("goes on from %v", c.Position)
		}
		p.message("t:a", 21)
		p.message("t:a", 22)
		p.idle()
	})
	s := subscribe(t, open(t, url, quick()), "t:a", rivulet.SubscribeOptions{Position: at(12)})
	if got := offsets(t, s, 2); !slices.Equal(got, []uint64{21, 22}) {
		t.Errorf("got %v", got)
	}
}

// Those that overlap wait until the node has let go of it, also where it cannot at first, and
// where the link is lost meanwhile, no longer.
func TestSubscriptionOfTheTokenThatStaysForNow(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.begin("", uint64(p.n))
		if p.n == 1 {
			p.bring("t:a", 1)
			c := p.receive()
			p.leave("t:>")
			p.refuse(c, 0)
			p.leave("t:a")
			p.begin("t:>", 1)
			p.message("t:a", 2)
			p.bring("t:c", 2)
			p.receive()
			p.cutOff()
		}
		p.message("t:a", 3)
		p.idle()
	})
	s := subscribe(t, open(t, url, quick()), "t:>", rivulet.SubscribeOptions{})
	if got := offsets(t, s, 2); !slices.Equal(got, []uint64{2, 3}) {
		t.Errorf("got %v", got)
	}
}

// One that is paused, for it is slow, waits for it too.
func TestSubscriptionOfTheTokenBesideASlowOne(t *testing.T) {
	bring, left := make(chan struct{}), make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greet()
		p.begin("t:>", 0)
		p.message("t:a", 1)
		p.begin("u:a", 0)
		p.message("t:a", 2) // no room
		p.receive()         // a history, so that it waits no longer
		p.leave("t:>")
		<-bring
		p.bring("t:a", 2)
		c := p.receive()
		close(left)
		p.begin("u:b", 0)
		p.gone(c)
		p.begin("t:>", 1)
		p.message("t:a", 2)
		p.idle()
	})
	c := open(t, url, quick())
	s := subscribe(t, c, "t:>", rivulet.SubscribeOptions{Buffer: 1})
	subscribe(t, c, "u:a", rivulet.SubscribeOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _ = c.History(ctx, "t:a", rivulet.HistoryOptions{}) }()
	rivulet.WaitPaused(limit(t), s)
	close(bring)
	await(t, left)
	if got := offsets(t, s, 1); got[0] != 1 {
		t.Errorf("got %v", got)
	}
	subscribe(t, c, "u:b", rivulet.SubscribeOptions{}) // nothing else was asked for
	if got := offsets(t, s, 1); got[0] != 2 {
		t.Errorf("got %v", got)
	}
}

// One that overlaps with nothing stays, and so does one that is to be taken the place of.
func TestSubscriptionOfTheTokenApart(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.begin("t:a", 3)
		p.bring("u:a", 7)
		p.bring("u:b", 7)
		p.begin("u:a", 8)
		p.message("u:a", 9)
		p.idle()
	})
	c := open(t, url, quick())
	subscribe(t, c, "t:a", rivulet.SubscribeOptions{})
	s := subscribe(t, c, "u:a", rivulet.SubscribeOptions{})
	if got := offsets(t, s, 1); got[0] != 9 {
		t.Errorf("got %v", got)
	}
}

// One that the application has asked for, but which has not begun yet, is let go of with it.
// An unsubscribe that is to be sent again is not the end of the next one.
func TestSubscriptionOfTheTokenThatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.begin("t:>", 0)
			c := p.receive()
			p.bring("t:a", 1)
			u := p.receive()
			p.leave("t:>")
			p.begun(c, 1) // the node had it first
			p.leave("t:a")
			p.refuse(u, time.Second)
			p.refuseFor(p.receive(), protocol.ErrorNotFound)
			p.begin("t:a", 1)
			p.begin("t:>", 0)
			p.message("t:a", 2)
			p.message("t:b", 3)
			p.idle()
		})
		client := connect(t, opts)
		pattern := subscribe(t, client, "t:>", rivulet.SubscribeOptions{})
		s := subscribe(t, client, "t:a", rivulet.SubscribeOptions{Position: at(1)})
		if got := offsets(t, s, 1); got[0] != 2 {
			t.Errorf("got %v", got)
		}
		if got := offsets(t, pattern, 1); got[0] != 3 {
			t.Errorf("the pattern got %v", got)
		}
	})
}

// One that the application makes takes its place, and moves as any other.
func TestSubscribingToWhatTheTokenNames(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.bring("t:a", 0)
		p.message("t:a", 1) // nobody's
		p.begin("t:a", 1)
		p.message("t:a", 2)
		p.begin("t:>", 0)
		p.message("t:a", 1)
		p.message("t:b", 3)
		p.idle()
	})
	c := open(t, url, quick())
	exact := subscribe(t, c, "t:a", rivulet.SubscribeOptions{})
	pattern := subscribe(t, c, "t:>", rivulet.SubscribeOptions{Positions: []string{at(0)}})
	if got := offsets(t, exact, 1); got[0] != 2 || exact.Position() != at(2) {
		t.Errorf("got %v, at %s", got, exact.Position())
	}
	if got := offsets(t, pattern, 2); !slices.Equal(got, []uint64{1, 3}) || !slices.Equal(pattern.Positions(), []string{at(3)}) {
		t.Errorf("the pattern got %v, at %v", got, pattern.Positions())
	}
}
