package rivulet_test

import (
	"slices"
	"testing"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// What the node delivers for a subscription that the token names goes to a pattern that
// matches, and says nothing of where that one is: neither of its position nor of what it has
// still to come of the channel.
func TestSubscriptionOfTheTokenMovesNoPattern(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.begin("t:>", 0)
			p.send(protocol.Event{Subscribed: &protocol.SubscribedEvent{Channel: "t:a", Position: at(5), Recovered: true}})
			p.message("t:b", 1)
			p.message("t:a", 9) // its cursor is ahead
			p.message("t:a", 2) // the pattern's own
			p.send(protocol.Event{Deleted: &protocol.DeletedEvent{Channel: "t:a", Offset: 1, Position: at(10)}})
			p.cutOff()
		}
		if c := p.begin("t:>", 2); !slices.Equal(c.Positions, []string{at(2)}) {
			p.t.Errorf("goes on from %v", c.Positions)
		}
		p.message("t:b", 3)
		p.message("t:a", 4)
		p.message("t:a", 9) // again
		p.message("t:a", 11)
		p.idle()
	})
	s := subscribe(t, open(t, url, quick()), "t:>", rivulet.SubscribeOptions{})
	want := []string{
		"t:b@1", "t:a@9", "t:a@2", "deleted t:a@1", "subscribed resumed=true recovered=true", "t:b@3", "t:a@4", "t:a@11",
	}
	if got := take(t, s, 9); !slices.Equal(got[1:], want) {
		t.Errorf("got  %q\nwant %q", got[1:], want)
	}
	if got := s.Positions(); !slices.Equal(got, []string{at(11)}) {
		t.Errorf("positions %v", got)
	}
}

// One that the application makes takes its place, and moves as any other.
func TestSubscribingToWhatTheTokenNames(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.send(protocol.Event{Subscribed: &protocol.SubscribedEvent{Channel: "t:a", Position: at(0), Recovered: true}})
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
