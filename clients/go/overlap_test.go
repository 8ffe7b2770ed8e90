package rivulet_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// begin takes a subscribe and answers that it begins at the offset. A name that is given must
// be the one asked for.
func (p *peer) begin(channel string, offset uint64) *protocol.SubscribeCommand {
	c := p.receive()
	if c.Subscribe == nil || channel != "" && c.Subscribe.Channel != channel {
		p.t.Errorf("command is %+v, want subscribe of %s", c.Subscribe, channel)
		panic(errGone)
	}
	e := &protocol.SubscribedEvent{Channel: c.Subscribe.Channel, Recovered: true, Position: at(offset)}
	if e.Channel[len(e.Channel)-1] == '>' || e.Channel[len(e.Channel)-1] == '*' {
		e.Position, e.Positions = "", []string{at(offset)}
	}
	p.send(protocol.Event{ID: c.ID, Subscribed: e})
	return c.Subscribe
}

// letGo takes an unsubscribe and answers it.
func (p *peer) letGo() string { return p.gone(p.receive()) }

// gone answers an unsubscribe.
func (p *peer) gone(c *protocol.Command) string {
	if c.Unsubscribe == nil {
		p.t.Errorf("command is %+v, want unsubscribe", c)
		panic(errGone)
	}
	p.send(protocol.Event{ID: c.ID, Unsubscribed: &protocol.UnsubscribedEvent{Channel: c.Unsubscribe.Channel}})
	return c.Unsubscribe.Channel
}

// refuse refuses a command for a while.
func (p *peer) refuse(c *protocol.Command, d time.Duration) {
	e := refusedFor(d)
	e.ID = c.ID
	p.send(e)
}

// flood sends so many messages, from 1, and returns the command that comes meanwhile: a pipe
// holds nothing, so that reading must not wait for it.
func (p *peer) flood(channel string, n uint64) *protocol.Command {
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		defer func() { _ = recover() }() // errGone: the reading tells as well
		for offset := range n {
			p.message(channel, offset+1)
		}
	})
	return p.receive()
}

// offsets are those of the next n messages.
func offsets(t testing.TB, s *rivulet.Subscription, n int) []uint64 {
	t.Helper()
	var got []uint64
	for m, err := range s.Messages(limit(t)) {
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		if got = append(got, m.Offset); len(got) == n {
			break
		}
	}
	return got
}

// A node that refuses an unsubscribe for a while goes on with the subscription: the client
// asks again, and frees the name no sooner.
func TestUnsubscribeThatIsRefusedForNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, again := make(chan time.Time, 1), make(chan time.Time, 1)
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.begin("a:b", 0)
			p.refuse(p.receive(), 7*time.Second)
			refused <- time.Now()
			p.message("a:b", 1) // nobody's, though the node goes on
			p.letGo()
			again <- time.Now()
			p.begin("a:b", 1)
			p.message("a:b", 2)
			p.idle()
		})
		c := connect(t, opts)
		s := subscribe(t, c, "a:b", rivulet.SubscribeOptions{})
		if err := s.Unsubscribe(limit(t)); err != nil {
			t.Fatal(err)
		}
		if d := (<-again).Sub(<-refused); d < 7*time.Second || d > 8*time.Second {
			t.Errorf("asked again after %v, want the node's 7 s and the backoff", d)
		}
		s = subscribe(t, c, "a:b", rivulet.SubscribeOptions{})
		if got := offsets(t, s, 1); got[0] != 2 {
			t.Errorf("got %v", got)
		}
	})
}

// The same where it is let go of for being slow.
func TestPauseThatIsRefusedForNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := make(chan int, 1)
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.begin("a:b", 0)
			p.refuse(p.flood("a:b", 4), time.Second)
			p.letGo()
			refused <- p.n
			p.begin("a:b", 1)
			p.message("a:b", 2)
			p.message("a:b", 3)
			p.idle()
		})
		c := connect(t, opts)
		s := subscribe(t, c, "a:b", rivulet.SubscribeOptions{Buffer: 2})
		if n := <-refused; n != 1 { // nobody takes anything
			t.Errorf("let go of on connection %d", n)
		}
		for want := range uint64(3) {
			if got := offsets(t, s, 1); got[0] != want+1 {
				t.Fatalf("got %v, want %d", got, want+1)
			}
		}
	})
}

// A subscription that begins while others that overlap with it are let go of waits for them:
// what it would get from them meanwhile, nobody would read again.
func TestSubscribingWhileOthersAreLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.begin("a:>", 0)
			p.gone(p.flood("a:x", 4))
			close(gone)
			p.begin("a:b", 9) // not before
			p.begin("a:>", 1)
			p.idle()
		})
		c := connect(t, opts)
		slow := subscribe(t, c, "a:>", rivulet.SubscribeOptions{Buffer: 2})
		<-gone
		late := make(chan *rivulet.Subscription, 1)
		go func() {
			s, err := c.Subscribe(limit(t), "a:b", rivulet.SubscribeOptions{})
			if err != nil {
				t.Error(err)
			}
			late <- s
		}()
		synctest.Wait()
		select {
		case <-late:
			t.Error("it has begun while the pattern is let go of")
		default:
		}
		take(t, slow, 2)
		<-late
	})
}

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
	for c.Subscriptions() == 0 {
		time.Sleep(time.Millisecond)
	}
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
	for c.Subscriptions() < 2 {
		time.Sleep(time.Millisecond)
	}
	subscribe(t, c, "t:c", rivulet.SubscribeOptions{})
	if got := offsets(t, await(t, began), 1); got[0] != 5 {
		t.Errorf("got %v", got)
	}
}

// What waited for a subscription that was ended counts as had by the connection: for one that
// asks for it anew, the node lets go first of what overlaps.
func TestSubscribingAnewBesideAPattern(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greet()
		p.begin("t:>", 0)
		p.begin("t:a", 0)
		p.message("t:a", 1)
		p.message("t:a", 2) // dropped
		if name := p.letGo(); name != "t:a" {
			p.t.Errorf("let go of %s", name)
		}
		if name := p.letGo(); name != "t:>" {
			p.t.Errorf("let go of %s", name)
		}
		if c := p.begin("t:a", 1); c.Position != at(1) {
			p.t.Errorf("goes on from %s", c.Position)
		}
		p.begin("t:>", 0)
		p.message("t:a", 2)
		p.message("t:b", 3)
		p.idle()
	})
	c := open(t, url, quick())
	pattern := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	s := subscribe(t, c, "t:a", rivulet.SubscribeOptions{})
	if got := offsets(t, s, 1); got[0] != 1 {
		t.Errorf("got %v", got)
	}
	if err := s.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	s = subscribe(t, c, "t:a", rivulet.SubscribeOptions{Position: s.Position()})
	if got := offsets(t, s, 1); got[0] != 2 {
		t.Errorf("got %v", got)
	}
	if got := offsets(t, pattern, 1); got[0] != 3 {
		t.Errorf("the pattern got %v", got)
	}
}
