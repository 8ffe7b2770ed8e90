package rivulet_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// answering answers all that comes until the client leaves. A pipe holds nothing: reading
// must not wait for writing.
func (p *peer) answering(answer func(c *protocol.Command)) {
	commands := make(chan *protocol.Command, 16)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer close(commands)
	writing.Go(func() {
		defer func() { _ = recover() }() // errGone: the reading tells as well
		for c := range commands {
			answer(c)
		}
	})
	for {
		commands <- p.receive()
	}
}

// A pattern whose application takes nothing is let go of in the very moment in which it is
// let go of for another that begins: that is one pause, and it ends.
func TestLetGoOfTwiceAtOnce(t *testing.T) {
	for range 30 { // either may come first
		synctest.Test(t, letGoOfTwiceAtOnce)
		if t.Failed() {
			return
		}
	}
}

func letGoOfTwiceAtOnce(t *testing.T) {
	opts := bubbled(t, func(p *peer) {
		p.greet()
		p.begin("t:>", 0)
		p.begin("t:a", 0)
		p.letGo() // of t:a: what it had, the pattern has not
		for offset := range uint64(3) {
			p.message("t:b", offset+1)
		}
		p.answering(func(c *protocol.Command) {
			if c.Subscribe == nil {
				pass(time.Second) // meanwhile the application takes all there is
				p.gone(c)
				return
			}
			p.begun(c, 2)
			if c.Subscribe.Channel == "t:>" {
				p.message("t:b", 3)
			}
		})
	})
	c := connect(t, opts)
	pattern := subscribe(t, c, "t:>", rivulet.SubscribeOptions{Buffer: 2})
	s := subscribe(t, c, "t:a", rivulet.SubscribeOptions{})
	if err := s.Unsubscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Wait() // the third message waits for room
	var begins sync.WaitGroup
	defer begins.Wait()
	begins.Go(func() {
		pass(10 * time.Second) // as long as that waits
		if _, err := c.Subscribe(limit(t), "t:a", rivulet.SubscribeOptions{Last: 1}); err != nil {
			t.Error(err)
		}
	})
	pass(10*time.Second + 500*time.Millisecond)
	_ = offsets(t, pattern, 2)
	if got := offsets(t, pattern, 1); got[0] != 3 {
		t.Errorf("got %v", got)
	}
}
