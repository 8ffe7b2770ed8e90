package websocket_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
)

// small makes the client's receive buffer small, so that pressure builds up soon.
func small(tb testing.TB, n *node) *client {
	tb.Helper()
	d := gorilla.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return conn, conn.(*net.TCPConn).SetReadBuffer(128 << 10)
	}}
	conn, resp, err := d.DialContext(tb.Context(), n.url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp.Body.Close()
	tb.Cleanup(func() { _ = conn.Close() })
	return &client{conn, tb}
}

// TestSlowReader: a client slower than the rate gets everything in order, is never
// cut, and keeps no other client waiting.
func TestSlowReader(t *testing.T) {
	const messages = 3000
	n := start(t, func(c *session.Config) {
		c.SoftBuffer, c.HardBuffer = 8<<10, 64<<10
		c.PingInterval, c.DeadAfter, c.StallTimeout = 50*time.Millisecond, 20*time.Second, 5*time.Second
	}, open())
	slow, fast := small(t, n), n.dial(t, "", nil)
	slow.subscribe(1, "chat:a", "")
	fast.subscribe(1, "chat:a", "")
	data := strings.Repeat("x", 1000)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range messages {
			if ev := nextMessage(fast); int(ev.Offset) != i+1 {
				t.Errorf("fast client: offset %d, want %d", ev.Offset, i+1)
				return
			}
		}
	})
	for range messages {
		n.hub.Publish("chat:a", `"`+data+`"`)
	}
	wg.Wait() // the slow client has read nothing yet
	if n.hub.Refused() == 0 {
		t.Fatal("the slow client took 3 MB at once; the test shows nothing")
	}
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for i := range messages {
		if i%4 == 0 {
			<-pause.C
		}
		if ev := nextMessage(slow); int(ev.Offset) != i+1 || len(ev.Data) != 1002 {
			t.Fatalf("slow client: offset %d, want %d", ev.Offset, i+1)
		}
	}
}

// nextMessage skips heartbeats.
func nextMessage(c *client) protocol.MessageEvent {
	c.tb.Helper()
	for {
		if ev := c.next(); ev.Message != nil {
			return *ev.Message
		} else if ev.Ping == nil {
			c.tb.Errorf("got %s, want a message", show(ev))
			return protocol.MessageEvent{}
		}
	}
}

// TestStalledReader: a client that reads nothing is closed, for that reason.
func TestStalledReader(t *testing.T) {
	n := start(t, func(c *session.Config) {
		c.PingInterval, c.DeadAfter, c.StallTimeout = 20*time.Millisecond, 20*time.Second, 300*time.Millisecond
		c.CloseTimeout = 100 * time.Millisecond
	}, open())
	c := small(t, n)
	c.subscribe(1, "chat:a", "")
	for range 1000 {
		n.hub.Publish("chat:a", `"`+strings.Repeat("x", 8000)+`"`)
	}
	if n.hub.Refused() == 0 {
		t.Fatal("the client took 8 MB at once; the test shows nothing")
	}
	hubtest.Eventually(t, "the client is cut", func() bool { return n.registry.Len() == 0 })
}

// TestCommandsWithoutReading: a client that sends commands and reads no reply is
// not read any more; it holds no memory for its replies, and goes on when it reads.
func TestCommandsWithoutReading(t *testing.T) {
	n := start(t, func(c *session.Config) { c.SoftBuffer, c.HardBuffer = 4<<10, 16<<10 }, open())
	c := small(t, n)
	const commands = 60_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range commands {
			if err := c.WriteMessage(gorilla.TextMessage, fmt.Appendf(nil, `{"id":%d,"presence":{"channel":"chat:a"}}`, i+1)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range commands {
		c.wantError(uint64(i+1), protocol.ErrorNotSupported, "channel")
	}
	wg.Wait()
}

func TestDrain(t *testing.T) {
	n := start(t, func(c *session.Config) { c.DrainWindow = 200 * time.Millisecond }, open())
	var clients []*client
	for range 20 {
		c := n.dial(t, "", nil)
		c.subscribe(1, "chat:a", "")
		clients = append(clients, c)
	}
	drained := make(chan error, 1)
	go func() { drained <- n.registry.Drain(t.Context()) }()
	retries := map[int64]bool{}
	for _, c := range clients {
		ev := c.wantClose(protocol.CloseDraining)
		if ev.RetryAfterMS < 1 || ev.RetryAfterMS > 200 {
			t.Errorf("retry after %d ms, want within the window of 200 ms", ev.RetryAfterMS)
		}
		retries[ev.RetryAfterMS] = true
		_ = c.Close()
	}
	if len(retries) < 3 {
		t.Errorf("20 clients were sent to %d different moments", len(retries))
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	_, resp, err := gorilla.DefaultDialer.DialContext(t.Context(), n.url, nil)
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a draining node answers %v", resp)
	}
	resp.Body.Close()
}

// TestDrainCuts: clients that do not close in time are cut.
func TestDrainCuts(t *testing.T) {
	n := start(t, func(c *session.Config) { c.CloseTimeout = time.Minute }, open())
	c := n.dial(t, "", nil)
	c.subscribe(1, "chat:a", "")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := n.registry.Drain(ctx); err == nil {
		t.Error("drain says that all clients closed, but one does not read")
	}
	if n.registry.Len() != 0 {
		t.Errorf("%d connections are left", n.registry.Len())
	}
}

// TestChurn opens and leaves many connections in all ways; TestMain proves that no
// goroutine is left.
func TestChurn(t *testing.T) {
	n := start(t, nil, open())
	const clients, each = 16, 150
	var wg sync.WaitGroup
	for g := range clients {
		wg.Go(func() {
			for i := range each {
				conn, resp, err := gorilla.DefaultDialer.DialContext(t.Context(), n.url, nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				_ = conn.WriteMessage(gorilla.TextMessage, []byte(`{"id":1,"subscribe":{"channel":"chat:a"}}`))
				switch (g + i) % 4 {
				case 0:
					_, _, _ = conn.ReadMessage()
				case 1:
					_ = conn.WriteMessage(gorilla.TextMessage, []byte(`{"id":2,"publish":{"channel":"chat:a","data":1}}`))
				case 2:
					_ = conn.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
					for err == nil {
						_, _, err = conn.ReadMessage()
					}
					if closed, ok := errors.AsType[*gorilla.CloseError](err); !ok || closed.Code != 1000 {
						t.Errorf("a clean close was answered with %v", err)
					}
				}
				_ = conn.Close()
			}
		})
	}
	wg.Wait()
	hubtest.Eventually(t, "all are gone", func() bool { return n.registry.Len() == 0 && n.hub.Clients() == 0 })
}

// TestDeliverWhileClosing publishes to connections that come to their end meanwhile.
func TestDeliverWhileClosing(t *testing.T) {
	n := start(t, func(c *session.Config) { c.SoftBuffer = 2 << 10 }, open())
	stop := make(chan struct{})
	var publisher, wg sync.WaitGroup
	publisher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				n.hub.Publish("chat:a", `"`+strings.Repeat("x", 500)+`"`)
			}
		}
	})
	for range 8 {
		wg.Go(func() {
			for range 20 {
				c := n.dial(t, "", nil)
				c.send(`{"id":1,"subscribe":{"channel":"chat:a"}}`)
				last := uint64(0)
				for range 30 {
					ev := c.next()
					if ev.Message == nil {
						continue
					}
					if last != 0 && ev.Message.Offset != last+1 {
						t.Errorf("offset %d after %d", ev.Message.Offset, last)
					}
					last = ev.Message.Offset
				}
				c.send(`not a command`)
				for closed := false; !closed; {
					_, _, err := c.ReadMessage()
					if closed = err != nil; closed {
						if e, ok := errors.AsType[*gorilla.CloseError](err); !ok || e.Code != int(protocol.CloseBadFrame) {
							t.Errorf("ended with %v", err)
						}
					}
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	close(stop)
	publisher.Wait()
}
