package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/session"
)

var limits = session.Limits{Soft: 64 << 10, Hard: 1 << 20, Close: time.Second}

// told is an owner that passes on what it is told.
type told struct{ drained, finished func() }

func (t told) Drained() { t.drained() }

func (t told) Finished() {
	if t.finished != nil {
		t.finished()
	}
}

func newOutbound(l session.Limits, drained func()) *session.Outbound {
	return ownedOutbound(l, told{drained: drained})
}

func ownedOutbound(l session.Limits, owner session.Owner) *session.Outbound {
	o := new(session.Outbound)
	o.Init(session.NewBuffers(l), owner)
	return o
}

func frame(i int) []byte { return fmt.Appendf(nil, "<%06d>", i) }

func TestOutboundGathersWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := newWire(true)
		o := newOutbound(limits, func() {})
		o.Start(wire, []byte("head"))
		synctest.Wait() // the flusher is in the write of the head
		want := []byte("head")
		for i := range 1000 {
			if !o.Deliver(frame(i)) {
				t.Fatalf("frame %d refused", i)
			}
			want = append(want, frame(i)...)
		}
		close(wire.gate)
		synctest.Wait()
		if got := wire.all(); !bytes.Equal(got, want) {
			t.Errorf("wrote %d bytes, want %d in order", len(got), len(want))
		}
		if wire.count() != 2 {
			t.Errorf("1,000 waiting frames of 8 bytes left in %d writes, want 1 after the head", wire.count()-1)
		}
		o.End()
	})
}

func TestOutboundWritesLongFramesInPieces(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 100_000)
	synctest.Test(t, func(t *testing.T) {
		wire := newWire(true)
		o := newOutbound(limits, func() {})
		o.Start(wire, nil)
		var want []byte
		for i := range 4 {
			o.Push(frame(i))
			o.Push(long)
			want = append(append(want, frame(i)...), long...)
		}
		close(wire.gate)
		synctest.Wait()
		if !bytes.Equal(wire.all(), want) {
			t.Errorf("bytes out of order: %d of %d", len(wire.all()), len(want))
		}
		o.End()
	})
}

func TestOutboundLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := newWire(true)
		var drained atomic.Int32
		o := newOutbound(session.Limits{Soft: 1000, Hard: 5000, Close: time.Second}, func() { drained.Add(1) })
		o.Start(wire, nil)
		taken := 0
		for o.Deliver(make([]byte, 100)) {
			taken++
		}
		if taken < 7 || taken > 10 {
			t.Errorf("%d frames of 100 bytes fit a soft limit of 1,000", taken)
		}
		for range 3 {
			if o.Deliver(frame(0)) {
				t.Error("took a delivery above the soft limit")
			}
		}
		pushed := 0
		for o.Push(make([]byte, 100)) {
			pushed++
		}
		if total := taken + pushed; total < 37 || total > 50 {
			t.Errorf("%d frames of 100 bytes fit a hard limit of 5,000", total)
		}
		if drained.Load() != 0 {
			t.Error("told of room that is not there")
		}
		close(wire.gate)
		synctest.Wait()
		if drained.Load() != 1 {
			t.Errorf("told %d times that there is room, want once", drained.Load())
		}
		if !o.Deliver(frame(1)) {
			t.Error("refused a delivery although all is written")
		}
		synctest.Wait()
		if drained.Load() != 1 {
			t.Error("told of room again without a refusal")
		}
		o.End()
	})
}

func TestOutboundTakesOneFrameOverTheLimit(t *testing.T) {
	o := newOutbound(session.Limits{Soft: 1000, Hard: 5000, Close: time.Second}, func() {})
	if !o.Deliver(make([]byte, 1<<20)) {
		t.Error("an empty buffer refused a frame; its client could never go on")
	}
	if o.Deliver(frame(0)) {
		t.Error("took a frame over the limit")
	}
	o.End()
}

func TestOutboundWaitRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := newWire(true)
		o := newOutbound(session.Limits{Soft: 1000, Hard: 5000, Close: time.Second}, func() {})
		o.Start(wire, nil)
		if !o.WaitRoom() {
			t.Error("no room in an empty buffer")
		}
		o.Push(make([]byte, 1000))
		room := make(chan bool)
		go func() { room <- o.WaitRoom() }()
		synctest.Wait()
		select {
		case <-room:
			t.Error("room before anything was written")
		default:
		}
		wire.gate <- struct{}{}
		if !<-room {
			t.Error("an open buffer said it was closed")
		}
		o.Push(make([]byte, 1000))
		go func() { room <- o.WaitRoom() }()
		synctest.Wait()
		o.End()
		if <-room {
			t.Error("a closed buffer said it had room")
		}
	})
}

func TestOutboundFinish(t *testing.T) {
	for _, tc := range []struct {
		name    string
		discard bool
		want    string
	}{
		{"after all that waits", false, "abcFINAL"},
		{"leaving out what waits", true, "aFINAL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire := newWire(true)
				finished := make(chan struct{})
				o := ownedOutbound(limits, told{drained: func() {}, finished: func() { close(finished) }})
				o.Start(wire, nil)
				o.Deliver([]byte("a"))
				synctest.Wait() // a is being written
				o.Deliver([]byte("b"))
				o.Push([]byte("c"))
				if !o.Finish([]byte("FINAL"), tc.discard) {
					t.Error("an open buffer refused its final frame")
				}
				if o.Deliver([]byte("d")) || o.Push([]byte("e")) || o.Finish([]byte("f"), false) {
					t.Error("took something after the final frame")
				}
				if !wire.deadline.Equal(time.Now().Add(limits.Close)) {
					t.Errorf("write deadline %v, want %v from now", wire.deadline, limits.Close)
				}
				close(wire.gate)
				<-finished
				if got := string(wire.all()); got != tc.want {
					t.Errorf("wrote %q, want %q", got, tc.want)
				}
				o.End()
			})
		})
	}
}

// TestOutboundFinishLeavesOutTheBatch: also what the flusher holds, but has not begun.
func TestOutboundFinishLeavesOutTheBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := newWire(true)
		o := newOutbound(limits, func() {})
		o.Start(wire, []byte("head "))
		synctest.Wait()
		first, second := bytes.Repeat([]byte("1"), 20_000), bytes.Repeat([]byte("2"), 20_000)
		o.Deliver(first)
		o.Deliver(second)
		wire.gate <- struct{}{} // the head is out; the flusher has taken both
		synctest.Wait()
		o.Finish([]byte(" FINAL"), true)
		close(wire.gate)
		synctest.Wait()
		if got, want := string(wire.all()), "head "+string(first)+" FINAL"; got != want {
			t.Errorf("wrote %d bytes, want %d: the head, the frame that was begun, the final one", len(got), len(want))
		}
		o.End()
	})
}

// TestOutboundStartsLate: a buffer that was closed, or given its final frame, before
// it got a wire.
func TestOutboundStartsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := &directWire{memoryWire: newWire(false), room: 1 << 20}
		o := newOutbound(limits, func() {})
		o.Abort()
		o.Start(wire, []byte("head"))
		select {
		case <-wire.closed:
		default:
			t.Error("nobody will write, and the wire was not closed")
		}
		if len(wire.all()) > 0 {
			t.Errorf("wrote %q after the end", wire.all())
		}

		wire = &directWire{memoryWire: newWire(false)}
		o = newOutbound(limits, func() {})
		o.Finish([]byte("FINAL"), false)
		o.Start(wire, []byte("head"))
		if !wire.deadline.Equal(time.Now().Add(limits.Close)) {
			t.Errorf("write deadline %v, want %v from now", wire.deadline, limits.Close)
		}
		wire.room = 1 << 20
		o.Writable()
		if got := string(wire.all()); got != "headFINAL" {
			t.Errorf("wrote %q, want headFINAL", got)
		}
		o.End()
	})
}

func TestOutboundWriteError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		o := ownedOutbound(limits, told{drained: func() {}, finished: func() { t.Error("says that it finished") }})
		o.Start(server, nil)
		client.Close()
		o.Deliver([]byte("a"))
		synctest.Wait()
		if o.Deliver([]byte("b")) {
			t.Error("took a frame after a failed write")
		}
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the wire was not closed: %v", err)
		}
		o.End()
	})
}

func TestOutboundFromManySidesWhileItCloses(t *testing.T) {
	for range 200 {
		client, server := net.Pipe()
		var o *session.Outbound
		o = ownedOutbound(session.Limits{Soft: 200, Hard: 400, Close: time.Second},
			told{drained: func() { o.Deliver(frame(0)) }, finished: func() { o.Abort() }})
		o.Start(server, nil)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 50 {
					o.Deliver(frame(i))
					o.Push(frame(g))
					if g == 0 { // one sweeper
						o.Check(time.Now())
					}
				}
			})
		}
		wg.Go(func() { o.WaitRoom(); o.Finish([]byte("END"), true) })
		wg.Go(func() { _, _ = io.CopyN(io.Discard, client, 500); client.Close() })
		wg.Wait()
		o.End()
	}
}

func TestDeliverAllocatesNothing(t *testing.T) {
	wire := newWire(true)
	o := newOutbound(session.Limits{Soft: 1 << 30, Hard: 1 << 30, Close: time.Second}, func() {})
	o.Start(wire, nil)
	defer o.End()
	f := frame(1)
	for range 300_000 { // let the list of what waits grow first
		o.Deliver(f)
	}
	if n := testing.AllocsPerRun(1000, func() { o.Deliver(f) }); n != 0 {
		t.Errorf("a delivery allocates %v times", n)
	}
}

// TestProgress reads from a real TCP connection: not at all, slowly, and everything.
func TestProgress(t *testing.T) {
	client, o := onTCP(t, limits, func() {})
	now := time.Now()
	full := func() bool { return !o.Deliver(make([]byte, 1000)) }
	for !full() {
		now = now.Add(time.Nanosecond)
	}
	// The kernel's buffers fill up; then nothing moves.
	eventually(t, func() bool {
		for !full() {
			now = now.Add(time.Nanosecond)
		}
		now = now.Add(time.Minute)
		return o.Check(now).Stalled >= 3*time.Minute
	})
	if p := o.Check(now.Add(time.Minute)); p.Alive {
		t.Error("a client that reads nothing counts as alive")
	}
	// A client that takes a little now and then is alive; the kernel tells of it in
	// steps of its own.
	moved := 0
	buf := make([]byte, 8<<10)
	eventually(t, func() bool {
		for range 100 {
			for !full() {
				now = now.Add(time.Nanosecond)
			}
			if _, err := client.Read(buf); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Minute)
			if p := o.Check(now); p.Alive && p.Stalled == 0 {
				moved++
			}
		}
		return moved >= 5
	})
	client.Close()
}

// eventually polls cond until it holds; the deadline is far, for slow machines.
func eventually(tb testing.TB, cond func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatal("the condition did not come true in time")
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	client, server := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	defer client.Close()
	o := newOutbound(session.Limits{Soft: 1 << 20, Hard: 1 << 21, Close: time.Second}, func() {})
	o.Start(server, nil)
	f := make([]byte, 254)
	b.ReportAllocs()
	for b.Loop() {
		for !o.Deliver(f) {
			o.WaitRoom()
		}
	}
	o.End()
}
