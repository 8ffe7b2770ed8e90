package rivulet_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// This file is about subscriptions that are ended and begun anew where they stood: what was
// dropped with them comes then, also where others have had what came later.

// What one had that ended is no part of what came to another before and after it.
func TestWhatOneThatEndedHadIsNoProof(t *testing.T) {
	cut := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.begin("t:*", 0)
			p.begin("t:>", 0)
			p.message("t:a", 1) // the first's, which drops it
			p.letGo()
			p.message("t:a", 2) // the second's
			<-cut
			p.cutOff()
			return
		}
		p.begin("", 2) // these two in some order
		p.begin("", 2)
		p.begin("t:*", 0)
		p.message("t:a", 1)
		p.idle()
	})
	c := open(t, url, quick())
	first := subscribe(t, c, "t:*", rivulet.SubscribeOptions{})
	second := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	if err := first.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	if got := offsets(t, second, 1); got[0] != 2 {
		t.Fatalf("the second got %v", got)
	}
	close(cut)
	subscribe(t, c, "u:c", rivulet.SubscribeOptions{}) // on the next link
	first = subscribe(t, c, "t:*", rivulet.SubscribeOptions{Positions: first.Positions()})
	if got := offsets(t, first, 1); got[0] != 1 {
		t.Errorf("the first got %v", got)
	}
}

// Where a position is only a safe one, another gets on the next link what one had that ended,
// too late for its own order: for that one it comes when the others are let go of, and it
// begins before them.
func TestWhatCameTooLateForAnother(t *testing.T) {
	cut := make(chan struct{})
	safe := func(p *peer, offset uint64) {
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: "t:a", Offset: offset, Position: at(0), Data: []byte("1")}})
	}
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.begin("t:*", 0)
			p.begin("t:>", 0)
			safe(p, 1) // the first's, which drops it
			p.letGo()
			safe(p, 2) // the second's
			<-cut
			p.cutOff()
			return
		}
		p.begin("t:>", 0)
		safe(p, 1) // the second's now, which has had 2
		safe(p, 2)
		safe(p, 3)
		if name := p.letGo(); name != "t:>" {
			p.t.Errorf("let go of %s", name)
		}
		p.begin("t:*", 0)
		p.begin("t:>", 0)
		safe(p, 1)
		p.idle()
	})
	c := open(t, url, quick())
	first := subscribe(t, c, "t:*", rivulet.SubscribeOptions{})
	second := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	if err := first.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	close(cut)
	if got := offsets(t, second, 2); !slices.Equal(got, []uint64{2, 3}) {
		t.Fatalf("the second got %v", got)
	}
	first = subscribe(t, c, "t:*", rivulet.SubscribeOptions{Positions: first.Positions()})
	if got := offsets(t, first, 1); got[0] != 1 {
		t.Errorf("the first got %v", got)
	}
}

// The same where both are asked for at once, on a new link, and the one that begins anew is
// beyond what it lacks when that comes to the other.
func TestWhatComesTooLateForAnotherIsReadAgain(t *testing.T) {
	lost, ready := make(chan struct{}), make(chan struct{})
	safe := func(p *peer, channel string, offset, position uint64) {
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: channel, Offset: offset, Position: at(position), Data: []byte("1")}})
	}
	url := scripted(t, func(p *peer) {
		if p.n == 1 {
			p.greet()
			p.begin("t:*", 0)
			p.begin("t:>", 0)
			safe(p, "t:a", 1, 0) // the first's, which drops it
			p.letGo()
			safe(p, "t:a", 2, 0) // the second's
			<-lost
			p.cutOff()
			return
		}
		<-ready
		p.greet()
		p.begin("t:>", 0)
		p.begin("t:*", 0)
		safe(p, "t:a", 1, 0) // the second's, which has had 2
		for _, want := range []string{"t:>", "t:*"} {
			if name := p.letGo(); name != want {
				p.t.Errorf("let go of %s", name)
			}
		}
		p.begin("t:*", 0)
		p.begin("t:>", 0)
		safe(p, "t:a", 1, 1)
		p.idle()
	})
	opts, retrying := quick(), make(chan struct{})
	opts.OnState = func(s rivulet.StateChange) {
		if s.State == rivulet.StateRetrying {
			close(retrying)
		}
	}
	c := open(t, url, opts)
	first := subscribe(t, c, "t:*", rivulet.SubscribeOptions{})
	second := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	if err := first.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	if got := offsets(t, second, 1); got[0] != 2 {
		t.Fatalf("the second got %v", got)
	}
	close(lost)
	began := make(chan *rivulet.Subscription, 1)
	await(t, retrying)
	go func() {
		s, err := c.Subscribe(limit(t), "t:*", rivulet.SubscribeOptions{Positions: first.Positions()})
		if err != nil {
			t.Error(err)
		}
		began <- s
	}()
	rivulet.WaitSubscriptions(limit(t), c, 2)
	close(ready)
	if got := offsets(t, await(t, began), 1); got[0] != 1 {
		t.Errorf("the first got %v", got)
	}
}

// What comes too late to a channel's own subscription, which always goes before patterns, is
// not asked for again and again.
func TestWhatComesTooLateForAChannel(t *testing.T) {
	cut := make(chan struct{})
	safe := func(p *peer, offset uint64) {
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: "t:a", Offset: offset, Position: at(0), Data: []byte("1")}})
	}
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.begin("t:a", 1)
			safe(p, 2)
			p.begin("t:>", 0)
			<-cut
			p.cutOff()
			return
		}
		p.begin("t:a", 0)
		safe(p, 1)
		p.begin("t:>", 0)
		safe(p, 1)
		safe(p, 3)
		p.begin("t:b", 0) // nothing was let go of
		p.idle()
	})
	c := open(t, url, quick())
	s := subscribe(t, c, "t:a", rivulet.SubscribeOptions{})
	subscribe(t, c, "t:>", rivulet.SubscribeOptions{Positions: []string{at(0)}})
	close(cut)
	if got := offsets(t, s, 2); !slices.Equal(got, []uint64{2, 3}) {
		t.Errorf("got %v", got)
	}
	subscribe(t, c, "t:b", rivulet.SubscribeOptions{})
}

// One that is being let go of, since it has ended, keeps what was dropped from one that begins
// anew as any other that overlaps: that one waits until the node has let go of it.
func TestSubscribingAnewWhileAnotherIsLetGoOf(t *testing.T) {
	waits := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greet()
		p.begin("t:*", 0)
		p.begin("t:>", 0)
		p.message("t:a", 1) // the first's, which drops it
		p.letGo()
		c := p.receive() // the second has ended too
		<-waits
		p.refuse(c, 0)
		if name := p.letGo(); name != "t:>" {
			p.t.Errorf("let go of %s", name)
		}
		p.begin("t:*", 0)
		p.message("t:a", 1)
		p.idle()
	})
	c := open(t, url, quick())
	first := subscribe(t, c, "t:*", rivulet.SubscribeOptions{})
	second := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	if err := first.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	ended, began := make(chan error, 1), make(chan *rivulet.Subscription, 1)
	go func() { ended <- second.Unsubscribe(limit(t)) }()
	await(t, second.Done())
	go func() {
		s, err := c.Subscribe(limit(t), "t:*", rivulet.SubscribeOptions{Positions: first.Positions()})
		if err != nil {
			t.Error(err)
		}
		began <- s
	}()
	rivulet.WaitSubscriptions(limit(t), c, 2)
	close(waits)
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
	if got := offsets(t, await(t, began), 1); got[0] != 1 {
		t.Errorf("got %v", got)
	}
}

// Whose a message is goes by whose `subscribed` came first, which a node may send in another
// order than it was asked: the one that begins anew is asked for alone, again if it is refused.
func TestBeginningAnewBeforeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.begin("t:*", 0)
			p.begin("t:>", 0)
			p.message("t:a", 1) // the first's, which drops it
			p.letGo()
			p.letGo()
			p.refuse(p.alone("t:*"), 3*time.Second)
			p.begin("t:>", 0)
			p.letGo()
			p.begun(p.alone("t:*"), 0)
			p.begin("t:>", 0)
			p.message("t:a", 1)
			p.idle()
		})
		c := connect(t, opts)
		first := subscribe(t, c, "t:*", rivulet.SubscribeOptions{})
		subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
		if err := first.Unsubscribe(limit(t)); err != nil {
			t.Fatal(err)
		}
		first = subscribe(t, c, "t:*", rivulet.SubscribeOptions{Positions: first.Positions()})
		if got := offsets(t, first, 1); got[0] != 1 {
			t.Errorf("got %v", got)
		}
	})
}

// alone takes a subscribe of the name, which nothing follows before it is answered.
func (p *peer) alone(name string) *protocol.Command {
	c := p.receive()
	if c.Subscribe == nil || c.Subscribe.Channel != name {
		p.t.Errorf("command is %+v, want subscribe of %s", c, name)
		panic(errGone)
	}
	next := make(chan *protocol.Command, 1)
	go func() {
		defer close(next)
		defer func() { _ = recover() }() // errGone: closed, next says so
		next <- p.receive()
	}()
	synctest.Wait()
	if len(next) > 0 {
		p.t.Errorf("%+v comes before %s is answered", (<-next).Subscribe, name)
		panic(errGone)
	}
	p.next = next
	return c
}

// What a pattern had had on the connection before a channel's own began is not that one's,
// though others that came before and after are.
func TestWhatAPatternHadBeforeIsNoProof(t *testing.T) {
	cut := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			p.begin("t:>", 2)
			p.begin("t:*", 2)
			p.message("t:a", 3) // the first's, which drops them
			p.message("t:a", 5)
			p.begin("t:a", 1)
			p.message("t:a", 2)
			p.message("t:a", 6)
			p.letGo()
			<-cut
			p.cutOff()
			return
		}
		p.begin("t:a", 6)
		p.begin("t:*", 2)
		p.message("t:a", 3)
		p.message("t:a", 5)
		p.message("t:a", 6) // the channel's had it
		p.message("t:b", 7)
		p.idle()
	})
	c := open(t, url, quick())
	gone := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	other := subscribe(t, c, "t:*", rivulet.SubscribeOptions{})
	exact := subscribe(t, c, "t:a", rivulet.SubscribeOptions{Position: at(1)})
	if got := offsets(t, exact, 2); !slices.Equal(got, []uint64{2, 6}) {
		t.Fatalf("the channel's own got %v", got)
	}
	if err := gone.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	close(cut)
	if got := offsets(t, other, 3); !slices.Equal(got, []uint64{3, 5, 7}) {
		t.Errorf("the other pattern got %v", got)
	}
}

// What one had before the node ended it is no part of what came to another before and after,
// though it is dropped only later.
func TestWhatOneThatTheNodeEndedHadIsNoProof(t *testing.T) {
	cut, ended := make(chan struct{}), make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greet()
		if p.n == 1 {
			for _, name := range []string{"t:a.*", "t:>", "t:*.b"} {
				p.begin(name, 0)
			}
			p.message("t:a.b", 1) // the first's
			p.send(protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: "t:a.*", Code: protocol.ErrorResubscribe}})
			p.refuse(p.receive(), time.Minute)
			p.message("t:a.b", 2) // the second's
			close(ended)
			<-cut
			p.cutOff()
			return
		}
		p.begin("t:>", 2)
		p.begin("t:*.b", 0)
		p.message("t:a.b", 1)
		p.idle()
	})
	c := open(t, url, quick())
	first := subscribe(t, c, "t:a.*", rivulet.SubscribeOptions{})
	second := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	third := subscribe(t, c, "t:*.b", rivulet.SubscribeOptions{})
	await(t, ended)
	if got := offsets(t, second, 1); got[0] != 2 {
		t.Fatalf("the second got %v", got)
	}
	if err := first.Unsubscribe(limit(t)); err != nil { // drops what it had
		t.Fatal(err)
	}
	close(cut)
	if got := offsets(t, third, 1); got[0] != 1 {
		t.Errorf("the third got %v", got)
	}
}

// Where those that ended begin anew where they stood, nothing is lost between them.
func TestModelOfOverlappingSubscriptionsThatBeginAnew(t *testing.T) {
	play(t, modelKind{names: modelNames, ends: true, anew: true}, func(w *modelWorld) []string {
		return w.complete(false, false)
	})
}
