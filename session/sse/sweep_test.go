package sse_test

import (
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
	"github.com/rivulet-rt/rivulet/session/internal/hubtest"
	"github.com/rivulet-rt/rivulet/session/sse"
)

// ackWire takes everything, as a kernel does; the test says what is acknowledged.
type ackWire struct {
	unacked int
	closed  bool
}

func (w *ackWire) TryWrite(p []byte) (int, error) {
	w.unacked += len(p)
	return len(p), nil
}

func (w *ackWire) Unacked() int                { return w.unacked }
func (w *ackWire) SetDeadline(time.Time) error { return nil }
func (w *ackWire) Close() error                { w.closed = true; return nil }

// TestVanishedClient: one whose kernel acknowledges no heartbeat is gone, though its
// node's kernel has room for all of them. A client that is there is never cut for it.
func TestVanishedClient(t *testing.T) {
	for _, tc := range []struct {
		name string
		acks func(since time.Duration) bool
		cut  time.Duration // when it is cut at the earliest; 0 is never
	}{
		{"acknowledges all", func(time.Duration) bool { return true }, 0},
		{"acknowledges now and then", func(since time.Duration) bool { return since%time.Minute == 0 }, 0},
		{"vanishes at once", func(time.Duration) bool { return false }, 90 * time.Second},
		{"vanishes later", func(since time.Duration) bool { return since < 10*time.Minute }, 11 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := hubtest.New().Start(t, session.DefaultConfig(), open())
			channel, err := fanout.ParseChannel("chat:a")
			if err != nil {
				t.Fatal(err)
			}
			sink, out := sse.SinkForTest(r, []fanout.SubscribeRequest{{Channel: channel}})
			defer sse.CloseForTest(sink)
			wire := new(ackWire)
			out.Start(wire, []byte("head"))
			member, begun, cut := sink.(session.Member), time.Now(), time.Duration(0)
			for since := time.Duration(0); since < time.Hour && cut == 0; since += 5 * time.Second {
				if tc.acks(since) {
					wire.unacked = 0
				}
				if member.Sweep(begun.Add(since)); wire.closed {
					cut = since
				}
			}
			if cut < tc.cut || tc.cut == 0 && cut != 0 || tc.cut != 0 && cut > tc.cut+30*time.Second { // a heartbeat may have been acknowledged just before
				t.Errorf("cut after %v, want %v (0s is never)", cut, tc.cut)
			}
			out.End()
		})
	}
}

// releasing is a driver that tells of its release.
type releasing struct {
	ackWire
	release func()
}

func (*releasing) Begin()      {}
func (*releasing) CloseWrite() {}
func (d *releasing) Release()  { d.release() }

// TestReleasedBeforeItsPlaceIs: a connection's descriptor is free before its place is
// another's, and before a drain goes on.
func TestReleasedBeforeItsPlaceIs(t *testing.T) {
	r := hubtest.New().Start(t, session.DefaultConfig(), open())
	sink, _ := sse.SinkForTest(r, nil)
	places := -1
	if err := sse.EndedForTest(r, sink, &releasing{release: func() { places = r.Len() }}); err != nil {
		t.Fatal(err)
	}
	if places != 1 || r.Len() != 0 {
		t.Errorf("%d places were taken at the release and %d after it, want 1 and 0", places, r.Len())
	}
}
