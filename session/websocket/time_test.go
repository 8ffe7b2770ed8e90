package websocket_test

import (
	"io"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/websocket"
)

// memory is a node whose connections are in memory, for a bubble with its own clock.
func memory(t *testing.T, a session.Authenticator) (n *node, dial func(http.Header) *client) {
	t.Helper()
	return memoryWith(t, session.DefaultConfig(), a)
}

func memoryWith(t *testing.T, cfg session.Config, a session.Authenticator) (n *node, dial func(http.Header) *client) {
	t.Helper()
	hub, pipes := hubtest.New(), hubtest.NewPipes()
	registry := hub.Start(t, cfg, a)
	server := &http.Server{Handler: websocket.New(registry, slog.New(slog.DiscardHandler)), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(pipes) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	dialer := gorilla.Dialer{NetDialContext: pipes.Dial}
	return &node{hub: hub, registry: registry}, func(h http.Header) *client {
		conn, resp, err := dialer.DialContext(t.Context(), "ws://node/", h)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		t.Cleanup(func() { _ = conn.Close() })
		return &client{conn, t}
	}
}

func within(t *testing.T, what string, got, least, most time.Duration) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s after %v, want %v to %v", what, got, least, most)
	}
}

// waitClose reads up to the end, without a deadline.
func (c *client) waitClose(t *testing.T) (ev protocol.DisconnectEvent, code int) {
	t.Helper()
	for {
		var e protocol.Event
		err := c.ReadJSON(&e)
		if closed, ok := err.(*gorilla.CloseError); ok { //nolint:errorlint // gorilla returns it as it is
			return ev, closed.Code
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Disconnect != nil {
			ev = *e.Disconnect
		}
	}
}

func TestHeartbeat(t *testing.T) {
	for _, tc := range []struct {
		name   string
		header http.Header
		events bool
	}{
		{"a browser sees events", http.Header{"Origin": {"http://node"}}, true},
		{"others see pings alone", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, dial := memory(t, open())
				c := dial(tc.header)
				begun := time.Now()
				var pings []time.Duration
				var events int
				c.SetPingHandler(func(string) error {
					pings = append(pings, time.Since(begun))
					return c.WriteControl(gorilla.PongMessage, nil, time.Now().Add(time.Second))
				})
				if err := c.SetReadDeadline(begun.Add(10*time.Minute + time.Second)); err != nil {
					t.Fatal(err)
				}
				for {
					var ev protocol.Event
					if err := c.ReadJSON(&ev); err != nil {
						break // the deadline
					}
					if ev.Ping == nil {
						t.Errorf("got %s", show(ev))
					}
					events++
				}
				if n := len(pings); n < 20 || n > 24 {
					t.Fatalf("%d pings in ten minutes", n)
				}
				within(t, "first ping", pings[0], 12*time.Second, 31*time.Second)
				for i := range pings[1:] {
					within(t, "next ping", pings[i+1]-pings[i], 19*time.Second, 31*time.Second)
				}
				if tc.events && events != len(pings) || !tc.events && events != 0 {
					t.Errorf("%d ping events with %d pings", events, len(pings))
				}
				if n.registry.Len() != 1 {
					t.Error("a client that answers was closed")
				}
			})
		})
	}
}

func TestSilentClientIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial := memory(t, open())
		c := dial(nil)
		begun := time.Now()
		c.SetPingHandler(func(string) error { return nil })
		ev, code := c.waitClose(t)
		within(t, "closed", time.Since(begun), 90*time.Second, 96*time.Second)
		if code != int(protocol.CloseHeartbeat) || ev.Code != protocol.CloseHeartbeat || !ev.Reconnect {
			t.Errorf("closed with %d, %+v", code, ev)
		}
	})
}

// TestAnyFrameIsLife: commands keep a client alive that does not answer pings.
func TestAnyFrameIsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dial := memory(t, open())
		c := dial(nil)
		c.SetPingHandler(func(string) error { return nil })
		go func() { _, _ = io.Copy(io.Discard, c.NetConn()) }()
		for range 20 {
			pass(80 * time.Second)
			c.send(`{"pong":{}}`)
		}
		synctest.Wait()
		if n.registry.Len() != 1 {
			t.Error("a client that sends was closed")
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial := memory(t, tokens(t))
		begun := time.Now()
		ev, code := dial(nil).waitClose(t)
		within(t, "closed", time.Since(begun), 10*time.Second, 16*time.Second)
		if code != int(protocol.CloseConnectTimeout) || !ev.Reconnect {
			t.Errorf("closed with %d, %+v", code, ev)
		}
	})
}

func TestTokenExpires(t *testing.T) {
	claims := func(lives time.Duration) auth.Claims {
		return auth.Claims{Subject: "ann", ExpiresAt: time.Now().Add(lives), Capabilities: auth.Everything()}
	}
	known := map[string]auth.Claims{}
	synctest.Test(t, func(t *testing.T) {
		_, dial := memory(t, hubtest.Tokens{Known: known})
		known["short"], known["longer"] = claims(time.Minute), claims(2*time.Minute)
		begun := time.Now()
		c := dial(http.Header{"Authorization": {"Bearer short"}})
		pass(50 * time.Second)
		go c.send(`{"id":1,"refresh":{"token":"longer"}}`)
		_, code := c.waitClose(t)
		within(t, "closed", time.Since(begun), 2*time.Minute, 2*time.Minute+6*time.Second)
		if code != int(protocol.CloseTokenExpired) {
			t.Errorf("closed with %d", code)
		}
	})
}

// TestNotReadingIsClosed: nothing is read at all, though something waits.
func TestNotReadingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dial := memory(t, open())
		c := dial(nil)
		begun := time.Now()
		c.send(`{"id":1,"subscribe":{"channel":"chat:a"}}`) // its answer waits in the pipe
		for n.registry.Len() > 0 {
			pass(time.Second)
			if time.Since(begun) > 10*time.Minute {
				t.Fatal("still there")
			}
		}
		within(t, "cut", time.Since(begun), 60*time.Second, 78*time.Second)
	})
}

// TestNotReadingIsTold: when it reads at last, it gets the reason, and not first
// all that waited.
func TestNotReadingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := session.DefaultConfig()
		cfg.CloseTimeout = time.Minute
		n, dial := memoryWith(t, cfg, open())
		c := dial(nil)
		c.subscribe(1, "chat:a", "")
		_ = c.SetReadDeadline(time.Time{})
		for range 60 {
			n.hub.Publish("chat:a", `"`+string(make20k())+`"`)
		}
		pass(90 * time.Second)
		messages := 0
		for {
			var ev protocol.Event
			if err := c.ReadJSON(&ev); err != nil {
				t.Fatalf("no disconnect: %v", err)
			}
			if ev.Disconnect != nil {
				if ev.Disconnect.Code != protocol.CloseNotReading || !ev.Disconnect.Reconnect {
					t.Errorf("got %s", show(ev))
				}
				break
			}
			messages++
		}
		if messages > 1 {
			t.Errorf("%d messages came before the reason", messages)
		}
		c.wantCloseFrame(protocol.CloseNotReading)
	})
}

// TestSlowButReading: a frame every 50 seconds is slow, yet never a reason to close.
func TestSlowButReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dial := memory(t, open())
		c := dial(nil)
		c.SetPingHandler(func(string) error { return nil }) // it never comes to answer
		c.subscribe(1, "chat:a", "")
		_ = c.SetReadDeadline(time.Time{})
		for range 60 {
			n.hub.Publish("chat:a", `"`+string(make20k())+`"`)
		}
		for i := range 60 {
			pass(50 * time.Second)
			var ev protocol.Event
			if err := c.ReadJSON(&ev); err != nil {
				t.Fatalf("message %d after %v: %v", i+1, time.Duration(i)*50*time.Second, err)
			}
			if ev.Message == nil || ev.Message.Offset != uint64(i+1) {
				t.Fatalf("message %d: got %.100s", i+1, show(ev))
			}
		}
	})
}

// pass lets time go by in the bubble.
func pass(d time.Duration) { <-time.After(d) }

func make20k() []byte {
	b := make([]byte, 20_000)
	for i := range b {
		b[i] = 'x'
	}
	return b
}
