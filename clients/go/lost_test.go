package rivulet_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// hearing ends a client's writes, and not its reads.
type hearing struct {
	mu    sync.Mutex // guards the following
	conns []*earConn
}

// earConn is the client's end of a connection.
type earConn struct {
	net.Conn
	deaf atomic.Bool
}

var errDeaf = errors.New("broken pipe")

func (c *earConn) Write(p []byte) (int, error) {
	if c.deaf.Load() {
		return 0, errDeaf
	}
	return c.Conn.Write(p)
}

func (h *hearing) dial(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := &earConn{Conn: conn}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.conns = append(h.conns, c)
		return c, nil
	}
}

// end has writes fail on the connections so far.
func (h *hearing) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		c.deaf.Store(true)
	}
	h.conns = nil
}

// deafened is bubbled for a client whose writes can be ended.
func deafened(t *testing.T, script func(p *peer, deafen func())) rivulet.Options {
	t.Helper()
	h := &hearing{}
	opts := bubbled(t, func(p *peer) { script(p, h.end) })
	opts.Dial = h.dial(opts.Dial)
	return opts
}

// A write that fails says nothing of what the node sent before, nor of its replies to what
// went out before: where every connection is like that, each brings something.
func TestWhatWasSentBeforeAWriteFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each, conns = 3, 5
		opts := deafened(t, func(p *peer, deafen func()) {
			p.greet()
			c := p.receive()
			deafen()
			p.send(protocol.Event{Ping: &protocol.Ping{}}) // its answer fails
			from := uint64(each * (p.n - 1))
			if want := at(from); p.n > 1 && c.Subscribe.Position != want {
				t.Errorf("connection %d goes on from %s, want %s", p.n, c.Subscribe.Position, want)
			}
			p.send(protocol.Event{ID: c.ID, Subscribed: &protocol.SubscribedEvent{Channel: "a:b", Recovered: true, Position: at(from)}})
			for i := range uint64(each) {
				p.message("a:b", from+i+1)
			}
			p.cutOff()
		})
		s := subscribe(t, connect(t, opts), "a:b", rivulet.SubscribeOptions{})
		for i, offset := range offsets(t, s, each*conns) {
			if offset != uint64(i)+1 {
				t.Fatalf("message %d has offset %d", i+1, offset)
			}
		}
	})
}

// The same where it is the answer to a ping of WebSocket that fails.
func TestPongThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := deafened(t, func(p *peer, deafen func()) {
			p.greet()
			p.begin("a:b", uint64(p.n-1))
			deafen()
			if err := p.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
				t.Error(err)
			}
			p.message("a:b", uint64(p.n))
			p.cutOff()
		})
		s := subscribe(t, connect(t, opts), "a:b", rivulet.SubscribeOptions{})
		if got := offsets(t, s, 3); got[2] != 3 {
			t.Errorf("got %v", got)
		}
	})
}

// A node that hears nothing any more, and says nothing, or goes on and on, is left: within a
// second, or two.
func TestNodeThatDoesNotHear(t *testing.T) {
	for name, tt := range map[string]struct {
		goesOn bool
		most   time.Duration
	}{"and is silent": {false, time.Second}, "and goes on": {true, 2100 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left, back := make(chan time.Time, 1), make(chan time.Time, 1)
				opts := deafened(t, func(p *peer, deafen func()) {
					p.greet()
					p.begin("a:b", 0)
					if p.n == 2 {
						back <- time.Now()
						p.idle()
					}
					deafen()
					p.send(protocol.Event{Ping: &protocol.Ping{}})
					left <- time.Now()
					for offset := uint64(1); tt.goesOn; offset++ {
						<-time.After(100 * time.Millisecond)
						p.message("a:b", offset)
					}
					p.idle()
				})
				opts.Backoff = rivulet.Backoff{Jitter: func(time.Duration) time.Duration { return 0 }}
				subscribe(t, connect(t, opts), "a:b", rivulet.SubscribeOptions{})
				began := await(t, left)
				if d := await(t, back).Sub(began); d != tt.most {
					t.Errorf("left after %v, want %v", d, tt.most)
				}
			})
		})
	}
}

// A full buffer does not keep a client on a link that is no good, and what did not find
// room comes again.
func TestFullBufferOnALinkThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, back := make(chan time.Time, 1), make(chan time.Time, 1)
		opts := deafened(t, func(p *peer, deafen func()) {
			p.greet()
			if p.n == 1 {
				p.begin("a:b", 0)
				deafen()
				p.send(protocol.Event{Ping: &protocol.Ping{}})
				began <- time.Now()
				for offset := range uint64(6) {
					p.message("a:b", offset+1)
				}
				p.cutOff()
				return
			}
			back <- time.Now()
			p.begin("a:b", 2)
			for offset := range uint64(4) {
				p.message("a:b", offset+3)
			}
			p.idle()
		})
		opts.Backoff = rivulet.Backoff{Jitter: func(time.Duration) time.Duration { return 0 }}
		s := subscribe(t, connect(t, opts), "a:b", rivulet.SubscribeOptions{Buffer: 2})
		if d := await(t, back).Sub(await(t, began)); d > 100*time.Millisecond {
			t.Errorf("came back after %v", d)
		}
		for i, offset := range offsets(t, s, 6) {
			if offset != uint64(i)+1 {
				t.Fatalf("message %d has offset %d", i+1, offset)
			}
		}
	})
}

// A reply that had been sent counts, too: the command is not repeated.
func TestReplyBeforeAWriteFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := deafened(t, func(p *peer, deafen func()) {
			p.greet()
			c := p.receive()
			if p.n > 1 {
				t.Errorf("connection %d brings %+v", p.n, c)
			}
			deafen()
			p.send(protocol.Event{Ping: &protocol.Ping{}})
			p.send(protocol.Event{ID: c.ID, Published: &protocol.PublishedEvent{Channel: "a:b", Offset: 7, Position: at(7)}})
			p.cutOff()
		})
		c := connect(t, opts)
		got, err := c.Publish(limit(t), "a:b", 1, rivulet.PublishOptions{})
		if err != nil || got.Offset != 7 {
			t.Errorf("got %+v, %v", got, err)
		}
		c.Close()
	})
}

// Why a node closes a connection counts where a write failed before it was read: one that
// shall stay away does.
func TestWordOfANodeThatDoesNotHear(t *testing.T) {
	for name, say := range map[string]func(p *peer){
		"close frame": func(p *peer) { p.close(protocol.CloseForbidden) },
		"disconnect": func(p *peer) {
			p.send(protocol.Event{Disconnect: &protocol.DisconnectEvent{Code: protocol.CloseForbidden}})
			p.cutOff()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := deafened(t, func(p *peer, deafen func()) {
					p.greet()
					p.begin("a:b", 0)
					deafen()
					p.send(protocol.Event{Ping: &protocol.Ping{}})
					say(p)
				})
				s := subscribe(t, connect(t, opts), "a:b", rivulet.SubscribeOptions{})
				select {
				case <-s.Done():
				case <-limit(t).Done():
					t.Fatal("the client comes back")
				}
				if e, ok := errors.AsType[*rivulet.Error](s.Err()); !ok || e.Code != protocol.CloseForbidden {
					t.Errorf("ended with %v", s.Err())
				}
			})
		})
	}
}
