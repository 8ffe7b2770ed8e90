package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestSessionResetAndDelete(t *testing.T) {
	for _, c := range storeCases(false) {
		t.Run(c.String(), func(t *testing.T) {
			list := nodes(t, c, broker.SessionPolicy{})
			a, b := list[0], other(list)
			at := publishMany(t, a.Broker, "t:a", 0, 9)
			rec := take(t, a, alice, "c1", false)
			save(t, a, rec, fanout.SessionChange{Added: places(t, "t:a", at[0])})
			save(t, a, rec, fanout.SessionChange{Moved: places(t, "t:a", at[6])})
			if _, err := b.sessions.Reset(t.Context(), alice, places(t, "t:a", at[3])); err != nil {
				t.Fatal(err)
			}
			// Whoever had it was asked, and is kept out in any case.
			for _, p := range []fanout.Position{at[1], at[7]} {
				if err := a.sessions.Save(t.Context(), rec, fanout.SessionChange{Moved: places(t, "t:a", p)}); !errors.Is(err, fanout.ErrSuperseded) {
					t.Errorf("save after the reset: %v", err)
				}
			}
			rec = take(t, b, alice, "c2", true)
			wantAt(t, rec, "t:a", at[3])
			if !rec.Channels[0].Reset {
				t.Error("the reset is not marked")
			}
			save(t, b, rec, fanout.SessionChange{Moved: places(t, "t:a", at[4]), Release: true})
			rec = take(t, b, alice, "c3", true)
			if wantAt(t, rec, "t:a", at[4]); rec.Channels[0].Reset || consumers(t, a) != c.kept(1) {
				t.Errorf("after an acknowledgement: %+v, %d consumers", rec, consumers(t, a))
			}
			if lag, err := a.sessions.Lag(t.Context(), channel(t, "t:a"), at[4]); err != nil || lag != 4 {
				t.Errorf("lag %d, %v, want 4", lag, err)
			}

			if err := a.sessions.Delete(t.Context(), alice); err != nil {
				t.Fatal(err)
			}
			want := []fanout.YieldReason{fanout.YieldReset, fanout.YieldTaken, fanout.YieldDeleted}
			if got := append(a.yields.asked(), b.yields.asked()...); a != b && !slices.Equal(got, []fanout.YieldReason{fanout.YieldReset, fanout.YieldDeleted}) || a == b && !slices.Contains(got, want[2]) {
				t.Errorf("asked to yield: %v", got)
			}
			if err := b.sessions.Save(t.Context(), rec, fanout.SessionChange{Moved: places(t, "t:a", at[5])}); !errors.Is(err, fanout.ErrSuperseded) {
				t.Errorf("save after the deletion: %v", err)
			}
			if n := consumers(t, a); n != 0 {
				t.Errorf("%d consumers are left", n)
			}
			for _, err := range []error{
				a.sessions.Delete(t.Context(), alice),
				second(a.sessions.Reset(t.Context(), alice, nil)),
				second(a.sessions.Get(t.Context(), alice)),
			} {
				if !errors.Is(err, fanout.ErrNoSession) {
					t.Errorf("of a deleted session: %v", err)
				}
			}
			take(t, a, alice, "c4", false)
		})
	}
}

func second[T any](_ T, err error) error { return err }

func TestSessionsAreListed(t *testing.T) {
	a := nodes(t, storeCase{store: broker.SessionsInKV}, broker.SessionPolicy{})[0]
	const n = 7
	for i := range n {
		take(t, a, fanout.SessionID{User: "alice", Name: fmt.Sprint(i)}, "c", false)
		take(t, a, fanout.SessionID{User: "a.b *>", Name: fmt.Sprint(i)}, "c", false)
	}
	if err := a.sessions.Delete(t.Context(), fanout.SessionID{User: "alice", Name: "3"}); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]int{"alice": n - 1, "a.b *>": n, "": 2*n - 1, "nobody": 0} {
		seen := map[fanout.SessionID]bool{}
		for after, pages := uint64(0), 0; ; pages++ {
			list, next, err := a.sessions.List(t.Context(), user, after, 3)
			if err != nil || len(list) > 3 || pages > 2*n {
				t.Fatalf("page %d: %d sessions, %v", pages, len(list), err)
			}
			for _, r := range list {
				seen[r.ID] = true
			}
			if after = next; next == 0 {
				break
			}
		}
		if len(seen) != want {
			t.Errorf("of %q: %d sessions, want %d", user, len(seen), want)
		}
	}
}

func TestSessionStartOf(t *testing.T) {
	a := nodes(t, storeCase{store: broker.SessionsInKV}, broker.SessionPolicy{})[0]
	at := publishMany(t, a.Broker, "t:a", 0, 5)
	end := publish(t, a.Broker, "t:b", "1")
	for _, c := range []struct {
		name  string
		ch    string
		start fanout.Start
		want  fanout.Position
	}{
		{"live from now", "t:a", fanout.Start{}, end},
		{"a position", "t:a", fanout.Start{Positions: at[2:3]}, at[2]},
		{"the last two", "t:a", fanout.Start{Last: 2}, at[2]},
		{"more than there are", "t:a", fanout.Start{Last: 100}, fanout.Position{Stream: at[0].Stream, Time: at[0].Time}},
		{"since the fourth", "t:a", fanout.Start{Since: at[3].Time}, at[2]},
		{"since later", "t:a", fanout.Start{Since: end.Time + 1}, end},
		{"last of none", "t:none", fanout.Start{Last: 3}, end},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := a.sessions.StartOf(t.Context(), channel(t, c.ch), c.start)
			if err != nil {
				t.Fatal(err)
			}
			// What counts is that delivery from there is whole and begins rightly.
			if got.Offset != c.want.Offset && c.name != "last of none" {
				t.Errorf("starts at %v, want %v", got, c.want)
			}
			if _, ok, reason, _ := judge(t, a.Broker, c.ch, got); !ok {
				t.Errorf("cannot be resumed from: %s", reason)
			}
		})
	}
}

func TestSessionAckByOffset(t *testing.T) {
	a := nodes(t, storeCase{store: broker.SessionsInKV}, broker.SessionPolicy{})[0]
	at := publishMany(t, a.Broker, "t:a", 0, 3)
	of := publish(t, a.Broker, "t:b", "1")
	if p, err := a.sessions.At(t.Context(), channel(t, "t:a"), at[1].Offset); err != nil || p != at[1] {
		t.Errorf("at %v, %v, want %v", p, err, at[1])
	}
	for _, offset := range []uint64{0, of.Offset, 99} {
		if _, err := a.sessions.At(t.Context(), channel(t, "t:a"), offset); !errors.Is(err, fanout.ErrNotStored) {
			t.Errorf("at %d: %v", offset, err)
		}
	}
}

// An operator, or the server, may remove consumers. Without its owner the position is
// lost, which a client is told; the owner makes it again.
func TestSessionConsumerIsGone(t *testing.T) {
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprint("remote ", remote), func(t *testing.T) {
			a := nodes(t, storeCase{broker.SessionsInConsumers, remote}, broker.SessionPolicy{})[0]
			at := publishMany(t, a.Broker, "t:a", 0, 5)
			rec := take(t, a, alice, "c1", false)
			save(t, a, rec, fanout.SessionChange{Added: places(t, "t:a", at[0])})
			remove := func() {
				s, err := a.JetStream().Stream(t.Context(), "CH_t_1_0")
				if err != nil {
					t.Fatal(err)
				}
				names := s.ConsumerNames(t.Context())
				for name := range names.Name() {
					if err := s.DeleteConsumer(t.Context(), name); err != nil {
						t.Fatal(err)
					}
				}
			}
			remove()
			save(t, a, rec, fanout.SessionChange{Moved: places(t, "t:a", at[2])})
			save(t, a, rec, fanout.SessionChange{Release: true})
			rec = take(t, a, alice, "c2", true)
			wantAt(t, rec, "t:a", at[2])
			remove()
			save(t, a, rec, fanout.SessionChange{Release: true})
			rec = take(t, a, alice, "c3", true)
			wantAt(t, rec, "t:a", fanout.Position{})
			save(t, a, rec, fanout.SessionChange{Moved: places(t, "t:a", at[3]), Release: true})
			wantAt(t, take(t, a, alice, "c4", true), "t:a", at[3])
		})
	}
}

// The server's own view of a consumer follows the position.
func TestSessionConsumerShowsLag(t *testing.T) {
	a := nodes(t, storeCase{store: broker.SessionsInConsumers}, broker.SessionPolicy{})[0]
	at := publishMany(t, a.Broker, "t:a", 0, 10)
	rec := take(t, a, alice, "c1", false)
	save(t, a, rec, fanout.SessionChange{Added: places(t, "t:a", at[0])})
	for _, i := range []int{3, 7, 9} {
		save(t, a, rec, fanout.SessionChange{Moved: places(t, "t:a", at[i])})
		s, err := a.JetStream().Stream(t.Context(), "CH_t_1_0")
		if err != nil {
			t.Fatal(err)
		}
		for info := range s.ListConsumers(t.Context()).Info() {
			if info.AckFloor.Stream != at[i].Offset || info.NumPending != uint64(9-i) || info.NumAckPending != 0 {
				t.Errorf("at %d: floor %d, pending %d, unacknowledged %d", at[i].Offset, info.AckFloor.Stream, info.NumPending, info.NumAckPending)
			}
		}
	}
}
