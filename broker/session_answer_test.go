package broker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// A node that lost the answer to its own write still owns the session, unless it gave it
// up or another took it: then what it writes again changes nothing.
func TestSessionWriteWithoutAnswer(t *testing.T) {
	for _, c := range storeCases(false) {
		for what, change := range map[string]func(at []fanout.Position) fanout.SessionChange{
			"touch": func([]fanout.Position) fanout.SessionChange { return fanout.SessionChange{} },
			"move": func(at []fanout.Position) fanout.SessionChange {
				return fanout.SessionChange{Moved: places(t, "t:a", at[2])}
			},
			"add": func(at []fanout.Position) fanout.SessionChange {
				return fanout.SessionChange{Moved: places(t, "t:a", at[2]), Added: places(t, "t:b", at[1])}
			},
			"remove": func(at []fanout.Position) fanout.SessionChange {
				return fanout.SessionChange{Moved: places(t, "t:a", at[2]), Removed: []fanout.Channel{channel(t, "t:z")}}
			},
			"release": func(at []fanout.Position) fanout.SessionChange {
				return fanout.SessionChange{Moved: places(t, "t:a", at[2]), Release: true}
			},
		} {
			for _, answer := range []string{"record", "keep", "move", "drop"} {
				for _, heir := range []bool{false, true} {
					t.Run(c.String()+"/"+what+"/"+answer, func(t *testing.T) {
						list := nodes(t, c, broker.SessionPolicy{})
						at := publishMany(t, list[0].Broker, "t:a", 0, 9)
						writeAgain(t, list, at, change(at), answer, heir)
						if n := consumers(t, list[0]); n > c.kept(4) {
							t.Errorf("%d consumers are left", n)
						}
					})
				}
			}
		}
	}
}

// writeAgain loses one answer of a change, and makes the change again, perhaps after
// another has taken the session and has come further.
func writeAgain(t *testing.T, list []*node, at []fanout.Position, change fanout.SessionChange, answer string, heir bool) {
	t.Helper()
	a, b := list[0], other(list)
	rec := take(t, a, alice, "c1", false)
	save(t, a, rec, fanout.SessionChange{Added: append(places(t, "t:a", at[0]), places(t, "t:z", at[0])...)})
	before := rec.Clone()
	a.losses.next(answer, nil)
	err := a.sessions.Save(t.Context(), rec, change)
	a.losses.set(nil)
	if err == nil {
		rec = before // whoever called did not hear either
	}
	var heirs *fanout.SessionRecord
	if heir {
		heirs = take(t, b, alice, "c2", true)
		save(t, b, heirs, fanout.SessionChange{Moved: places(t, "t:a", at[6])})
	}
	err = a.sessions.Save(t.Context(), rec, change)
	switch {
	case heir && !errors.Is(err, fanout.ErrSuperseded):
		t.Errorf("written again, after another took it: %v", err)
	case !heir && err != nil && (!change.Release || !errors.Is(err, fanout.ErrSuperseded)):
		t.Errorf("written again: %v", err)
	}
	got, err := b.sessions.Get(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case heir:
		wantAt(t, got, "t:a", at[6])
		save(t, b, heirs, fanout.SessionChange{Moved: places(t, "t:a", at[7]), Release: true})
	case len(change.Moved) > 0:
		wantAt(t, got, "t:a", at[2])
	}
	for _, k := range take(t, a, alice, "c3", true).Channels {
		if k.Position.IsZero() {
			t.Errorf("the place in %s is lost", k.Channel)
		}
	}
}

// What a take, a reset or a deletion has made or given up when its answer is lost is
// neither lost itself nor left behind for ever.
func TestSessionTakeWithoutAnswer(t *testing.T) {
	for _, c := range storeCases(false) {
		for what, do := range map[string]func(ctx context.Context, n *node, at fanout.Position) error{
			"take": func(ctx context.Context, n *node, _ fanout.Position) error {
				_, _, err := n.sessions.Take(ctx, alice, "c2")
				return err
			},
			"reset": func(ctx context.Context, n *node, at fanout.Position) error {
				_, err := n.sessions.Reset(ctx, alice, places(t, "t:b", at))
				return err
			},
			"delete": func(ctx context.Context, n *node, _ fanout.Position) error { return n.sessions.Delete(ctx, alice) },
		} {
			for _, answer := range []string{"record", "keep"} {
				t.Run(c.String()+"/"+what+"/"+answer, func(t *testing.T) {
					list := nodes(t, c, broker.SessionPolicy{})
					a, b := list[0], other(list)
					at := publishMany(t, a.Broker, "t:a", 0, 3)
					rec := take(t, a, alice, "c1", false)
					save(t, a, rec, fanout.SessionChange{Added: append(places(t, "t:a", at[1]), places(t, "t:b", at[1])...)})
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					b.losses.next(answer, cancel) // the caller goes away as well
					err := do(ctx, b, at[1])
					if lost := b.losses.lost(); lost > 0 != (err != nil) {
						t.Errorf("%d answers lost: %v", lost, err)
					}
					want := 2
					if what == "delete" {
						want = 0
					}
					if n := consumers(t, a); n != c.kept(want) {
						t.Errorf("%d consumers, want %d", n, c.kept(want))
					}
					got, err := a.sessions.Get(t.Context(), alice)
					if what == "delete" {
						if !errors.Is(err, fanout.ErrNoSession) {
							t.Errorf("after the deletion: %v", err)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					wantAt(t, got, "t:a", at[1])
					wantAt(t, got, "t:b", at[1])
				})
			}
		}
	}
}
