package rivulet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	p.begun(c, offset)
	return c.Subscribe
}

// begun answers a subscribe.
func (p *peer) begun(c *protocol.Command, offset uint64) {
	p.send(protocol.Event{ID: c.ID, Subscribed: subscribedAt(c.Subscribe.Channel, offset)})
}

func subscribedAt(channel string, offset uint64) *protocol.SubscribedEvent {
	e := &protocol.SubscribedEvent{Channel: channel, Recovered: true, Position: at(offset)}
	if strings.ContainsAny(channel, "*>") {
		e.Position, e.Positions = "", []string{at(offset)}
	}
	return e
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

// refuseFor refuses a command for good.
func (p *peer) refuseFor(c *protocol.Command, code protocol.Code) {
	p.send(protocol.Event{ID: c.ID, Error: &protocol.ErrorEvent{Code: code, Message: "no"}})
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

// The same where the node had ended it before.
func TestSubscribingAnewAfterTheNodeEndedIt(t *testing.T) {
	ended := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greet()
		p.begin("t:>", 0)
		p.begin("t:a", 0)
		p.message("t:a", 1)
		p.message("t:a", 2) // dropped
		p.send(protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: "t:a", Code: protocol.ErrorResubscribe}})
		p.refuse(p.receive(), time.Minute)
		close(ended)
		if name := p.letGo(); name != "t:>" {
			p.t.Errorf("let go of %s", name)
		}
		p.begin("t:a", 1)
		p.begin("t:>", 0)
		p.message("t:a", 2)
		p.idle()
	})
	c := open(t, url, quick())
	subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	s := subscribe(t, c, "t:a", rivulet.SubscribeOptions{})
	if got := offsets(t, s, 1); got[0] != 1 {
		t.Errorf("got %v", got)
	}
	await(t, ended)
	rivulet.WaitIdle(limit(t), s)
	if err := s.Unsubscribe(limit(t)); err != nil {
		t.Fatal(err)
	}
	s = subscribe(t, c, "t:a", rivulet.SubscribeOptions{Position: s.Position()})
	if got := offsets(t, s, 1); got[0] != 2 {
		t.Errorf("got %v", got)
	}
}

// What waited for a subscription that was ended counts as had by the connection: for one that
// asks for it anew, the node lets go first of what overlaps.
func TestSubscribingAnewBesideAPattern(t *testing.T) {
	subscribeAnewBesideAPattern(t, 0)
}

// The same where more were ended before than the client remembers.
func TestSubscribingAnewAfterManyEnded(t *testing.T) { subscribeAnewBesideAPattern(t, 65) }

func subscribeAnewBesideAPattern(t *testing.T, ended int) {
	t.Helper()
	url := scripted(t, func(p *peer) {
		p.greet()
		p.begin("t:>", 0)
		for range ended {
			p.begin("", 0)
			p.letGo()
		}
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
	for i := range ended {
		s := subscribe(t, c, fmt.Sprintf("other:%d", i), rivulet.SubscribeOptions{})
		if err := s.Unsubscribe(limit(t)); err != nil {
			t.Fatal(err)
		}
	}
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

// Where Subscribe has returned, for its ctx ended, there is no subscription: what comes of it
// all the same, until the node has let go of it, is for those that overlap.
func TestSubscribingThatIsGivenUpBesideAPattern(t *testing.T) {
	asked, given := make(chan struct{}), make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greet()
		p.begin("t:>", 0)
		c := p.receive()
		close(asked)
		<-given
		p.begun(c, 0)
		p.message("t:a", 1)
		p.message("t:b", 2)
		c = p.receive()
		p.leave("t:>")
		p.refuse(c, 0) // not yet
		p.leave("t:a")
		if c := p.begin("t:>", 0); !slices.Equal(c.Positions, []string{at(0)}) {
			p.t.Errorf("goes on from %v", c.Positions)
		}
		p.message("t:a", 1)
		p.message("t:b", 2)
		p.idle()
	})
	c := open(t, url, quick())
	pattern := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Subscribe(ctx, "t:a", rivulet.SubscribeOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("subscribe: %v", err)
	}
	close(given)
	if got := offsets(t, pattern, 2); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("got %v", got)
	}
}

// Once all that overlaps was let go of, the node has forgotten what was dropped before: those
// that come after need not have it done again, however many were ended, also beside others.
func TestSubscribingAnewOverAndOver(t *testing.T) {
	let := make(chan int, 1)
	url := scripted(t, func(p *peer) {
		n := 0
		defer func() { let <- n }()
		p.greet()
		for {
			switch c := p.receive(); {
			case c.Subscribe != nil:
				p.begun(c, 0)
			default:
				if p.gone(c) == "t:>" {
					n++
				}
			}
		}
	})
	c := open(t, url, quick())
	subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	subscribe(t, c, "u:>", rivulet.SubscribeOptions{})
	for i := range 300 {
		s := subscribe(t, c, fmt.Sprint("t:", i), rivulet.SubscribeOptions{Last: 5})
		if err := s.Unsubscribe(limit(t)); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	if n := await(t, let); n == 0 || n > 5 {
		t.Errorf("the pattern was let go of %d times", n)
	}
}

// What a pattern has had is not acknowledged: a durable subscription that comes back gets it.
func TestDurableGetsWhatAPatternHad(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greetSession(p.n > 1)
		place := protocol.SubscribedEvent{Position: at(0), Recovered: true, Durable: true, Resumed: p.n > 1}
		if p.n == 1 {
			p.begin("t:>", 0)
			p.message("t:a", 1)
			p.subscribed(place)
			p.send(protocol.Event{CaughtUp: &protocol.CaughtUpEvent{Channel: "t:a", Position: at(1)}})
			p.cutOff()
			return
		}
		p.subscribed(place)
		p.begin("t:>", 1)
		p.message("t:a", 1)
		p.idle()
	})
	c := open(t, url, durably())
	pattern := subscribe(t, c, "t:>", rivulet.SubscribeOptions{})
	_ = offsets(t, pattern, 1)
	s := subscribe(t, c, "t:a", rivulet.SubscribeOptions{Durable: true})
	if got := offsets(t, s, 1); got[0] != 1 {
		t.Errorf("got %v", got)
	}
}
