package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// What is said of a message after its time, and before the group has noticed: that it is
// done is taken, anything else would speak for whoever has it by then.
func TestGroupSettlesLate(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{AckWait: time.Hour}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 10, fanout.Start{})
	publish(t, b, "t:a", `1`)
	eventually(t, "the message", func() bool { return w.count() == 1 })
	token := w.messages()[0].Token
	broker.TimeIsUp(w.Membership)
	if err := settled(t, func(done func(error)) { w.InProgress(token, done) }); !errors.Is(err, fanout.ErrToken) {
		t.Errorf("in progress, late: %v", err)
	}
	if err := settled(t, func(done func(error)) { w.Nak(token, 0, "no", done) }); !errors.Is(err, fanout.ErrToken) {
		t.Errorf("given back, late: %v", err)
	}
	taken := 0
	eventually(t, "a late acknowledgement that is taken", func() bool { // rarely is the group quicker
		n := w.count()
		publish(t, b, "t:a", `2`)
		eventually(t, "another message", func() bool { return w.count() > n })
		broker.TimeIsUp(w.Membership)
		taken++
		return ack(t, w, w.messages()[n].Token) == nil
	})
	eventually(t, "the log's note of it", func() bool {
		info, err := b.Group(t.Context(), channel(t, "t:a"), "g")
		return err == nil && info.InFlight == taken // the first, and those that were too late
	})
}

// A late acknowledgement of a message that another member has already is good for both.
func TestGroupLateAckOfAnotherAttempt(t *testing.T) {
	a, b := twoNodes(t, broker.GroupConfig{AckWait: time.Second, MaxDeliver: 10}, func(*broker.NamespaceSpec) {})
	first, _ := join(t, a, "t:a", "g", 1, fanout.Start{})
	publish(t, a, "t:a", `1`)
	eventually(t, "the first attempt", func() bool { return first.count() == 1 })
	second, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	broker.HoldTime(first.Membership) // its node is late
	eventually(t, "the second attempt", func() bool { return second.count() == 1 })
	if err := ack(t, first, first.messages()[0].Token); err != nil {
		t.Fatal(err)
	}
	if err := ack(t, second, second.messages()[0].Token); err != nil {
		t.Errorf("of the second attempt: %v", err)
	}
	eventually(t, "nothing in flight", func() bool {
		info, err := a.Group(t.Context(), channel(t, "t:a"), "g")
		return err == nil && info.InFlight == 0 && info.Redelivered == 0
	})
}
