package rivulet_test

import (
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// After a lost connection nothing is acknowledged that the new one has not brought: the node
// would refuse it.
func TestDurableAcksWhatTheConnectionBrought(t *testing.T) {
	taken := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.greetSession(p.n > 1)
		p.subscribed(protocol.SubscribedEvent{Position: at(1), Recovered: true, Durable: true, Resumed: p.n > 1})
		if p.n == 1 {
			for o := uint64(2); o <= 4; o++ {
				p.message("chat:lobby", o)
			}
			p.receive() // an acknowledgement; its answer is lost
			await(t, taken)
			p.cutOff()
			return
		}
		for o := uint64(2); o <= 4; o++ {
			p.send(protocol.Event{Ping: &protocol.Ping{}})
			if c := p.receive(); c.Pong == nil {
				p.t.Errorf("before message %d came again: %+v", o, c.Ack)
			}
			p.message("chat:lobby", o)
		}
		p.acked(4)
		p.idle()
	})
	s := subscribe(t, open(t, url, durably()), "chat:lobby", rivulet.SubscribeOptions{Durable: true, ManualAck: true})
	var last *rivulet.Message
	for range 3 {
		last = nextMessage(t, s)
		if err := s.Ack(last); err != nil {
			t.Fatal(err)
		}
	}
	close(taken)
	if err := s.Flush(limit(t)); err != nil {
		t.Error(err)
	}
}

// An acknowledgement that is refused for a while is sent again, though nobody asks for it.
func TestDurableAckThatIsRefusedForNow(t *testing.T) {
	done := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.durableLobby()
		p.message("chat:lobby", 2)
		p.refuse(p.receive(), time.Millisecond)
		p.acked(2)
		close(done)
		p.idle()
	})
	s := subscribe(t, open(t, url, durably()), "chat:lobby", rivulet.SubscribeOptions{Durable: true, ManualAck: true})
	if err := s.Ack(nextMessage(t, s)); err != nil {
		t.Fatal(err)
	}
	await(t, done)
}

// An application that is slow, but takes, does not have its connection renewed over and over:
// nobody waits for the answers to acknowledgements.
func TestDurableSlowConsumerKeepsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 200
		opts := bubbled(t, func(p *peer) {
			p.greetSession(p.n > 1)
			if p.n > 1 {
				p.t.Error("the connection was renewed")
			}
			p.subscribed(protocol.SubscribedEvent{Position: at(0), Recovered: true, Durable: true})
			out := make(chan protocol.Event, 2*messages) // acknowledgements do not wait for room
			go func() {
				defer func() { _ = recover() }()
				for e := range out {
					p.send(e)
				}
			}()
			defer close(out)
			for o := range uint64(messages) {
				out <- protocol.Event{Message: &protocol.MessageEvent{Channel: "chat:lobby", Offset: o + 1, Position: at(o + 1), Data: []byte("1")}}
			}
			for {
				c := p.receive()
				out <- protocol.Event{ID: c.ID, Acked: &protocol.AckedEvent{Channel: "chat:lobby", Position: c.Ack.Position}}
			}
		})
		opts.Session = "phone-1"
		s := subscribe(t, connect(t, opts), "chat:lobby", rivulet.SubscribeOptions{Durable: true, Buffer: 8})
		for want := range uint64(messages) {
			ctx := t.Context()
			for m, err := range s.Messages(ctx) {
				if err != nil || m.Offset != want+1 {
					t.Fatalf("got %+v, %v; want %d", m, err, want+1)
				}
				break
			}
			pass(100 * time.Millisecond)
		}
	})
}

// A late answer, to an acknowledgement of before the subscription began anew on its
// connection, is not taken for that of the one under way.
func TestDurableAckThatIsAnsweredLate(t *testing.T) {
	acknowledged := make(chan struct{})
	url := scripted(t, func(p *peer) {
		p.durableLobby()
		p.message("chat:lobby", 2)
		p.message("chat:lobby", 3)
		late := p.receive()
		await(t, acknowledged)
		p.send(protocol.Event{Unsubscribed: &protocol.UnsubscribedEvent{Channel: "chat:lobby", Code: protocol.ErrorResubscribe}})
		p.subscribed(protocol.SubscribedEvent{Position: at(3), Recovered: true, Durable: true, Resumed: true})
		for _, c := range []*protocol.Command{late, p.receive()} {
			if c.Ack == nil {
				p.t.Errorf("command is %+v, want ack", c)
				panic(errGone)
			}
			p.send(protocol.Event{ID: c.ID, Acked: &protocol.AckedEvent{Channel: "chat:lobby", Position: c.Ack.Position}})
		}
		p.idle()
	})
	s := subscribe(t, open(t, url, durably()), "chat:lobby", rivulet.SubscribeOptions{Durable: true, ManualAck: true})
	for range 2 {
		if err := s.Ack(nextMessage(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	close(acknowledged)
	if err := s.Flush(limit(t)); err != nil {
		t.Error(err)
	}
}
