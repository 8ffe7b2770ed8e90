package socket_test

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/rivulet-rt/rivulet/session/socket"
)

// TestReleasedIsForgotten: nothing holds a connection any more that was released, be
// it that no other has got its descriptor, or that a deadline was far.
func TestReleasedIsForgotten(t *testing.T) {
	for _, deadline := range []bool{false, true} {
		for _, k := range kinds() {
			t.Run(k.name, func(t *testing.T) {
				g := group(t)
				old := func() weak.Pointer[lateHandler] {
					client, server := k.make(t)
					h := &lateHandler{ended: make(chan error, 1)}
					h.driver = g.Attach(server, h)
					h.driver.Begin()
					if deadline {
						_ = h.driver.SetDeadline(time.Now().Add(time.Hour))
					}
					_ = client.Close()
					_ = wait(t, h.ended, time.After(far))
					h.driver.Release()
					return weak.Make(h)
				}()
				eventually(t, "it is forgotten", func() bool {
					runtime.GC()
					return old.Value() == nil
				})
			})
		}
	}
}

// fill writes to a driver until the kernel takes no more, or for a moment where a write
// waits. The peer must not read.
func fill(t *testing.T, d socket.Driver) {
	t.Helper()
	piece := []byte(strings.Repeat("x", 64<<10))
	switch w := d.(type) {
	case interface {
		TryWrite(p []byte) (int, error)
	}:
		for {
			n, err := w.TryWrite(piece)
			if err != nil {
				t.Fatal(err)
			}
			if n < len(piece) {
				return
			}
		}
	case io.Writer:
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		}()
		t.Cleanup(func() { _ = d.Close(); <-done })
	}
}

// TestUnacked: it is what the kernel holds where there is one, and grows with what a
// peer does not read.
func TestUnacked(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			client, server := k.make(t)
			h := attach(t, group(t), server, nil)
			if n := h.driver.Unacked(); n != 0 {
				t.Errorf("%d bytes of nothing are unacknowledged", n)
			}
			if k.tcp && runtime.GOOS == "linux" {
				fill(t, h.driver)
				eventually(t, "something is unacknowledged", func() bool { return h.driver.Unacked() > 0 })
			}
			_ = client.Close()
			_ = h.end()
			if n := h.driver.Unacked(); n != 0 {
				t.Errorf("%d bytes are unacknowledged after the release", n)
			}
		})
	}
}

// TestUnackedOfTheReleased: a driver that was released does not tell of the connection
// that has its number now.
func TestUnackedOfTheReleased(t *testing.T) {
	g := group(t)
	client, server := tcp(t)
	old := attach(t, g, server, nil)
	const later = 8 // so many that one of them gets its number
	var servers [later]net.Conn
	for i := range later {
		_, servers[i] = tcp(t)
	}
	_ = client.Close()
	_ = old.end()
	for _, s := range servers {
		h := attach(t, g, s, nil)
		fill(t, h.driver)
		t.Cleanup(func() { _ = h.driver.Close(); _ = h.end() })
	}
	if n := old.driver.Unacked(); n != 0 {
		t.Errorf("a released driver has %d unacknowledged bytes", n)
	}
}
