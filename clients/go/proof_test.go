package rivulet_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// A message of a channel is no proof that a subscription had those before it, which may have
// been another's.
func TestWhatCameAfterIsNoProof(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		switch p.n {
		case 1:
			p.begin("t:*", 0)
			p.begin("t:>", 0)
			p.message("t:b.c", 4) // for the second alone
			p.cutOff()
		case 2:
			p.refuse(p.receive(), time.Minute) // the first
			p.begin("t:>", 4)
			p.message("t:a", 5)
			p.cutOff()
		default:
			p.begin("t:*", 0)
			p.begin("t:>", 5)
			p.message("t:a", 3) // the first's, and nobody had it
			p.message("t:a", 5) // the second had it
			p.message("t:a", 6)
			p.idle()
		}
	})
	c := open(t, url, quick())
	first := subscribe(t, c, "t:*", rivulet.SubscribeOptions{})
	second := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	if got := offsets(t, second, 2); !slices.Equal(got, []uint64{4, 5}) {
		t.Errorf("the second got %v", got)
	}
	if got := offsets(t, first, 2); !slices.Equal(got, []uint64{3, 6}) {
		t.Errorf("the first got %v, want what nobody had", got)
	}
}

// The same for a pattern that had both earlier and later ones of the channel, and for one to
// the channel itself.
func TestWhatCameBeforeAndAfterIsNoProof(t *testing.T) {
	for _, name := range []string{"t:*", "t:a"} {
		t.Run(name, func(t *testing.T) {
			url := scripted(t, func(p *peer) {
				p.greet()
				switch p.n {
				case 1:
					p.begin(name, 10)
					p.begin("t:>", 0)
					p.message("t:a", 5)    // the second's: the first began later
					p.message("t:b.c", 20) // the second's, past what was the first's and is lost
					p.cutOff()
				case 2:
					p.refuse(p.receive(), time.Minute)
					p.begin("t:>", 20)
					p.message("t:a", 25)
					p.cutOff()
				default:
					p.begin(name, 10)
					p.begin("t:>", 25)
					p.message("t:a", 12)
					p.message("t:a", 25)
					p.message("t:a", 26)
					p.idle()
				}
			})
			c := open(t, url, quick())
			first := subscribe(t, c, name, rivulet.SubscribeOptions{})
			second := subscribe(t, c, "t:>", rivulet.SubscribeOptions{Positions: []string{at(0)}})
			if got := offsets(t, second, 3); !slices.Equal(got, []uint64{5, 20, 25}) {
				t.Errorf("the second got %v", got)
			}
			if got := offsets(t, first, 2); !slices.Equal(got, []uint64{12, 26}) {
				t.Errorf("the first got %v, want what nobody had", got)
			}
		})
	}
}

// What has a filter may have left out what belongs to it: nobody misses anything for it.
func TestAFilterIsNoProof(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.refuse(p.receive(), time.Minute)
			p.begin("t:>", 0)
			p.message("t:a", 5)
			p.cutOff()
		}
		p.begin("t:*", 0)
		p.begin("t:>", 5)
		p.message("t:a", 3)
		p.idle()
	})
	c := open(t, url, quick())
	began := make(chan *rivulet.Subscription, 1)
	go func() {
		s, err := c.Subscribe(limit(t), "t:*", rivulet.SubscribeOptions{})
		if err != nil {
			t.Error(err)
		}
		began <- s
	}()
	rivulet.WaitSubscriptions(limit(t), c, 1)
	subscribe(t, c, "t:>", rivulet.SubscribeOptions{Filter: "user != ''"})
	if got := offsets(t, await(t, began), 1); got[0] != 3 {
		t.Errorf("got %v", got)
	}
}

// Offsets of a log that began anew lie after those of the one before.
func TestRoutesInALogThatBeganAnew(t *testing.T) {
	const anew = "AAAAAfff-"
	position := func(n int) string { return fmt.Sprint(anew, n, "-1") }
	send := func(p *peer, channel string, n int) {
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: channel, Offset: uint64(n), Position: position(n), Data: []byte("1")}})
	}
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.begin("t:a", 5)
			p.begin("t:>", 2)
			p.message("t:b", 6)
			// The channel's, though the pattern does not know of the change yet.
			p.send(protocol.Event{Gap: &protocol.GapEvent{Channel: "t:a", Position: position(3), Reason: protocol.ReasonLogChanged}})
			send(p, "t:a", 4)
			p.cutOff()
		}
		if c := p.subscribed(protocol.SubscribedEvent{Position: position(4), Recovered: true}); c.Position != position(4) {
			p.t.Errorf("the channel goes on from %s", c.Position)
		}
		c := p.receive()
		if !slices.Equal(c.Subscribe.Positions, []string{at(6)}) {
			p.t.Errorf("the pattern goes on from %s", c.Subscribe.Positions)
		}
		p.send(protocol.Event{ID: c.ID, Subscribed: &protocol.SubscribedEvent{
			Channel: "t:>", Positions: []string{position(0)}, Reason: protocol.ReasonLogChanged,
		}})
		send(p, "t:b", 3)
		p.idle()
	})
	c := open(t, url, quick())
	exact := subscribe(t, c, "t:a", rivulet.SubscribeOptions{})
	pattern := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	if got := take(t, exact, 3); !slices.Equal(got[1:], []string{"gap t:a log_changed", "t:a@4"}) {
		t.Errorf("the channel got %q", got)
	}
	want := []string{"t:b@6", "subscribed resumed=true recovered=false", "t:b@3"}
	if got := take(t, pattern, 4); !slices.Equal(got[1:], want) {
		t.Errorf("the pattern got %q", got)
	}
}

// What one pattern had of the old log says nothing of the new.
func TestWhatWasHadOfAnotherLog(t *testing.T) {
	const anew = "AAAAAfff-"
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.begin("t:>", 0)
			p.message("t:a", 5)
			p.message("t:a", 6)
			p.refuse(p.receive(), time.Minute) // of t:*: it begins on the next link
			p.begin("t:c", 6)
			p.cutOff()
		}
		p.begin("t:c", 6)
		c := p.receive()
		if c.Subscribe.Channel != "t:>" {
			p.t.Errorf("got %+v", c.Subscribe)
		}
		p.refuse(c, time.Minute)
		c = p.receive()
		p.send(protocol.Event{ID: c.ID, Subscribed: &protocol.SubscribedEvent{Channel: "t:*", Positions: []string{anew + "0-1"}, Recovered: true}})
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: "t:a", Offset: 5, Position: anew + "5-1", Data: []byte("1")}})
		p.idle()
	})
	c := open(t, url, quick())
	old := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	if got := offsets(t, old, 2); !slices.Equal(got, []uint64{5, 6}) {
		t.Errorf("got %v", got)
	}
	began := make(chan *rivulet.Subscription, 1)
	go func() {
		s, err := c.Subscribe(limit(t), "t:*", rivulet.SubscribeOptions{})
		if err != nil {
			t.Error(err)
		}
		began <- s
	}()
	rivulet.WaitSubscriptions(limit(t), c, 2)
	subscribe(t, c, "t:c", rivulet.SubscribeOptions{})
	if got := offsets(t, await(t, began), 1); got[0] != 5 {
		t.Errorf("got %v", got)
	}
}

// What was left out, since another subscription had it, is no part of what came: where that
// one ends and drops it, it is to come when it is asked for again.
func TestWhatWasLeftOutIsNoProof(t *testing.T) {
	let := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.begin("t:>", 0)
			p.begin("t:a", 0)
			p.send(protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: "t:a", Code: protocol.ErrorResubscribe}})
			p.refuse(p.receive(), time.Minute)
			p.message("t:a", 1) // the pattern's, while the other is refused
			p.cutOff()
			return
		}
		p.begin("t:a", 0)
		p.begin("t:>", 0)
		p.message("t:a", 1) // left out
		p.message("t:a", 2)
		<-let
		if name := p.letGo(); name != "t:>" {
			p.t.Errorf("let go of %s", name)
		}
		if name := p.letGo(); name != "t:a" {
			p.t.Errorf("let go of %s", name)
		}
		p.begin("t:a", 2)
		p.begin("t:>", 0)
		p.message("t:a", 1)
		p.idle()
	})
	c := open(t, url, quick())
	pattern := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	s := subscribe(t, c, "t:a", rivulet.SubscribeOptions{})
	if got := offsets(t, s, 1); got[0] != 2 {
		t.Fatalf("got %v", got)
	}
	close(let)
	if err := pattern.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	pattern = subscribe(t, c, "t:>", rivulet.SubscribeOptions{Positions: pattern.Positions()})
	if got := offsets(t, pattern, 1); got[0] != 1 {
		t.Errorf("the pattern got %v", got)
	}
}
