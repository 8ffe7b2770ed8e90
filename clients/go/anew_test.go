package rivulet_test

import (
	"slices"
	"testing"

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

// Where those that ended begin anew where they stood, nothing is lost between them.
func TestModelOfOverlappingSubscriptionsThatBeginAnew(t *testing.T) {
	play(t, modelKind{names: modelNames, ends: true, anew: true}, func(w *modelWorld) []string {
		return w.complete(false, false)
	})
}
