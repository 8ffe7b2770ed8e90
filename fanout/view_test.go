package fanout_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
)

// naive is what a view should hold: the messages after base that nothing outdates.
type naive struct {
	by   fanout.ConflateBy
	all  []*fanout.Message
	gone map[uint64]bool
}

func (n *naive) outdated(m *fanout.Message) bool {
	return slices.ContainsFunc(n.all, func(o *fanout.Message) bool {
		same := n.by == fanout.ConflateLast || m.ConflationKey != "" && m.ConflationKey == o.ConflationKey
		switch m.Kind {
		case fanout.KindData:
		case fanout.KindPurge:
			return o.Kind == fanout.KindPurge && o.Channel == m.Channel && o.Offset() > m.Offset()
		case fanout.KindDeleted:
			return false
		}
		return o.Channel == m.Channel && o.Kind == fanout.KindData && o.Offset() > m.Offset() && same
	})
}

func (n *naive) take(m *fanout.Message) {
	for _, o := range n.all {
		if m.Channel != o.Channel {
			continue
		}
		if m.Kind == fanout.KindPurge || o.Kind == fanout.KindData && m.Kind == fanout.KindDeleted && o.Offset() == m.Target {
			n.gone[o.Offset()] = true
		}
	}
	n.all = append(n.all, m)
}

func (n *naive) after(x uint64) (out []uint64) {
	for _, m := range n.all {
		if m.Offset() > x && !n.gone[m.Offset()] && !n.outdated(m) {
			out = append(out, m.Offset())
		}
	}
	return out
}

func offsets(msgs []*fanout.Message) (out []uint64) {
	for _, m := range msgs {
		out = append(out, m.Offset())
	}
	return out
}

// TestViewAgainstNaive compares a view with the plain definition of one, at every
// position, for both kinds.
func TestViewAgainstNaive(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		by := []fanout.ConflateBy{fanout.ConflateKey, fanout.ConflateLast}[seed%2]
		budget := new(atomic.Int64)
		budget.Store(1 << 30)
		at := func(offset uint64) fanout.Position {
			return fanout.Position{Stream: fanout.StreamTag([]byte("00000000")), Offset: offset, Time: int64(1000 + offset)}
		}
		limit := []int{1 << 20, 5}[rng.IntN(2)]
		v := fanout.NewView(by, at(0), limit, 1<<30, budget)
		n := &naive{by: by, gone: map[uint64]bool{}}
		offset := uint64(0)
		for range 60 {
			offset += 1 + rng.Uint64N(3)
			m := &fanout.Message{Channel: mustChannel(t, []string{"t:a", "t:b"}[rng.IntN(2)]), Position: at(offset)}
			switch r := rng.IntN(20); {
			case r == 0:
				m.Kind = fanout.KindPurge
			case r == 1 && len(n.all) > 0:
				m.Kind, m.Target = fanout.KindDeleted, n.all[rng.IntN(len(n.all))].Offset()
			case r > 4:
				m.ConflationKey = fmt.Sprintf("k%d", rng.IntN(4))
			}
			n.take(m)
			v.Take(m, true)
			base := v.Base()
			for x := base.Offset; x <= offset; x++ {
				got, _, ok := v.After(at(x), 1<<20)
				if !ok {
					if x == base.Offset || x == offset {
						t.Fatalf("seed %d: position %d is not known, base %v, end %d", seed, x, base, offset)
					}
					continue
				}
				if want := n.after(x); !slices.Equal(offsets(got), want) {
					t.Fatalf("seed %d: after %d come %v, want %v", seed, x, offsets(got), want)
				}
			}
			if base.Offset > 0 {
				if _, _, ok := v.After(at(base.Offset-1), 1); ok {
					t.Fatalf("seed %d: a position before base counts as known", seed)
				}
			}
			held := len(n.after(base.Offset))
			if v.Slots() > 2*held+16 || held > limit {
				t.Fatalf("seed %d: %d slots for %d messages", seed, v.Slots(), held)
			}
		}
		if left := budget.Load() + v.Bytes(); left != 1<<30 {
			t.Fatalf("seed %d: the budget is wrong by %d", seed, left-1<<30)
		}
	}
}

// TestViewIsBounded by messages, by bytes and by the node's budget.
func TestViewIsBounded(t *testing.T) {
	t.Parallel()
	one := int64((&fanout.Message{ConflationKey: "k00"}).Size())
	for name, bound := range map[string]struct {
		limit        int
		most, budget int64
	}{"messages": {4, 1 << 30, 1 << 30}, "bytes": {100, 4 * one, 1 << 30}, "budget": {100, 1 << 30, 4 * one}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			budget := new(atomic.Int64)
			budget.Store(bound.budget)
			at := func(i int) fanout.Position {
				return fanout.Position{Stream: fanout.StreamTag([]byte("00000000")), Offset: uint64(i), Time: int64(i)}
			}
			v := fanout.NewView(fanout.ConflateKey, at(0), bound.limit, bound.most, budget)
			for i := 1; i <= 50; i++ {
				v.Take(&fanout.Message{Channel: mustChannel(t, "t:a"), Position: at(i), ConflationKey: fmt.Sprintf("k%02d", i)}, false)
			}
			got, _, ok := v.After(v.Base(), 100)
			if want := []uint64{47, 48, 49, 50}; !ok || !slices.Equal(offsets(got), want) || v.Base() != at(46) {
				t.Errorf("holds %v from %v, want %v", offsets(got), v.Base(), want)
			}
		})
	}
}
