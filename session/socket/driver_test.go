package socket_test

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestReceives: bytes come in order and once, whatever their number, and then the end.
func TestReceives(t *testing.T) {
	for _, tc := range []struct {
		name        string
		size, times int
		pause       bool // until what was sent has come
	}{
		{"a byte", 1, 1, false},
		{"bytes one by one", 1, 50, true},
		{"a whole buffer", 16 << 10, 1, false},
		{"whole buffers", 16 << 10, 20, true},
		{"more than one turn of the poller", 200 << 10, 5, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, k := range kinds() {
				t.Run(k.name, func(t *testing.T) {
					client, server := k.make(t)
					h := attach(t, group(t), server, nil)
					var want strings.Builder
					for i := range tc.times {
						part := strings.Repeat(string(rune('a'+i%26)), tc.size)
						want.WriteString(part)
						send(t, client, part)
						if tc.pause {
							h.waitFor(want.String())
						}
					}
					_ = client.Close()
					h.waitFor(want.String())
					if err := h.end(); !errors.Is(err, io.EOF) {
						t.Errorf("ended with %v, want EOF", err)
					}
				})
			}
		})
	}
}

func send(tb testing.TB, to net.Conn, text string) {
	tb.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		tb.Fatal(err)
	}
}

// TestWorkAndReceiveAlternate: work follows what asked for it, and nothing is received
// while it runs; what came meanwhile is received afterwards.
func TestWorkAndReceiveAlternate(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			client, server := k.make(t)
			begun, proceed := make(chan struct{}), make(chan struct{})
			h := attach(t, group(t), server, func(h *handler) {
				h.receive = func(p []byte) bool { return p[0] == 'w' }
				h.work = func() { begun <- struct{}{}; <-proceed }
			})
			send(t, client, "a")
			h.waitFor("a")
			send(t, client, "w1")
			late := time.After(far)
			wait(t, begun, late)
			var wg sync.WaitGroup
			wg.Go(func() { send(t, client, "meanwhile") }) // a pipe's peer waits until it is read
			if k.tcp {
				wg.Wait()
			}
			h.waitFor("aw1")
			proceed <- struct{}{}
			wg.Wait()
			h.waitFor("aw1meanwhile")
			send(t, client, "w2")
			wait(t, begun, late)
			_ = client.Close()
			proceed <- struct{}{}
			if err := h.end(); !errors.Is(err, io.EOF) {
				t.Errorf("ended with %v, want EOF", err)
			}
			want := []string{"receive", "receive", "work", "receive", "receive", "work", "ended"}
			if !slices.Equal(h.calls, want) {
				t.Errorf("calls %v, want %v", h.calls, want)
			}
		})
	}
}

// TestWorkUnderLoad: calls never overlap, and nothing is lost, while much comes in
// pieces that now and then ask for work.
func TestWorkUnderLoad(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			g := group(t)
			var wg sync.WaitGroup
			for range 8 {
				client, server := k.make(t)
				n := 0
				h := attach(t, g, server, func(h *handler) {
					h.receive = func([]byte) bool { n++; return n%3 == 0 }
					h.work = func() { n += 3 } // the race detector knows if it is alone
				})
				wg.Go(func() {
					var want strings.Builder
					for i := range 300 {
						part := strings.Repeat(string(rune('a'+i%26)), 1+i*37%5000)
						want.WriteString(part)
						if _, err := io.WriteString(client, part); err != nil {
							t.Error(err)
							break
						}
					}
					_ = client.Close()
					if err := <-h.ended; !errors.Is(err, io.EOF) {
						t.Errorf("ended with %v, want EOF", err)
					}
					if string(h.got) != want.String() {
						t.Errorf("received %d bytes, want %d", len(h.got), want.Len())
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestEndBehindData: the end that came with data, or while it was worked on, is
// noticed, though no other event tells of it.
func TestEndBehindData(t *testing.T) {
	for _, tc := range []struct {
		name string
		work bool
		end  func(c *net.TCPConn)
		want error
	}{
		{"closed", false, func(c *net.TCPConn) { _ = c.Close() }, io.EOF},
		{"closed for writing", false, func(c *net.TCPConn) { _ = c.CloseWrite() }, io.EOF},
		{"reset", false, func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }, nil},
		{"closed during work", true, func(c *net.TCPConn) { _ = c.Close() }, io.EOF},
		{"reset during work", true, func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, k := range overTCP() {
				t.Run(k.name, func(t *testing.T) {
					for range 50 {
						client, server := k.make(t)
						begun, proceed := make(chan struct{}, 1), make(chan struct{}, 1)
						// What comes before Begin is there with the first event, the end too.
						if !tc.work {
							send(t, client, "last words")
							tc.end(client.(*net.TCPConn))
						}
						h := attach(t, group(t), server, func(h *handler) {
							h.receive = func([]byte) bool { return tc.work }
							h.work = func() { begun <- struct{}{}; <-proceed }
						})
						if tc.work {
							send(t, client, "last words")
							wait(t, begun, time.After(far))
							tc.end(client.(*net.TCPConn))
							proceed <- struct{}{}
						}
						err := h.end()
						if tc.want != nil && (!errors.Is(err, tc.want) || string(h.got) != "last words") {
							t.Fatalf("ended with %v after %q", err, h.got)
						}
						if tc.want == nil && err == nil {
							t.Fatal("ended without an error")
						}
					}
				})
			}
		})
	}
}

// TestEndAfterSilence: the end of a connection that sent something before and then
// rested is an event of its own.
func TestEndAfterSilence(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			client, server := k.make(t)
			h := attach(t, group(t), server, nil)
			send(t, client, "hello")
			h.waitFor("hello")
			_ = client.Close()
			if err := h.end(); !errors.Is(err, io.EOF) {
				t.Errorf("ended with %v, want EOF", err)
			}
		})
	}
}
