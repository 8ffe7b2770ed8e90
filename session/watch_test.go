package session_test

import (
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/session"
)

// countingWire is a directWire whose peer has acknowledged so much.
type countingWire struct {
	directWire
	acked int
}

func (w *countingWire) Unacked() int { return len(w.all()) - w.acked }

func newCountingWire(room int) *countingWire {
	return &countingWire{directWire: directWire{memoryWire: newWire(false), room: room}}
}

// TestWhatTheKernelTakesIsNoLife: bytes that only went into the kernel's buffer prove
// nothing about the peer, also while something is held back; a full buffer that takes
// more does.
func TestWhatTheKernelTakesIsNoLife(t *testing.T) {
	for _, tc := range []struct {
		name   string
		during func(o *session.Outbound, w *countingWire)
		want   session.Progress
	}{
		{"nothing", func(*session.Outbound, *countingWire) {}, session.Progress{Owed: true}},
		{"the kernel takes more", func(o *session.Outbound, _ *countingWire) { o.Deliver(frame(1)) }, session.Progress{Owed: true}},
		{"the kernel takes more, and something is held back", func(o *session.Outbound, _ *countingWire) {
			o.Deliver(frame(1))
			o.Cork()
			o.Deliver(frame(2))
		}, session.Progress{Owed: true}},
		{"the peer takes some", func(_ *session.Outbound, w *countingWire) { w.acked = 3 }, session.Progress{Alive: true, Owed: true, Acknowledged: true}},
		{"the peer takes all", func(_ *session.Outbound, w *countingWire) { w.acked = 8 }, session.Progress{Acknowledged: true}},
		{"the kernel had no room and takes more", func(o *session.Outbound, w *countingWire) {
			w.room = 0
			o.Deliver(frame(1))
			o.Check(time.Now())
			w.room = 3
			o.Writable()
		}, session.Progress{Alive: true, Owed: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wire := newCountingWire(1 << 20)
			o := newOutbound(limits, func() {})
			o.Start(wire, nil)
			o.Check(time.Now())
			o.Deliver(frame(0))
			o.Check(time.Now())
			tc.during(o, wire)
			got := o.Check(time.Now())
			got.Stalled = 0
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			o.End()
		})
	}
}
