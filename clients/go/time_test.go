package rivulet_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// These tests run in a bubble, where time passes only when all wait: their clock
// is exact, and they take none.

// pipes is a network of one host, in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// bubbled starts a node in the bubble and returns options that reach it, with a
// backoff that always waits as long as it may.
func bubbled(t *testing.T, script func(p *peer)) rivulet.Options {
	t.Helper()
	network := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	var wg sync.WaitGroup
	srv := &http.Server{Handler: playing(t, script), ReadHeaderTimeout: time.Minute}
	wg.Go(func() { _ = srv.Serve(network) })
	t.Cleanup(func() {
		_ = srv.Close()
		wg.Wait()
	})
	return rivulet.Options{
		Dial:    network.dial,
		Backoff: rivulet.Backoff{Jitter: func(most time.Duration) time.Duration { return most }},
	}
}

func connect(t *testing.T, opts rivulet.Options) *rivulet.Client {
	t.Helper()
	c := unconnected(t, "http://node", opts)
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBackoffGrowsAndStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := bubbled(t, func(p *peer) {
			p.greet()
			if p.n < 3 {
				p.cutOff()
				return
			}
			p.idle()
		})
		waited, connected := make(chan time.Duration, 20), make(chan struct{}, 20)
		opts.OnState = func(s rivulet.StateChange) {
			if s.State == rivulet.StateRetrying {
				waited <- s.RetryIn
			}
			if s.State == rivulet.StateConnected {
				connected <- struct{}{}
			}
		}
		dial := opts.Dial
		fails := 9
		opts.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if fails--; fails >= 0 {
				return nil, errors.New("no route")
			}
			return dial(ctx, network, addr)
		}
		began := time.Now()
		connect(t, opts)
		const ms = time.Millisecond
		want := []time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 16000 * ms, 20000 * ms, 20000 * ms}
		var sum time.Duration
		for i, w := range want {
			if d := <-waited; d != w {
				t.Errorf("waited %v before attempt %d, want %v", d, i+2, w)
			}
			sum += w
		}
		if d := time.Since(began); d < sum {
			t.Errorf("connected after %v, want %v", d, sum)
		}
		for range 3 {
			<-connected
		}
		for range 2 {
			if d := <-waited; d != 250*ms {
				t.Errorf("waited %v after a connect, want the base", d)
			}
		}
	})
}

func TestWaitsAsLongAsTheNodeSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, back := make(chan time.Time, 1), make(chan time.Duration, 1)
		opts := bubbled(t, func(p *peer) {
			p.greet()
			if p.n == 1 {
				left <- time.Now()
				p.send(protocol.Event{Disconnect: &protocol.DisconnectEvent{Code: protocol.CloseDraining, Reconnect: true, RetryAfterMS: 7000}})
				p.close(protocol.CloseDraining)
				return
			}
			back <- time.Since(<-left)
			p.idle()
		})
		connect(t, opts)
		if d := <-back; d != 7250*time.Millisecond {
			t.Errorf("came back after %v, want 7 s and the backoff", d)
		}
	})
}

func TestSilentNodeIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent, back := make(chan time.Time, 1), make(chan time.Duration, 1)
		opts := bubbled(t, func(p *peer) {
			p.greet()
			if p.n == 2 {
				back <- time.Since(<-silent)
				p.idle()
			}
			for range 10 { // alive by its pings
				<-time.After(70 * time.Second)
				p.send(protocol.Event{Ping: &protocol.Ping{}})
				p.receive()
			}
			silent <- time.Now()
			p.idle()
		})
		connect(t, opts)
		if d := <-back; d != 75*time.Second+250*time.Millisecond {
			t.Errorf("came back after %v, want 3 ping intervals and the backoff", d)
		}
	})
}

func TestHandshakeThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		back := make(chan time.Duration, 1)
		opts := bubbled(t, func(p *peer) {
			if p.n == 1 {
				p.receive()
				p.idle()
			}
			back <- time.Since(began)
			p.greet()
			p.idle()
		})
		connect(t, opts)
		if d := <-back; d != 10*time.Second+250*time.Millisecond {
			t.Errorf("came back after %v", d)
		}
	})
}

func TestCloseWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := bubbled(t, func(p *peer) { p.idle() })
		c := unconnected(t, "http://node", opts)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Connect: %v", err)
		}
		began := time.Now()
		c.Close()
		if d := time.Since(began); d > time.Second {
			t.Errorf("Close took %v", d)
		}
	})
}

func TestPausesASubscriptionNobodyTakesFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan time.Duration, 1)
		resumed := make(chan *protocol.SubscribeCommand, 1)
		opts := bubbled(t, func(p *peer) {
			p.greet()
			p.subscribed(protocol.SubscribedEvent{Position: at(0), Recovered: true})
			var writing sync.WaitGroup // the pipe holds nothing: reading must not wait for it
			writing.Go(func() {
				for offset := range uint64(20) {
					p.message("a:b", offset+1)
				}
			})
			began := time.Now()
			c := p.receive()
			if c.Unsubscribe == nil {
				t.Errorf("got %+v, want unsubscribe", c)
			}
			let <- time.Since(began)
			writing.Wait()
			p.send(protocol.Event{ID: c.ID, Unsubscribed: &protocol.UnsubscribedEvent{Channel: "a:b"}})
			resumed <- p.subscribed(protocol.SubscribedEvent{Position: at(8), Recovered: true})
			p.message("a:b", 9)
			p.idle()
		})
		c := connect(t, opts)
		s, err := c.Subscribe(t.Context(), "a:b", rivulet.SubscribeOptions{Buffer: 8})
		if err != nil {
			t.Fatal(err)
		}
		if d := <-let; d != 10*time.Second {
			t.Errorf("let go after %v, want 10 s", d)
		}
		n := uint64(0)
		for m, err := range s.Messages(t.Context()) {
			if n++; err != nil || m.Offset != n {
				t.Fatalf("got %+v, %v; want offset %d", m, err, n)
			}
			if n == 9 {
				break
			}
		}
		if c := <-resumed; c.Position != at(8) {
			t.Errorf("resumed with %+v, want position %s", c, at(8))
		}
	})
}

// TestAClientSaysThatItResumes: from its second handshake on.
func TestAClientSaysThatItResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := make(chan string, 3)
		opts := bubbled(t, func(p *peer) {
			said <- p.query.Get("resume")
			p.greet()
			if p.n < 3 {
				p.cutOff()
				return
			}
			p.idle()
		})
		connect(t, opts)
		for i, want := range []string{"", "1", "1"} {
			if got := <-said; got != want {
				t.Errorf("handshake %d says resume=%q, want %q", i+1, got, want)
			}
		}
	})
}
