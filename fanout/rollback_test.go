package fanout_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/fanout"
)

// rolledBack goes back to a copy of t:a's stream that is so many messages older, of which
// the node is not told yet.
func (n *node) rolledBack(t testing.TB, by uint64) {
	t.Helper()
	n.losing(t, func() { n.log.rollBack(n.log.partition(mustChannel(t, "t:a")), by) })
}

// TestRolledBackBesideAPattern: a channel is subscribed beside a pattern that has had what
// was rolled back. What was stored in its place since then is not had, though the node does
// not know of the change yet.
func TestRolledBackBesideAPattern(t *testing.T) {
	t.Parallel()
	for _, exact := range []bool{true, false} {
		for _, leaves := range []bool{false, true} {
			t.Run(fmt.Sprintf("exact %v, the pattern leaves %v", exact, leaves), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					n := newNode(t, calm(1000, 1).clocked(), exact, rare)
					r := n.subscribe(t, "t:*", fanout.Start{})
					n.publish(t, "t:a", 1, 5)
					r.expect(join([]string{"subscribed t:*"}, msgs(1, 5))...)
					at := n.position(t, "t:a", 3)
					n.rolledBack(t, 2)
					n.losing(t, func() { n.publish(t, "t:a", 6, 7) })
					r.add("t:a", fanout.Start{Positions: []fanout.Position{at}})
					r.expect("subscribed t:a", "m6", "m7", "caught up t:a")
					if leaves {
						if err := r.client.Unsubscribe(1, mustChannel(t, "t:a")); err != nil {
							t.Fatal(err)
						}
						r.expect("unsubscribed t:a")
					}
					n.Suspect("")
					n.publish(t, "t:b", 8, 8)
					n.publish(t, "t:a", 9, 9)
					want := []string{"gap t:* log_changed", "m8", "m9"}
					if !eventually(10*time.Second, func() bool { r.take(); return len(ofChannel(r.told, want...)) == len(want) }) {
						t.Errorf("never got all of %q: told %q", want, r.told)
					}
					if exact && !leaves && len(r.told) > len(want) {
						t.Errorf("told %q, want %q", r.told, want)
					}
				})
			})
		}
	}
}

// TestRolledBackUnderConflated: a conflated client was given what follows a message that
// was left out, for a newer one of its key, and not that one, which is rolled back. What was
// left out is the newest of its key then.
func TestRolledBackUnderConflated(t *testing.T) {
	t.Parallel()
	bubbles(t, func(t bubble) {
		n := newNode(t, board(1000).clocked(), t.exact, rare)
		slow, plain := n.conflated(t, t.filter, 1, byKey(0)), n.subscribe(t, t.filter, fanout.Start{})
		n.quiet(t)
		n.put(t, "x=1", "y=1", "x=2") // there is no room
		plain.await("x=2")
		slow.expect("subscribed "+t.filter, "caught up "+t.filter)
		n.quiet(t)
		if !slow.sink.holds(1) {
			t.Fatal("y=1 is not handed over")
		}
		n.rolledBack(t, 1)
		n.Suspect("")
		gap := "gap " + t.filter + " log_changed"
		if !eventually(10*time.Second, func() bool { plain.take(); return slices.Contains(plain.told, gap) }) {
			t.Fatalf("who is given all is told %q", plain.told)
		}
		slow.take() // makes room
		n.put(t, "z=1")
		slow.await("z=1")
		if want := []string{"y=1", gap, "z=1"}; !slices.Equal(ofChannel(slow.told, want...), want) {
			t.Errorf("silent hole: told %q", slow.told)
		}
	})
}

// TestRolledBackUnderResumeOfConflated: it was cut before. A client that is given all
// resumes as if nothing had happened.
func TestRolledBackUnderResumeOfConflated(t *testing.T) {
	t.Parallel()
	bubbles(t, func(t bubble) {
		n := newNode(t, board(1000).clocked(), t.exact, rare)
		n.put(t, "x=1", "y=1")
		at := fanout.Start{Positions: []fanout.Position{n.position(t, "t:a", 2)}}
		plain := n.subscribe(t, t.filter, fanout.Start{})
		n.put(t, "x=2")
		plain.await("x=2")
		n.rolledBack(t, 1)
		n.Suspect("")
		if gap := "gap " + t.filter + " log_changed"; !eventually(10*time.Second, func() bool { plain.take(); return slices.Contains(plain.told, gap) }) {
			t.Fatalf("who is given all is told %q", plain.told)
		}
		back := n.reader(t, 100)
		back.addRequest(fanout.SubscribeRequest{Channel: mustChannel(t, t.filter), Conflate: byKey(0), Start: at})
		back.expect("subscribed "+t.filter+" not recovered: log_changed", "x=1", "y=1", "caught up "+t.filter)
		if all := n.subscribe(t, t.filter, at); all.told[0] != "subscribed "+t.filter {
			t.Errorf("who is given all is told %q", all.told)
		}
	})
}

// TestRolledBackUnderTakenOver: a pattern goes back to deliver what it had left to a channel's
// subscription, and the log is rolled back to before where the pattern stood. What was stored
// there since then, in another channel, is nothing that it had.
func TestRolledBackUnderTakenOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, calm(1000, 1).clocked(), true, func(c *fanout.HubConfig) {
			rare(c)
			c.ReadBatch, c.RingMessages, c.KeepReads, c.ReadsPerStream = 4, 0, 0, 4
		})
		n.publish(t, "t:a", 1, 20)
		release := n.holdsReads(t, "t:a", 4)
		r := n.reader(t, 1<<20)
		r.add("t:a", fanout.Start{Since: 1})
		r.expect("subscribed t:a", "m1", "m2", "m3", "m4")
		r.add("t:>", fanout.Start{Since: 1}) // leaves all to the former
		r.expect("subscribed t:>", "caught up t:>")
		releasePattern := n.holdsReads(t, "t:>", 4)
		if err := r.client.Unsubscribe(7, mustChannel(t, "t:a")); err != nil {
			t.Fatal(err)
		}
		r.expect("unsubscribed t:a")
		release()
		n.rolledBack(t, 10)
		n.losing(t, func() { n.publish(t, "t:b", 21, 24) })
		releasePattern()
		n.Suspect("")
		n.publish(t, "t:b", 25, 25)
		want := append(msgs(5, 10), msgs(21, 25)...)
		if !eventually(10*time.Second, func() bool { r.take(); return slices.Contains(r.told, "m25") }) {
			t.Errorf("never got m25: told %q", r.told)
		}
		if got := ofChannel(r.told, append(want, "gap t:> log_changed")...); !slices.Equal(got, want) {
			t.Errorf("told %q: of interest %q, want %q", r.told, got, want)
		}
	})
}
