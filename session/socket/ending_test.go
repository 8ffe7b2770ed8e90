package socket_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/session/socket"
)

// TestEndedByTheNode: whatever ends a connection here ends its reading, once, whoever
// does it, and the peer is told.
func TestEndedByTheNode(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(d socket.Driver)
	}{
		{"close", func(d socket.Driver) { _ = d.Close() }},
		{"close twice", func(d socket.Driver) { _ = d.Close(); _ = d.Close() }},
		{"a deadline that has passed", func(d socket.Driver) { _ = d.SetDeadline(time.Unix(1, 0)) }},
		{"a deadline to come", func(d socket.Driver) { _ = d.SetDeadline(time.Now().Add(5 * time.Millisecond)) }},
		{"an earlier deadline", func(d socket.Driver) {
			_ = d.SetDeadline(time.Now().Add(time.Hour))
			_ = d.SetDeadline(time.Now().Add(5 * time.Millisecond))
		}},
		{"everything at once", func(d socket.Driver) {
			var wg sync.WaitGroup
			wg.Go(func() { _ = d.Close() })
			wg.Go(d.CloseWrite)
			wg.Go(func() { _ = d.SetDeadline(time.Now()) })
			wg.Go(func() { _ = d.Unacked() })
			wg.Wait()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, k := range kinds() {
				t.Run(k.name, func(t *testing.T) {
					client, server := k.make(t)
					h := attach(t, group(t), server, nil)
					send(t, client, "hello")
					h.waitFor("hello")
					tc.end(h.driver)
					if err := h.end(); err == nil {
						t.Error("ended without a reason")
					}
					_ = client.SetReadDeadline(time.Now().Add(far))
					if n, err := client.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // a reader's EOF is not wrapped
						t.Errorf("the peer read %d bytes and got %v, want EOF", n, err)
					}
				})
			}
		})
	}
}

// TestCloseDuringWork: Ended waits for Work, and follows it.
func TestCloseDuringWork(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			client, server := k.make(t)
			begun, proceed := make(chan struct{}), make(chan struct{})
			h := attach(t, group(t), server, func(h *handler) {
				h.receive = func([]byte) bool { return true }
				h.work = func() { begun <- struct{}{}; <-proceed }
			})
			send(t, client, "work")
			wait(t, begun, time.After(far))
			_ = h.driver.Close()
			if h.over.Load() {
				t.Error("ended while work was running")
			}
			close(proceed)
			if err := h.end(); err == nil {
				t.Error("ended without a reason")
			}
		})
	}
}

// TestCloseWrite: the peer is told that nothing more comes, and what it still sends is
// received.
func TestCloseWrite(t *testing.T) {
	for _, k := range overTCP() {
		t.Run(k.name, func(t *testing.T) {
			client, server := k.make(t)
			h := attach(t, group(t), server, nil)
			send(t, client, "hello")
			h.waitFor("hello")
			h.driver.CloseWrite()
			_ = client.SetReadDeadline(time.Now().Add(far))
			if text, err := io.ReadAll(client); err != nil || len(text) > 0 {
				t.Fatalf("the peer read %q and got %v, want its end", text, err)
			}
			h.driver.CloseWrite() // again is nothing
			send(t, client, ", and more")
			h.waitFor("hello, and more")
			_ = client.Close()
			if err := h.end(); err == nil {
				t.Error("ended without a reason")
			}
		})
	}
}

// TestTryWrite: a peer that does not read makes writes short; when it reads, Writable
// comes, and every byte arrives in order.
func TestTryWrite(t *testing.T) {
	client, server := tcp(t)
	h := attach(t, group(t), server, nil)
	s, ok := h.driver.(interface {
		TryWrite(p []byte) (int, error)
	})
	if !ok {
		t.Skip("plain TCP has a goroutine here")
	}
	piece := []byte(strings.Repeat("0123456789abcde\n", 1<<10))
	write := func() (total int) {
		for {
			n, err := s.TryWrite(piece)
			if err != nil {
				t.Fatal(err)
			}
			if total += n; n < len(piece) {
				return total
			}
		}
	}
	sent := 0
	for range 20 {
		n := write()
		if sent += n; n == 0 { // it told of less room than a piece needs, or without need
			wait(t, h.writable, time.After(far))
			continue
		}
		if un := h.driver.Unacked(); un == 0 {
			t.Error("nothing is unacknowledged, and no more is taken")
		}
		got := make([]byte, n)
		_ = client.SetReadDeadline(time.Now().Add(far))
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
		want := strings.Repeat(string(piece), n/len(piece)) + string(piece[:n%len(piece)])
		if string(got) != want {
			t.Fatal("the peer read something else than was written")
		}
		wait(t, h.writable, time.After(far))
	}
	if sent < 10*len(piece) {
		t.Errorf("%d bytes were taken in 20 turns", sent)
	}
	eventually(t, "all is acknowledged", func() bool { return h.driver.Unacked() == 0 })
	_ = client.Close()
	_ = h.end()
}

// TestWriteFails: a peer that is gone is an error.
func TestWriteFails(t *testing.T) {
	client, server := tcp(t)
	ended := make(chan error, 1)
	late := &lateHandler{ended: ended}
	g := group(t)
	late.driver = g.Attach(server, late)
	s, ok := late.driver.(interface {
		TryWrite(p []byte) (int, error)
	})
	if !ok {
		t.Skip("plain TCP has a goroutine here")
	}
	late.driver.Begin()
	_ = client.(*net.TCPConn).SetLinger(0)
	_ = client.Close()
	if err := wait(t, ended, time.After(far)); err == nil {
		t.Error("a reset is no error")
	}
	eventually(t, "a write fails", func() bool {
		_, err := s.TryWrite([]byte("x"))
		return err != nil
	})
	late.driver.Release()
}

// lateHandler is released by the test.
type lateHandler struct {
	driver socket.Driver
	ended  chan error
}

func (*lateHandler) Receive([]byte) bool { return false }
func (*lateHandler) Work()               {}
func (*lateHandler) Writable()           {}
func (h *lateHandler) Ended(err error)   { h.ended <- err }

// TestAfterRelease: a driver that was released touches no connection that came after
// it, though that may have its number.
func TestAfterRelease(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			g := group(t)
			client, server := k.make(t)
			old := attach(t, g, server, nil)
			_ = client.Close()
			_ = old.end()
			const later = 8 // so many that one of them has its number
			clients, handlers := make([]net.Conn, later), make([]*handler, later)
			for i := range later {
				client, server := k.make(t)
				clients[i], handlers[i] = client, attach(t, g, server, nil)
			}
			old.driver.Release()
			_ = old.driver.Close()
			old.driver.CloseWrite()
			_ = old.driver.SetDeadline(time.Now())
			for i, client := range clients {
				send(t, client, "hello")
				handlers[i].waitFor("hello")
				_ = client.Close()
				if err := handlers[i].end(); err != io.EOF { //nolint:errorlint // a reader's EOF is not wrapped
					t.Errorf("ended with %v, want EOF", err)
				}
			}
		})
	}
}
