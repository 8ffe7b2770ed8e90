package socket_test

import (
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/session/socket"
)

// far is for what must come; it is never waited out by a test that passes.
const far = 20 * time.Second

// group is one whose goroutines the test waits for.
func group(tb testing.TB) *socket.Group {
	tb.Helper()
	var wg sync.WaitGroup
	g := socket.NewGroup(wg.Go, slog.New(slog.DiscardHandler))
	tb.Cleanup(func() {
		g.Close()
		wg.Wait()
	})
	return g
}

// handler notes what it is called with. Its hooks may be nil.
type handler struct {
	tb       testing.TB
	driver   socket.Driver
	ended    chan error    // gets what Ended got, before it returns
	writable chan struct{} // size 1

	receive func(p []byte) (work bool)
	work    func()

	busy  atomic.Int32 // calls that are running, Writable aside
	over  atomic.Bool
	mu    sync.Mutex // guards the following
	got   []byte
	calls []string
	grown chan struct{} // size 1
}

// attach drives conn until the test ends.
func attach(tb testing.TB, g *socket.Group, conn net.Conn, change func(*handler)) *handler {
	tb.Helper()
	h := &handler{tb: tb, ended: make(chan error, 1), writable: make(chan struct{}, 1), grown: make(chan struct{}, 1)}
	if change != nil {
		change(h)
	}
	h.driver = g.Attach(conn, h)
	h.driver.Begin()
	return h
}

func (h *handler) enter(call string) (leave func()) {
	if h.busy.Add(1) != 1 {
		h.tb.Errorf("%s came while another call was running", call)
	}
	if h.over.Load() {
		h.tb.Errorf("%s came after Ended", call)
	}
	h.mu.Lock()
	h.calls = append(h.calls, call)
	h.mu.Unlock()
	return func() { h.busy.Add(-1) }
}

func (h *handler) Receive(p []byte) bool {
	defer h.enter("receive")()
	if len(p) == 0 {
		h.tb.Error("received nothing")
	}
	h.mu.Lock()
	h.got = append(h.got, p...)
	h.mu.Unlock()
	poke(h.grown)
	return h.receive != nil && h.receive(p)
}

func (h *handler) Work() {
	defer h.enter("work")()
	h.work()
}

func (h *handler) Writable() { poke(h.writable) }

func (h *handler) Ended(err error) {
	leave := h.enter("ended")
	h.over.Store(true)
	leave()
	h.driver.Release()
	h.ended <- err
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// waitFor returns once so many bytes have come, or fails.
func (h *handler) waitFor(want string) {
	h.tb.Helper()
	late := time.After(far)
	for {
		h.mu.Lock()
		got := string(h.got)
		h.mu.Unlock()
		switch {
		case got == want:
			return
		case len(got) >= len(want):
			h.tb.Fatalf("received %.200q (%d bytes), want %.200q (%d)", got, len(got), want, len(want))
		}
		wait(h.tb, h.grown, late)
	}
}

// end returns what Ended got.
func (h *handler) end() error {
	h.tb.Helper()
	return wait(h.tb, h.ended, time.After(far))
}

func wait[T any](tb testing.TB, c <-chan T, late <-chan time.Time) (v T) {
	tb.Helper()
	select {
	case v = <-c:
	case <-late:
		tb.Fatal("waited for too long")
	}
	return v
}

// tcp is a connection over the loopback.
func tcp(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	l := listen(tb)
	defer l.Close()
	return connect(tb, l)
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func connect(tb testing.TB, l net.Listener) (client, server net.Conn) {
	tb.Helper()
	client, err := new(net.Dialer).DialContext(tb.Context(), "tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = client.Close() })
	if server, err = l.Accept(); err != nil {
		tb.Fatal(err)
	}
	return client, server
}

// wrapped is a connection over the loopback that is no *net.TCPConn, as TLS is none.
func wrapped(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	client, server = tcp(tb)
	return client, struct{ *net.TCPConn }{server.(*net.TCPConn)}
}

// offered is a connection that wraps plain TCP and says that it can be used instead, as
// one is that came with a PROXY header.
func offered(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	client, server = tcp(tb)
	return client, wrapper{server}
}

type wrapper struct{ net.Conn }

func (w wrapper) Plain() net.Conn { return w.Conn }

func pipe(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	client, server = net.Pipe()
	tb.Cleanup(func() { _ = client.Close() })
	return client, server
}

// kind is how a connection is made.
type kind struct {
	name string
	make func(testing.TB) (client, server net.Conn)
	tcp  bool
}

func kinds() []kind {
	return []kind{{"epoll", tcp, true}, {"epoll under a wrapper", offered, true}, {"goroutine on TCP", wrapped, true}, {"goroutine on a pipe", pipe, false}}
}

// overTCP are those whose connections can be closed for writing, and reset.
func overTCP() []kind {
	return slices.DeleteFunc(kinds(), func(k kind) bool { return !k.tcp })
}

// eventually polls cond until it holds.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(far)
	for !cond() {
		select {
		case <-tick.C:
		case <-late:
			tb.Fatalf("%s: did not come true in time", what)
		}
	}
}
