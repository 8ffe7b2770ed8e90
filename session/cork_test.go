package session_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/session"
)

// directWire takes so many bytes without waiting, and the rest by Write.
type directWire struct {
	*memoryWire
	room   int // left
	tries  int
	direct int // tries that wrote something
}

func (w *directWire) TryWrite(p []byte) int {
	w.tries++
	n := min(len(p), w.room)
	w.room -= n
	if n == 0 {
		return 0
	}
	w.direct++
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, bytes.Clone(p[:n]))
	return n
}

// TestCorkedFramesLeaveTogether: what was held back leaves in one write by the
// caller; what the wire does not take at once follows by the flusher, in order.
func TestCorkedFramesLeaveTogether(t *testing.T) {
	const frames, size = 20, 8
	for _, test := range []struct {
		name        string
		room, tries int
		flushed     bool // the flusher writes something
	}{
		{"all", 1 << 20, 1, false},
		{"nothing", 0, 1, true},
		{"a part of the first frame", 3, 1, true},
		{"whole frames", 5 * size, 1, true},
		{"a part of the last frame", frames*size - 1, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
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
				synctest.Wait()
				if wire.count() != 0 {
					t.Errorf("%d writes while corked, want none", wire.count())
				}
				o.Uncork()
				synctest.Wait()
				if got := wire.all(); !bytes.Equal(got, want) {
					t.Errorf("wrote %q, want %q", got, want)
				}
				if wire.tries != test.tries || wire.count() > wire.direct != test.flushed {
					t.Errorf("%d tries and %d writes, want %d tries and more writes: %t", wire.tries, wire.count(), test.tries, test.flushed)
				}
				o.Deliver(frame(0)) // uncorked, it leaves by itself
				synctest.Wait()
				if got := wire.all(); len(got) != len(want)+size {
					t.Errorf("%d bytes after one more frame, want %d", len(got), len(want)+size)
				}
				o.End()
			})
		})
	}
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

// TestCorkedRefusalIsTold: a limit below one write is reached while corked; room is
// told of all the same.
func TestCorkedRefusalIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &directWire{memoryWire: newWire(false), room: 1 << 30}
		var drained atomic.Int32
		o := newOutbound(session.Limits{Soft: 500, Hard: 5000, Close: time.Second}, func() { drained.Add(1) })
		o.Start(wire, nil)
		o.Cork()
		taken := 0
		for o.Deliver(make([]byte, 100)) {
			taken++
		}
		o.Uncork()
		synctest.Wait()
		if taken == 0 || len(wire.all()) != taken*100 || drained.Load() != 1 {
			t.Errorf("%d frames taken, %d bytes written, told of room %d times; want all written and once", taken, len(wire.all()), drained.Load())
		}
		o.End()
	})
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
		o.Uncork()
		o.End()
		if got := string(wire.all()); got != "heldEND" {
			t.Errorf("wrote %q, want heldEND", got)
		}
	})
}

// TestCorkOnTCP: a reader that stops and goes on gets every byte in order, also
// while others push.
func TestCorkOnTCP(t *testing.T) {
	client, server := tcpPair(t)
	session.Tune(server)
	o := newOutbound(session.Limits{Soft: 64 << 10, Hard: 64 << 20, Close: 10 * time.Second}, func() {})
	o.Start(struct {
		net.Conn
		*session.Direct
	}{server, session.NewDirect(server)}, nil)
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
	client, server := tcpPair(t)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(io.Discard, client) })
	o := newOutbound(limits, func() {})
	o.Start(struct {
		net.Conn
		*session.Direct
	}{server, session.NewDirect(server)}, nil)
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
