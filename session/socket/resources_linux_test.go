package socket_test

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rivulet-rt/rivulet/session/socket"
)

// descriptors is how many this process has open.
func descriptors(tb testing.TB) int {
	tb.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(list)
}

// TestNothingIsLeft: after thousands of connections that ended in every way, there are
// as many descriptors and goroutines as before.
func TestNothingIsLeft(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			var wg sync.WaitGroup
			g := socket.NewGroup(wg.Go, slog.New(slog.DiscardHandler))
			each := func(i int) {
				client, server := k.make(t)
				defer client.Close()
				work := i%7 == 0
				h := &handler{tb: t, ended: make(chan error, 1), writable: make(chan struct{}, 1), grown: make(chan struct{}, 1)}
				h.receive, h.work = func([]byte) bool { return work }, func() {}
				h.driver = g.Attach(server, h)
				if i%11 == 0 {
					h.driver.Release() // it never began
					return
				}
				h.driver.Begin()
				if i%2 == 0 {
					send(t, client, "hello")
				}
				switch i % 5 {
				case 0:
					_ = client.Close()
				case 1:
					if c, ok := client.(*net.TCPConn); ok {
						_ = c.SetLinger(0)
					}
					_ = client.Close()
				case 2:
					_ = h.driver.Close()
				case 3:
					h.driver.CloseWrite()
					_ = client.Close()
				case 4:
					_ = h.driver.Close()
					_ = client.Close()
				}
				_ = h.end()
				h.driver.Release()
			}
			each(0)
			each(1) // what is made once is there
			fds, goroutines := descriptors(t), runtime.NumGoroutine()
			for i := range 2000 {
				each(i)
			}
			eventually(t, fmt.Sprintf("%d descriptors and %d goroutines", fds, goroutines), func() bool {
				return descriptors(t) <= fds && runtime.NumGoroutine() <= goroutines
			})
			g.Close()
			wg.Wait()
		})
	}
}

// TestIdleConnectionsHaveNoGoroutine: not before they have sent anything, and not after.
func TestIdleConnectionsHaveNoGoroutine(t *testing.T) {
	const idle = 1000
	g := group(t)
	l := listen(t)
	defer l.Close()
	clients, handlers := make([]net.Conn, idle), make([]*handler, idle)
	goroutines := 0
	for i := range idle {
		client, server := connect(t, l)
		clients[i], handlers[i] = client, attach(t, g, server, func(h *handler) {
			h.receive = func([]byte) bool { return i%2 == 0 }
			h.work = func() {}
		})
		if i == 0 { // the group's own are there
			goroutines = runtime.NumGoroutine()
		}
	}
	none := func() bool { return runtime.NumGoroutine() <= goroutines }
	eventually(t, "no goroutine for connections that sent nothing", none)
	for i, c := range clients {
		send(t, c, "hello")
		handlers[i].waitFor("hello")
	}
	eventually(t, "no goroutine for connections that rest", none)
	for i, c := range clients {
		_ = c.Close()
		_ = handlers[i].end()
	}
}

// TestGroupClose: it waits for its goroutines and gives their descriptors back, and
// connections that come later work all the same.
func TestGroupClose(t *testing.T) {
	_, warm := tcp(t) // what the runtime makes once is there
	_ = warm.Close()
	before := descriptors(t)
	var wg sync.WaitGroup
	proceed, opened := make(chan struct{}), atomic.Bool{}
	g := socket.NewGroup(func(f func()) { wg.Go(func() { <-proceed; f() }) }, slog.New(slog.DiscardHandler))
	_, server := tcp(t)
	late := &lateHandler{}
	late.driver = g.Attach(server, late)
	late.driver.Release()
	during := descriptors(t)
	wg.Go(func() {
		g.Close()
		if !opened.Load() {
			t.Error("closed before its goroutines had ended")
		}
	})
	eventually(t, "an epoll set is closed", func() bool { return descriptors(t) < during })
	opened.Store(true)
	close(proceed)
	wg.Wait()
	if n := descriptors(t); n != before+1 { // the client
		t.Errorf("%d descriptors are left, of %d before", n, before)
	}
	client, server := tcp(t)
	h := attach(t, g, server, nil)
	send(t, client, "hello")
	h.waitFor("hello")
	_ = client.Close()
	_ = h.end()
	g.Close() // again is nothing
	wg.Wait()
}
