package rivulet_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

func durably() rivulet.Options {
	o := quick()
	o.Session = "phone-1"
	return o
}

// greetSession answers connect as a node does that knows the session.
func (p *peer) greetSession(known bool) {
	c := p.receive()
	if c.Connect == nil || c.Connect.Session != "phone-1" {
		p.t.Errorf("first command is %+v, want connect with the session", c)
		panic(errGone)
	}
	p.send(protocol.Event{Connected: &protocol.ConnectedEvent{Client: "c", Node: "n", PingInterval: 25}}) // the token came with the handshake
	p.send(protocol.Event{ID: c.ID, Connected: &protocol.ConnectedEvent{
		Client: "c", Node: "n", PingInterval: 25, Session: "phone-1", Resumed: known,
	}})
}

// acked takes acknowledgements, and answers them, up to the last one wanted.
func (p *peer) acked(offset uint64) {
	for {
		c := p.receive()
		if c.Ack == nil {
			p.t.Errorf("command is %+v, want ack", c)
			panic(errGone)
		}
		p.send(protocol.Event{ID: c.ID, Acked: &protocol.AckedEvent{Channel: c.Ack.Channel, Position: c.Ack.Position}})
		if done, _ := protocol.PositionOffset(c.Ack.Position); done >= offset {
			return
		}
	}
}

// What is asked for anew is acknowledged; what comes again after a lost connection is
// left out; and the states tell whether the node knew the session.
func TestDurableSubscription(t *testing.T) {
	states := make(chan bool, 2)
	url := scripted(t, func(p *peer) {
		p.greetSession(p.n > 1)
		if p.n == 1 {
			if c := p.subscribed(protocol.SubscribedEvent{Position: at(1), Recovered: true, Durable: true}); !c.Durable || c.Last != 9 {
				t.Errorf("subscribed by %+v", c)
			}
			for o := uint64(2); o <= 4; o++ {
				p.message("chat:lobby", o)
			}
			p.acked(3)
			p.cutOff()
			return
		}
		p.subscribed(protocol.SubscribedEvent{Position: at(2), Recovered: true, Durable: true, Resumed: true})
		for o := uint64(3); o <= 6; o++ {
			p.message("chat:lobby", o)
		}
		p.acked(6)
		p.idle()
	})
	opts := durably()
	opts.OnState = func(s rivulet.StateChange) {
		if s.State == rivulet.StateConnected {
			states <- s.Resumed
		}
	}
	c := open(t, url, opts)
	s := subscribe(t, c, "chat:lobby", rivulet.SubscribeOptions{Durable: true, Last: 9})
	var got []uint64
	for m, err := range s.Messages(limit(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, m.Offset); m.Offset == 6 {
			if err := s.Ack(m); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if want := []uint64{2, 3, 4, 5, 6}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := s.Flush(limit(t)); err != nil {
		t.Error(err)
	}
	if first, second := await(t, states), await(t, states); first || !second {
		t.Errorf("resumed %v, then %v", first, second)
	}
}

// A reset session goes back: what was seen comes again, and the application is told.
func TestDurableSubscriptionIsReset(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greetSession(p.n > 1)
		e := protocol.SubscribedEvent{Position: at(1), Recovered: p.n == 1, Durable: true, Resumed: p.n > 1}
		if p.n > 1 {
			e.Reason = "reset"
		}
		p.subscribed(e)
		p.message("chat:lobby", 2)
		p.message("chat:lobby", 3)
		if p.n == 1 {
			p.acked(2)
			p.cutOff()
			return
		}
		p.acked(2)
		p.idle()
	})
	s := subscribe(t, open(t, url, durably()), "chat:lobby", rivulet.SubscribeOptions{Durable: true})
	got := take(t, s, 6)
	want := []string{
		"subscribed resumed=false recovered=true", "chat:lobby@2", "chat:lobby@3",
		"subscribed resumed=true recovered=false", "chat:lobby@2", "chat:lobby@3",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A slow application must not make the session forget the channel: nothing is
// unsubscribed, what found no room is read again over another connection.
func TestDurableSubscriptionFallsBehind(t *testing.T) {
	full := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greetSession(p.n > 1)
		begun, awaited := false, p.n > 1
		for {
			switch c := p.receive(); {
			case c.Subscribe != nil:
				p.send(protocol.Event{ID: c.ID, Subscribed: &protocol.SubscribedEvent{
					Channel: "chat:lobby", Position: at(0), Recovered: true, Durable: true, Resumed: p.n > 1,
				}})
				begun = true
			case c.History != nil && p.n == 1: // has no answer: the client waits for it
				awaited = true
			case c.History != nil:
				p.send(protocol.Event{ID: c.ID, History: &protocol.HistoryEvent{Channel: "chat:lobby", Recovered: true}})
			case c.Pong != nil && p.n == 1:
				close(full)
			case c.Unsubscribe != nil:
				t.Errorf("the client unsubscribes")
			case c.Ack != nil:
				p.send(protocol.Event{ID: c.ID, Acked: &protocol.AckedEvent{Channel: c.Ack.Channel, Position: c.Ack.Position}})
			}
			if !begun || !awaited {
				continue
			}
			for o := uint64(1); o <= 20; o++ {
				p.message("chat:lobby", o)
			}
			p.send(protocol.Event{Ping: &protocol.Ping{}}) // its answer is behind the messages
			begun = false
		}
	})
	c := open(t, url, durably())
	s := subscribe(t, c, "chat:lobby", rivulet.SubscribeOptions{Durable: true, Buffer: 4})
	done := make(chan error, 1)
	go func() { // its reply is behind what finds no room
		_, err := c.History(limit(t), "chat:lobby", rivulet.HistoryOptions{})
		done <- err
	}()
	await(t, full)
	var got []uint64
	for m, err := range s.Messages(limit(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, m.Offset); m.Offset == 20 {
			break
		}
	}
	for i, o := range got {
		if o != uint64(i+1) {
			t.Fatalf("got %v", got)
		}
	}
	if err := await(t, done); err != nil {
		t.Error(err)
	}
}

func TestDurableErrors(t *testing.T) {
	url := scripted(t, func(p *peer) {
		p.greetSession(false)
		p.subscribed(protocol.SubscribedEvent{Position: at(1), Recovered: true})
		p.idle()
	})
	c := open(t, url, durably())
	for field, o := range map[string]rivulet.SubscribeOptions{
		"durable":    {Durable: true},
		"manual_ack": {ManualAck: true},
	} {
		_, err := c.Subscribe(limit(t), "chat:>", o)
		if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Field != field {
			t.Errorf("%+v of a pattern: %v", o, err)
		}
	}
	s := subscribe(t, c, "chat:lobby", rivulet.SubscribeOptions{})
	if err := s.Ack(&rivulet.Message{Position: at(1)}); err == nil || !strings.Contains(err.Error(), "not durable") {
		t.Errorf("ack: %v", err)
	}
	if err := s.Flush(limit(t)); err != nil {
		t.Errorf("flush of nothing: %v", err)
	}
	plain := open(t, scripted(t, func(p *peer) { p.greet(); p.idle() }), quick())
	if _, err := plain.Subscribe(limit(t), "chat:lobby", rivulet.SubscribeOptions{Durable: true}); err == nil {
		t.Error("durable without a session")
	}
}

// A node that knows nothing of durable sessions, or lets a newer client have it, ends it.
func TestDurableSessionIsRefused(t *testing.T) {
	old := unconnected(t, scripted(t, func(p *peer) { p.greet(); p.idle() }), durably())
	if e, ok := errors.AsType[*rivulet.Error](old.Connect(limit(t))); !ok || e.Code != protocol.ErrorNotSupported || e.Field != "session" {
		t.Errorf("connected to a node without sessions: %v", e)
	}
	c := open(t, scripted(t, func(p *peer) {
		p.greetSession(true)
		p.subscribed(protocol.SubscribedEvent{Position: at(1), Recovered: true, Durable: true})
		p.close(protocol.CloseSuperseded)
	}), durably())
	s := subscribe(t, c, "chat:lobby", rivulet.SubscribeOptions{Durable: true})
	<-s.Done()
	if e, ok := errors.AsType[*rivulet.Error](s.Err()); !ok || e.Code != protocol.CloseSuperseded || e.Remedy == "" {
		t.Errorf("superseded: %v", s.Err())
	}
	if state, _ := c.State(); state != rivulet.StateClosed {
		t.Errorf("the client is %v", state)
	}
}

// durableLobby takes the subscribe of a session's first connection.
func (p *peer) durableLobby() {
	p.greetSession(p.n > 1)
	p.subscribed(protocol.SubscribedEvent{Position: at(0), Recovered: true, Durable: true, Resumed: p.n > 1})
}

// nextMessage takes a message.
func nextMessage(t *testing.T, s *rivulet.Subscription) *rivulet.Message {
	t.Helper()
	for m, err := range s.Messages(limit(t)) {
		if _, gap := errors.AsType[*rivulet.GapError](err); gap {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatal("no message")
	return nil
}

// anew is a position in the stream's next epoch.
func anew(offset uint64) string { return strings.Replace(at(offset), "eee-", "eef-", 1) }

// Offsets begin anew with a log that was restored: they are acknowledged though they are
// lower than those before, and those before are not any more.
func TestDurableAcksAfterTheLogChanged(t *testing.T) {
	got, flushed := make(chan string, 4), make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.durableLobby()
		p.message("chat:lobby", 30)
		p.acked(30)
		<-flushed
		p.send(protocol.Event{Gap: &protocol.GapEvent{Channel: "chat:lobby", Position: anew(1), Reason: protocol.ReasonLogChanged}})
		p.send(protocol.Event{Message: &protocol.MessageEvent{Channel: "chat:lobby", Offset: 2, Position: anew(2), Time: 1, Data: []byte("2")}})
		for {
			c := p.receive()
			got <- c.Ack.Position
			p.send(protocol.Event{ID: c.ID, Acked: &protocol.AckedEvent{Channel: c.Ack.Channel, Position: c.Ack.Position}})
		}
	})
	s := subscribe(t, open(t, url, durably()), "chat:lobby", rivulet.SubscribeOptions{Durable: true, ManualAck: true})
	before := nextMessage(t, s)
	if err := errors.Join(s.Ack(before), s.Flush(limit(t))); err != nil {
		t.Fatal(err)
	}
	close(flushed)
	after := nextMessage(t, s)
	if err := errors.Join(s.Ack(after), s.Flush(limit(t)), s.Ack(before), s.Flush(limit(t))); err != nil {
		t.Error(err)
	}
	if p := await(t, got); p != anew(2) || len(got) > 0 {
		t.Errorf("acknowledged %s, and %d more; want %s", p, len(got), anew(2))
	}
}

// Flush tells of a refusal, and the next one tries again.
func TestDurableFlushTellsOfARefusal(t *testing.T) {
	flushing := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.durableLobby()
		p.message("chat:lobby", 2)
		c := p.receive()
		<-flushing
		p.send(protocol.Event{ID: c.ID, Error: &protocol.ErrorEvent{
			Code: protocol.ErrorUnavailable, Message: "away", RetryAfterMS: time.Minute.Milliseconds(), // the next Flush is sooner
		}})
		p.acked(2)
		p.idle()
	})
	s := subscribe(t, open(t, url, durably()), "chat:lobby", rivulet.SubscribeOptions{Durable: true, ManualAck: true})
	if err := s.Ack(nextMessage(t, s)); err != nil {
		t.Fatal(err)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush(limit(t)) }()
	rivulet.WaitFlushed(limit(t), s)
	close(flushing)
	err := await(t, flushed)
	if e, ok := errors.AsType[*rivulet.Error](err); !ok || e.Code != protocol.ErrorUnavailable {
		t.Errorf("the first flush: %v", err)
	}
	if err := s.Flush(limit(t)); err != nil {
		t.Error(err)
	}
}

// What waits in the buffer from before a reset is handed over, and not acknowledged: that
// would undo the reset. A Flush of it ends.
func TestDurableAcksDoNotUndoAReset(t *testing.T) {
	reset := make(chan struct{})
	acks := make(chan string, 8)
	url := scripted(t, func(p *peer) {
		p.greetSession(p.n > 1)
		if p.n == 1 {
			p.subscribed(protocol.SubscribedEvent{Position: at(1), Recovered: true, Durable: true})
			for o := uint64(2); o <= 5; o++ {
				p.message("chat:lobby", o)
			}
			c := p.receive() // its answer gets lost
			if c.Ack == nil || c.Ack.Position != at(2) {
				t.Errorf("%+v", c)
			}
			<-reset
			p.cutOff()
			return
		}
		p.subscribed(protocol.SubscribedEvent{Position: at(1), Durable: true, Resumed: true, Reason: "reset"})
		for {
			if c := p.receive(); c.Ack != nil {
				acks <- c.Ack.Position
				p.send(protocol.Event{ID: c.ID, Acked: &protocol.AckedEvent{Channel: c.Ack.Channel, Position: c.Ack.Position}})
			} else if c.History != nil {
				p.send(protocol.Event{ID: c.ID, History: &protocol.HistoryEvent{Channel: "chat:lobby", Recovered: true}})
			}
		}
	})
	c := open(t, url, durably())
	s := subscribe(t, c, "chat:lobby", rivulet.SubscribeOptions{Durable: true, ManualAck: true})
	first := nextMessage(t, s)
	for n := 0; n < 3; n, _ = rivulet.Buffered(s) { // all that came before the reset
		if limit(t).Err() != nil {
			t.Fatal("the messages do not come")
		}
	}
	if err := s.Ack(first); err != nil {
		t.Fatal(err)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush(limit(t)) }()
	rivulet.WaitFlushed(limit(t), s)
	close(reset)
	if err := await(t, flushed); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("flush over a reset: %v", err)
	}
	for range 3 {
		if err := s.Ack(nextMessage(t, s)); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.History(limit(t), "chat:lobby", rivulet.HistoryOptions{}); err != nil { // after all acknowledgements
		t.Error(err)
	}
	select {
	case p := <-acks:
		t.Errorf("%s is acknowledged, from before the reset", p)
	default:
	}
}
