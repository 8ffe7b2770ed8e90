package broker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// quickly is a group of two nodes, whose channel keeps 20 messages: on one a member works
// long on a first message, on the other one is quick.
type quickly struct {
	t           *testing.T
	a           *broker.Broker // the node of the long one
	long, quick *worker
	check       func(context.Context) (lost bool) // first of an empty log
	done        int                               // by quick
}

func newQuickly(t *testing.T, room int) *quickly {
	t.Helper()
	srv := startRemote(t, remoteOptions(t, "n"))
	node := func(name string) *broker.Broker {
		b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel = 20 }), func(c *broker.Config) {
			c.Node, c.Data, c.NATSURL = name, "", srv.srv.ClientURL()
		}))
		b.CheckGroups(time.Hour) // once; the tests do
		return b
	}
	a, b := node("a"), node("b")
	a.ShowLooks()
	q := &quickly{t: t, a: a}
	started(t, a)
	started(t, b)
	q.long, _ = join(t, a, "t:a", "g", 1, fanout.Start{})
	if q.check = broker.FloorOf(t, q.long.Membership); q.check(t.Context()) {
		t.Error("nothing was stored yet")
	}
	publish(t, a, "t:a", `"first"`)
	eventually(t, "the long one", func() bool { return q.long.count() == 1 })
	q.quick, _ = join(t, b, "t:a", "g", room, fanout.Start{})
	return q
}

// holds waits until the quick one has got n messages in all.
func (q *quickly) holds(n int) {
	q.t.Helper()
	eventually(q.t, fmt.Sprint(n, " messages"), func() bool { return q.quick.count() >= n })
}

// work has n messages stored, each as another is done, whichever waits longest.
func (q *quickly) work(n int) {
	q.t.Helper()
	for range n {
		publish(q.t, q.a, "t:a", `1`)
		q.settle(1)
	}
}

// The log drops all that a check saw before the next, and at both something waits: another
// node did it all, and nobody is told of a loss.
func TestGroupTakesNoTurnoverForALoss(t *testing.T) {
	q := newQuickly(t, 5)
	publishMany(t, q.a, "t:a", 0, 6)
	q.holds(5) // one waits, and from now on always
	for n := range 3 {
		q.work(30)
		if q.check(t.Context()) {
			t.Errorf("check %d tells of a loss, where %d messages were done", n, q.done)
		}
	}
	if got := append(q.long.told(), q.quick.told()...); len(got) > 0 {
		t.Errorf("told of losses: %v", got)
	}
}

// The log drops what a check has seen just now, before the check looks at the log.
func TestGroupIsQuickerThanItsCheck(t *testing.T) {
	q := newQuickly(t, 5)
	check := broker.FloorOf(t, q.long.Membership)
	for n := range 3 {
		if check(broker.Meanwhile(t.Context(), func() { q.work(30) })) {
			t.Errorf("check %d tells of a loss, where %d messages were done", n, q.done)
		}
	}
	if check(t.Context()) {
		t.Error("the last check tells of a loss")
	}
}

// A member that joins a quick group is told that it missed nothing.
func TestGroupIsQuickerThanWhoJoins(t *testing.T) {
	q := newQuickly(t, 5)
	q.long.Leave() // what it worked on goes to the other
	q.holds(1)
	_, joined, err := q.a.JoinGroup(broker.Meanwhile(t.Context(), func() { q.work(30) }), fanout.GroupRequest{
		Channel: channel(t, "t:a"), Group: "g", MaxInFlight: 1, Member: &worker{},
	})
	if err != nil || !joined.Recovered {
		t.Errorf("joined %+v, %v", joined, err)
	}
}

// What nobody has room for, until the log drops it, is told by a check of any node.
func TestGroupCheckTellsOfALimit(t *testing.T) {
	q := newQuickly(t, 1)
	check := broker.FloorOf(t, q.long.Membership)
	publishMany(t, q.a, "t:a", 0, 3)
	q.holds(1)
	if check(t.Context()) {
		t.Error("nothing is gone yet")
	}
	publishMany(t, q.a, "t:a", 3, 40)
	if !check(t.Context()) {
		t.Error("what the log dropped is not told")
	}
}

// settle has n more messages done by the quick one, and nothing stored.
func (q *quickly) settle(n int) {
	q.t.Helper()
	for range n {
		q.holds(q.done + 1)
		if err := ack(q.t, q.quick, q.quick.messages()[q.done].Token); err != nil {
			q.t.Fatal(err)
		}
		q.done++
	}
}

// That the group goes on, behind what the log dropped, is no excuse for it: not where
// as much waited as a channel keeps when the check looked at the group.
func TestGroupGoesOnBehindALimit(t *testing.T) {
	q := newQuickly(t, 1)
	check := broker.FloorOf(t, q.long.Membership)
	publishMany(t, q.a, "t:a", 0, 3)
	q.holds(1)
	publishMany(t, q.a, "t:a", 3, 41)
	if !check(broker.Meanwhile(t.Context(), func() { q.settle(10) })) {
		t.Error("what the log dropped is not told")
	}
}

// Nor where it does afterwards.
func TestGroupGoesOnBehindALaterLimit(t *testing.T) {
	q := newQuickly(t, 1)
	check := broker.FloorOf(t, q.long.Membership)
	publishMany(t, q.a, "t:a", 0, 3)
	q.holds(1)
	if !check(broker.Meanwhile(t.Context(), func() {
		publishMany(t, q.a, "t:a", 3, 41)
		q.settle(1)
		q.holds(2)
	})) {
		t.Error("what the log dropped is not told")
	}
}

// takeBytes has other channels take all of the bytes that a small namespace may have.
func takeBytes(t *testing.T, b *broker.Broker) {
	t.Helper()
	for n := range 40 {
		publish(t, b, fmt.Sprintf("t:b.%d", n), `"`+strings.Repeat("x", 40<<10)+`"`)
	}
}

// So is, of a channel that is never far behind, what left for the namespace's bytes, as far
// as nobody knows whether it was had.
func TestGroupCheckTellsOfBytes(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel, s.MaxBytes = 20, 1<<20 })))
	b.CheckGroups(time.Hour)
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	check := broker.FloorOf(t, w.Membership)
	publishMany(t, b, "t:a", 0, 3)
	eventually(t, "the first", func() bool { return w.count() == 1 })
	if check(t.Context()) {
		t.Error("nothing is gone yet")
	}
	takeBytes(t, b)
	if !check(t.Context()) {
		t.Error("what the log dropped is not told")
	}
}

// Who joins a group without members is told of what left for the namespace's bytes, too.
func TestGroupTellsWhoJoinsOfBytes(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel, s.MaxBytes = 20, 1<<20 })))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	w.Leave()
	publishMany(t, b, "t:a", 0, 3)
	takeBytes(t, b)
	if _, joined := join(t, b, "t:a", "g", 1, fanout.Start{}); joined.Recovered {
		t.Errorf("joined %+v", joined)
	}
}
