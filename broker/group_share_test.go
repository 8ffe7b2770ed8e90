package broker_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// A message goes to the member with the most room.
func TestGroupGoesByRoom(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{}))
	started(t, b)
	small, _ := join(t, b, "t:a", "g", 2, fanout.Start{})
	large, _ := join(t, b, "t:a", "g", 12, fanout.Start{})
	small2, _ := join(t, b, "t:a", "g", 2, fanout.Start{})
	publishMany(t, b, "t:a", 0, 10)
	eventually(t, "all", func() bool { return small.count()+large.count()+small2.count() == 10 })
	if large.count() != 10 {
		t.Errorf("%d, %d and %d messages where there was room for 2, 12 and 2", small.count(), large.count(), small2.count())
	}
}

// The requests that a lost connection took with it are made again at once.
func TestGroupAsksAgain(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 10, fanout.Start{})
	asks(t, b, 1)
	broker.LoseRequest(t, w.Membership)
	publish(t, b, "t:a", `1`)
	begin := time.Now()
	broker.Reconnect(t, w.Membership)
	eventually(t, "the message", func() bool { return w.count() > 0 })
	if took := time.Since(begin); took > 15*time.Second { // requests last 20
		t.Errorf("after %v", took)
	}
}

// Each further attempt waits for its step.
func TestGroupBacksOff(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{Backoff: []time.Duration{time.Millisecond, time.Hour, 2 * time.Hour}}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	at := publish(t, b, "t:a", `1`)
	back := func(attempt int) {
		eventually(t, "an attempt", func() bool { return w.count() == attempt })
		if err := settled(t, func(done func(error)) { w.Nak(w.messages()[attempt-1].Token, -1, "", done) }); err != nil {
			t.Fatal(err)
		}
	}
	back(1)
	back(2)
	if in := broker.ComesAgain(w.Membership, at.Offset); in < 59*time.Minute || in > time.Hour {
		t.Errorf("the third attempt comes in %v, want an hour", in)
	}
}

// consumer is what the log holds of the group g.
func consumer(t *testing.T, b *broker.Broker) jetstream.ConsumerConfig {
	t.Helper()
	c, err := b.JetStream().Consumer(t.Context(), "CH_t_1_0", broker.GroupConsumer(channel(t, "t:a"), "g"))
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo().Config
}

// The log knows the group's bounds, and new ones as soon as a node that has them joins.
func TestGroupConfigIsUpdated(t *testing.T) {
	srv := startRemote(t, remoteOptions(t, "n"))
	for _, g := range []broker.GroupConfig{
		{AckWait: time.Second, MaxInFlight: 7, Expire: time.Hour},
		{AckWait: 2 * time.Second, MaxInFlight: 7, Expire: time.Hour},
		{AckWait: 2 * time.Second, MaxInFlight: 3, Expire: time.Hour},
		{AckWait: 2 * time.Second, MaxInFlight: 3, Expire: 2 * time.Hour},
	} {
		b := open(t, config(t, func(c *broker.Config) {
			c.Data, c.NATSURL, c.Groups = "", srv.srv.ClientURL(), map[string]broker.GroupConfig{"t": g}
		}))
		started(t, b)
		w, joined := join(t, b, "t:a", "g", 100, fanout.Start{})
		if joined.AckWait != g.AckWait {
			t.Errorf("joined %+v, want %v", joined, g.AckWait)
		}
		c := consumer(t, b)
		if c.AckWait != g.AckWait || c.MaxAckPending != g.MaxInFlight || c.InactiveThreshold != g.Expire {
			t.Errorf("%v, %d, %v; want %+v", c.AckWait, c.MaxAckPending, c.InactiveThreshold, g)
		}
		if c.AckPolicy != jetstream.AckExplicitPolicy || c.MaxDeliver != -1 {
			t.Errorf("%+v", c)
		}
		w.Leave()
		closeNow(t, b)
	}
}

// Not more are with members of a group than there may be.
func TestGroupMaxInFlight(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{MaxInFlight: 3}))
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 100, fanout.Start{})
	publishMany(t, b, "t:a", 0, 10)
	for done := range 10 {
		eventually(t, "the next", func() bool { return w.count() > done })
		if got := w.count(); got > done+3 {
			t.Errorf("%d came, of which %d are settled", got, done)
		}
		if err := ack(t, w, w.messages()[done].Token); err != nil {
			t.Fatal(err)
		}
	}
}

// floorOf is how far the log knows that the group g was handed everything.
func floorOf(t *testing.T, b *broker.Broker) uint64 {
	t.Helper()
	x, err := fanout.ParsePosition(consumer(t, b).Metadata["rivulet.floor"])
	if err != nil {
		t.Fatal(err)
	}
	return x.Offset
}

// How far the group was handed everything is written down, for whoever comes back to it:
// when the last member leaves, and from time to time.
func TestGroupFloorIsStored(t *testing.T) {
	b := open(t, config(t))
	b.CheckGroups(100 * time.Millisecond)
	started(t, b)
	w, _ := join(t, b, "t:a", "g", 10, fanout.Start{})
	last := publishMany(t, b, "t:a", 0, 3)[2]
	eventually(t, "all", func() bool { return w.count() == 3 })
	for _, m := range w.messages() {
		if err := ack(t, w, m.Token); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a floor behind the last", func() bool {
		w.Leave() // and comes back, knowing what was delivered
		done := floorOf(t, b) >= last.Offset
		w, _ = join(t, b, "t:a", "g", 10, fanout.Start{})
		return done
	})
	w.Leave()
	other := publishMany(t, b, "t:other", 0, 3)[2]
	if _, joined := join(t, b, "t:a", "g", 10, fanout.Start{}); !joined.Known || !joined.Recovered {
		t.Errorf("%+v", joined)
	}
	eventually(t, "a floor that follows the other channels", func() bool { return floorOf(t, b) >= other.Offset })
}

// What waited on a node for room goes to others when the node has no member any more.
func TestGroupGivesSpareBackAtTheEnd(t *testing.T) {
	a, b := twoNodes(t, broker.GroupConfig{AckWait: 10 * time.Minute}, func(*broker.NamespaceSpec) {})
	full, _ := join(t, a, "t:a", "g", 1, fanout.Start{})
	full.mu.Lock()
	full.refuse = true
	full.mu.Unlock()
	publish(t, a, "t:a", `1`)
	eventually(t, "a message that waits", func() bool { return broker.Spare(full.Membership) == 1 })
	full.Leave()
	idle, _ := join(t, b, "t:a", "g", 1, fanout.Start{})
	eventually(t, "it at the idle node", func() bool { return idle.count() == 1 })
}

// A member that had no room once, though it said so, does not have its group fetch one
// message at a time for long.
func TestGroupRecoversFromAMisfit(t *testing.T) {
	b := open(t, groupsConfig(t, broker.GroupConfig{}))
	started(t, b)
	const count = 900 // of the 1000 that the member and the group have room for
	w, _ := join(t, b, "t:a", "g", 1000, fanout.Start{})
	asks(t, b, 1)
	w.mu.Lock()
	w.refuse = true
	w.mu.Unlock()
	publish(t, b, "t:a", `1`)
	eventually(t, "a message that waits", func() bool { return broker.Spare(w.Membership) == 1 })
	w.mu.Lock()
	w.refuse = false
	w.mu.Unlock()
	before := broker.Requests(w.Membership)
	publishMany(t, b, "t:a", 1, count)
	w.Ready()
	eventually(t, "all", func() bool { return w.count() == count+1 })
	for _, m := range w.messages() {
		if m.Attempt != 1 {
			t.Errorf("attempt %d of %d", m.Attempt, m.Offset())
		}
	}
	// As many as 1, 2, 4, … 64 of them each make, and some that ended or began with it.
	if asked := broker.Requests(w.Membership) - before; asked > 30 {
		t.Errorf("%d messages took %d requests", count, asked)
	}
}
