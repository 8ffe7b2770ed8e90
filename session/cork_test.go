package session_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/socket"
)

// directWire takes so many bytes until it is told to take more.
type directWire struct {
	*memoryWire
	room  int // left
	tries int
	fails error
}

func (w *directWire) TryWrite(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tries++
	n := min(len(p), w.room)
	w.room -= n
	if n > 0 {
		w.writes = append(w.writes, bytes.Clone(p[:n]))
	}
	return n, w.fails
}

// TestCorkedFramesLeaveTogether: what was held back leaves in one write by the
// caller; what the wire does not take at once follows when it tells of room, in order.
func TestCorkedFramesLeaveTogether(t *testing.T) {
	const frames, size = 20, 8
	for _, test := range []struct {
		name  string
		room  int
		tries int // to the end
	}{
		{"all", 1 << 20, 1},
		{"nothing", 0, 2},
		{"a part of the first frame", 3, 2},
		{"whole frames", 5 * size, 2},
		{"a part of the last frame", frames*size - 1, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			wire := &directWire{memoryWire: newWire(false), room: test.room}
			o := newOutbound(limits, func() {})
			o.Start(wire, nil)
			o.Cork()
			var want []byte
			for i := range frames {
				if !o.Deliver(frame(i)) {
					t.Fatalf("frame %d refused", i)
				}
				want = append(want, frame(i)...)
			}
			if wire.tries != 0 {
				t.Errorf("%d writes while corked, want none", wire.tries)
			}
			o.Uncork()
			if got := wire.all(); !bytes.Equal(got, want[:min(test.room, len(want))]) {
				t.Errorf("wrote %q without waiting", got)
			}
			o.Deliver(frame(frames)) // waits behind the others, if they wait
			want = append(want, frame(frames)...)
			wire.room = 1 << 20
			o.Writable()
			if got := wire.all(); !bytes.Equal(got, want) {
				t.Errorf("wrote %q, want %q", got, want)
			}
			if test.tries == 1 {
				test.tries++ // the last frame left by itself
			}
			if wire.tries != test.tries {
				t.Errorf("%d tries, want %d", wire.tries, test.tries)
			}
			o.End()
		})
	}
}

// TestDirectWireBlocks: a wire that takes a few bytes now and then gets every byte in
// order, the final frame last; the owner is told of room and of the end.
func TestDirectWireBlocks(t *testing.T) {
	wire := &directWire{memoryWire: newWire(false)}
	drained, finished := 0, 0
	o := ownedOutbound(session.Limits{Soft: 1000, Hard: 5000, Close: time.Second}, told{
		drained: func() { drained++ }, finished: func() { finished++ },
	})
	o.Start(wire, []byte("head"))
	want := []byte("head")
	for i := 0; o.Deliver(frame(i)); i++ {
		want = append(want, frame(i)...)
	}
	for len(wire.all()) < len(want) {
		wire.room = 3
		o.Writable()
		if drained > 0 && !o.Deliver(nil) {
			t.Fatal("told of room that is not there")
		}
	}
	if drained != 1 {
		t.Errorf("told %d times of room, want once", drained)
	}
	wire.room = 2
	o.Push([]byte("last"))
	o.Finish([]byte("FINAL"), false)
	if finished != 0 {
		t.Error("said that the final frame is out")
	}
	wire.room = 100
	o.Writable()
	o.Writable()
	if got := string(wire.all()); got != string(want)+"lastFINAL" {
		t.Errorf("wrote %q", got)
	}
	if finished != 1 {
		t.Errorf("told %d times of the end, want once", finished)
	}
	o.End()
}

// TestDiscardKeepsFramesWhole: what waits is left out, but for a frame of which the
// peer has a part.
func TestDiscardKeepsFramesWhole(t *testing.T) {
	for _, tc := range []struct {
		room int
		want string
	}{{0, "FINAL"}, {3, "<000000>FINAL"}, {8, "<000000>FINAL"}, {9, "<000000><000001>FINAL"}} {
		for _, corked := range []bool{false, true} { // each frame by itself, and all together
			for _, again := range []bool{false, true} { // the wire tells of room, and has none
				wire := &directWire{memoryWire: newWire(false), room: tc.room}
				o := newOutbound(limits, func() {})
				o.Start(wire, nil)
				if corked {
					o.Cork()
				}
				for i := range 3 {
					o.Deliver(frame(i))
				}
				o.Uncork()
				if again {
					o.Writable()
				}
				o.Finish([]byte("FINAL"), true)
				wire.room = 100
				o.Writable()
				if got := string(wire.all()); got != tc.want {
					t.Errorf("room for %d, corked %v, again %v: wrote %q, want %q", tc.room, corked, again, got, tc.want)
				}
				o.End()
			}
		}
	}
}

// TestBlockedClientsAreCheap: a client for which small frames wait costs little beside
// them, however many bytes a write may gather.
func TestBlockedClientsAreCheap(t *testing.T) {
	const clients, most = 1000, 4 << 10
	buffers := session.NewBuffers(limits)
	outs := make([]*session.Outbound, clients)
	before := heap()
	for i := range outs {
		outs[i] = new(session.Outbound)
		outs[i].Init(buffers, told{drained: func() {}})
		outs[i].Start(&directWire{memoryWire: newWire(false)}, nil)
		outs[i].Deliver(frame(1))
		outs[i].Deliver(frame(2))
		outs[i].Writable() // gathers both, and finds that there is no room
	}
	if each := (heap() - before) / clients; each > most {
		t.Errorf("a blocked client costs %d bytes, want at most %d", each, most)
	}
	for _, o := range outs {
		o.Abort()
	}
}

// heap is how many bytes of memory are in use.
func heap() int64 {
	var m runtime.MemStats
	for range 2 { // what a pool holds lives for two collections
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestDirectWireFails: a failed write closes the buffer and the wire.
func TestDirectWireFails(t *testing.T) {
	wire := &directWire{memoryWire: newWire(false), fails: errors.New("reset")}
	o := newOutbound(limits, func() {})
	o.Start(wire, nil)
	o.Deliver(frame(0))
	if o.Deliver(frame(1)) || o.WaitRoom() {
		t.Error("takes frames after a failed write")
	}
	select {
	case <-wire.closed:
	default:
		t.Error("the wire was not closed")
	}
	o.End()
}

// TestCorkHoldsNoMoreThanOneWrite: a long turn does not fill the buffer.
func TestCorkHoldsNoMoreThanOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &directWire{memoryWire: newWire(false), room: 1 << 30}
		o := newOutbound(session.Limits{Soft: 64 << 10, Hard: 1 << 20, Close: time.Second}, func() { t.Error("told of room that was never short") })
		o.Start(wire, nil)
		o.Cork()
		const count, size = 1000, 1000
		for i := range count {
			if !o.Deliver(bytes.Repeat([]byte{byte(i)}, size)) {
				t.Fatalf("frame %d refused", i)
			}
		}
		o.Uncork()
		if got := len(wire.all()); got != count*size {
			t.Errorf("%d bytes, want %d", got, count*size)
		}
		if most := count * size / (8 << 10); wire.tries > most {
			t.Errorf("%d writes of %d bytes, want at most %d", wire.tries, count*size, most)
		}
		o.End()
	})
}

// TestRefusalUncorks: what is held back leaves when it leaves no room for more, or
// nobody would tell of room until the turn is over.
func TestRefusalUncorks(t *testing.T) {
	wire := &directWire{memoryWire: newWire(false), room: 1 << 30}
	o := newOutbound(session.Limits{Soft: 1000, Hard: 5000, Close: time.Second}, func() { t.Error("told of room that was never short") })
	o.Start(wire, nil)
	o.Cork()
	var want []byte
	for i := range 1000 {
		if !o.Deliver(frame(i)) {
			t.Fatalf("frame %d was refused, though the wire takes everything", i)
		}
		want = append(want, frame(i)...)
	}
	o.Uncork()
	if got := wire.all(); !bytes.Equal(got, want) {
		t.Errorf("wrote %d bytes, want %d", len(got), len(want))
	}
	o.End()
}

// TestFinishUncorks: the final frame follows what was held back, whoever forgets to uncork.
func TestFinishUncorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &directWire{memoryWire: newWire(false), room: 1 << 30}
		o := newOutbound(limits, func() {})
		o.Start(wire, nil)
		o.Cork()
		o.Deliver([]byte("held"))
		o.Finish([]byte("END"), false)
		if got := string(wire.all()); got != "heldEND" {
			t.Errorf("wrote %q, want heldEND", got)
		}
		o.End()
	})
}

// TestCorkOnTCP: a reader that stops and goes on gets every byte in order, also
// while others push.
func TestCorkOnTCP(t *testing.T) {
	client, o := onTCP(t, session.Limits{Soft: 64 << 10, Hard: 64 << 20, Close: 10 * time.Second}, func() {})
	const turns, each = 2000, 30
	var want []byte
	var wg sync.WaitGroup
	got := make(chan []byte, 1)
	wg.Go(func() {
		all, err := io.ReadAll(client)
		if err != nil {
			t.Error(err)
		}
		got <- all
	})
	for turn := range turns {
		o.Cork()
		for i := range each {
			f := bytes.Repeat(frame(turn*each+i), 40)
			if !o.Push(f) {
				t.Fatalf("turn %d refused", turn)
			}
			want = append(want, f...)
		}
		o.Uncork()
	}
	o.Finish([]byte("END"), false)
	o.End()
	wg.Wait()
	if all := <-got; !bytes.Equal(all, append(want, "END"...)) {
		t.Errorf("%d bytes came, want %d in order", len(all), len(want)+3)
	}
}

func TestCorkAllocatesNothing(t *testing.T) {
	client, o := onTCP(t, limits, func() {})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(io.Discard, client) })
	f := frame(1)
	n := testing.AllocsPerRun(200, func() {
		o.Cork()
		o.Deliver(f)
		o.Uncork()
	})
	if n >= 1 {
		t.Errorf("a turn allocates %v times", n)
	}
	o.End()
	wg.Wait()
}

// onTCP is a buffer whose wire is a socket, and the client's end of it. Both end with
// the test, if not before.
func onTCP(t *testing.T, l session.Limits, drained func()) (net.Conn, *session.Outbound) {
	t.Helper()
	client, server := tcpPair(t)
	var wg sync.WaitGroup
	group := socket.NewGroup(wg.Go, slog.New(slog.DiscardHandler))
	o := newOutbound(l, drained)
	h := &outboundHandler{o: o, ended: make(chan struct{})}
	h.driver = group.Attach(server, h)
	o.Start(h.driver, nil)
	h.driver.Begin()
	t.Cleanup(func() {
		o.Abort()
		<-h.ended
		group.Close()
		wg.Wait()
	})
	return client, o
}

// outboundHandler is a socket on which nothing is expected to arrive.
type outboundHandler struct {
	o      *session.Outbound
	driver socket.Driver
	ended  chan struct{}
}

func (h *outboundHandler) Receive([]byte) bool { return false }
func (h *outboundHandler) Work()               {}
func (h *outboundHandler) Writable()           { h.o.Writable() }

func (h *outboundHandler) Ended(error) {
	h.o.End()
	h.driver.Release()
	close(h.ended)
}

func tcpPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var d net.Dialer
	if client, err = d.DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}
