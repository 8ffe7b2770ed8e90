package fanout_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/fanout"
)

// ringModel is what the ring shall know: everything pushed since the last reset.
type ringModel struct {
	ring *fanout.Ring
	all  []*fanout.Message
	from uint64 // complete after this offset, as far as reset said
	gone bool   // base is of no stream: what lies just after it cannot be told apart
}

var ringTag = fanout.StreamTag([]byte("abcde000"))

func at(offset uint64) fanout.Position {
	return fanout.Position{Stream: ringTag, Offset: offset, Time: 1000 * int64(offset)}
}

// check compares what the ring answers for x with the model; must says that it has
// to answer.
func (m *ringModel) check(t *rapid.T, x fanout.Position, limit int, must bool) {
	msgs, more, ok := m.ring.After(x, limit)
	if !ok {
		if must {
			t.Fatalf("nothing after %v, which it holds", x)
		}
		return
	}
	if x.Offset < m.from || x.Offset < m.ring.Base().Offset {
		t.Fatalf("answers for %v, but is complete from %d", x, m.from)
	}
	i := slices.IndexFunc(m.all, func(o *fanout.Message) bool { return o.Offset() > x.Offset })
	if i < 0 {
		i = len(m.all)
	}
	want := m.all[i:]
	if more != (len(want) > limit) {
		t.Fatalf("after %v: more %v of %d with limit %d", x, more, len(want), limit)
	}
	if !slices.Equal(msgs, want[:min(limit, len(want))]) {
		t.Fatalf("after %v: %d messages, want the first %d of %d", x, len(msgs), limit, len(want))
	}
}

// checkAll asks for every position near the ring, and for some of other logs.
func (m *ringModel) checkAll(t *rapid.T, last uint64, limit int) {
	held := m.all[len(m.all)-m.ring.Count():]
	for o := uint64(0); o <= last+1; o++ {
		x := at(o)
		must := slices.ContainsFunc(held, func(h *fanout.Message) bool { return h.Position == x && o > m.ring.Base().Offset })
		m.check(t, x, limit, must || x == m.ring.Base())
		late := x
		late.Time++
		if late != m.ring.Base() && slices.ContainsFunc(m.all, func(h *fanout.Message) bool { return h.Offset() == o }) {
			if _, _, ok := m.ring.After(late, limit); ok {
				t.Fatalf("answers for %v, where it holds another time", late)
			}
		}
		raised := x
		raised.Stream = fanout.StreamTag([]byte("abcde001"))
		if _, _, ok := m.ring.After(raised, limit); ok && !must {
			t.Fatalf("answers for %v of another epoch, which it does not hold", raised)
		}
		other := x
		other.Stream = fanout.StreamTag([]byte("vwxyz000"))
		if _, _, ok := m.ring.After(other, limit); ok {
			t.Fatalf("answers for %v of another stream", other)
		}
	}
	for n := 1; n <= len(held)+1; n++ {
		p, ok := m.ring.BeforeLast(n)
		if ok != (n < len(held) || n == len(held) && !m.gone) {
			t.Fatalf("before the last %d of %d: %v", n, len(held), ok)
		}
		if ok && n < len(held) && p != held[len(held)-n-1].Position {
			t.Fatalf("before the last %d is %v", n, p)
		}
		if ok && n == len(held) && p != m.ring.Base() {
			t.Fatalf("before all is %v", p)
		}
	}
}

// TestRing plays two rings on one budget against slices.
func TestRing(t *testing.T) {
	t.Parallel()
	channels := []fanout.Channel{mustChannel(t, "n:a"), mustChannel(t, "n:b"), mustChannel(t, "n:c")}
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int{0, 1, 2, 3, 8, 100}).Draw(t, "limit")
		most := rapid.SampledFrom([]int64{500, 3000, 1 << 20}).Draw(t, "most")
		total := rapid.SampledFrom([]int64{0, 2000, 8000, 1 << 20}).Draw(t, "budget")
		pattern := rapid.Bool().Draw(t, "pattern")
		var budget atomic.Int64
		budget.Store(total)
		rings := []*ringModel{{}, {}}
		for _, m := range rings {
			m.ring = fanout.NewRing(limit, most, &budget)
			m.ring.Reset(at(0))
		}
		last := uint64(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			m := rings[rapid.IntRange(0, 1).Draw(t, "ring")]
			switch rapid.IntRange(0, 19).Draw(t, "step") {
			case 0:
				m.ring.Reset(at(last))
				m.all, m.from, m.gone = nil, last, false
			case 1: // complete only from ahead on: some channels of a pattern lost messages
				m.from, m.gone = last+2, true
				m.ring.Reset(fanout.NowhereAt(m.from))
				m.all = nil
			case 3:
				last++
				marker := message(channels[rapid.IntRange(0, 2).Draw(t, "channel")], last, fanout.KindDeleted, "")
				marker.Target = uint64(rapid.IntRange(1, int(last)).Draw(t, "target"))
				m.ring.Push(marker)
				m.ring.Drop(marker)
				m.all = append(m.all, marker)
				m.all = slices.DeleteFunc(m.all, func(o *fanout.Message) bool {
					return o.Channel == marker.Channel && o.Kind == fanout.KindData && o.Offset() == marker.Target
				})
			case 2:
				last++
				marker := message(channels[rapid.IntRange(0, 2).Draw(t, "channel")], last, fanout.KindPurge, "")
				m.ring.Push(marker)
				m.ring.Purge(marker, pattern)
				m.all = append(m.all, marker)
				if pattern {
					m.all = slices.DeleteFunc(m.all, func(o *fanout.Message) bool { return o.Channel == marker.Channel && o != marker })
				} else {
					m.all, m.from, m.gone = nil, last, false
				}
			default:
				last += uint64(rapid.IntRange(1, 3).Draw(t, "step of offsets"))
				data := rapid.StringN(0, 700, -1).Draw(t, "data")
				msg := message(channels[rapid.IntRange(0, 2).Draw(t, "channel")], last, fanout.KindData, data)
				m.ring.Push(msg)
				m.all = append(m.all, msg)
			}
			if b := m.ring.Base(); b.Stream == ringTag {
				m.gone = false
			}
			checkBounds(t, rings, limit, most, total, &budget)
			m.checkAll(t, last, rapid.IntRange(1, 5).Draw(t, "limit of the answer"))
		}
		for _, m := range rings {
			m.ring.Reset(at(last))
		}
		if budget.Load() != total {
			t.Fatalf("%d bytes of %d were not given back", total-budget.Load(), total)
		}
	})
}

func checkBounds(t *rapid.T, rings []*ringModel, limit int, most, total int64, budget *atomic.Int64) {
	var held int64
	for _, m := range rings {
		var bytes int64
		for _, o := range m.all[len(m.all)-m.ring.Count():] {
			bytes += int64(o.Size())
		}
		if m.ring.Count() > limit || m.ring.Bytes() > most || m.ring.Bytes() != bytes {
			t.Fatalf("%d messages of %d bytes counted as %d; bounds %d and %d", m.ring.Count(), bytes, m.ring.Bytes(), limit, most)
		}
		held += bytes
	}
	if held+budget.Load() != total || budget.Load() < 0 {
		t.Fatalf("%d bytes held, %d left of %d", held, budget.Load(), total)
	}
}

func message(c fanout.Channel, offset uint64, kind fanout.Kind, data string) *fanout.Message {
	return &fanout.Message{Channel: c, Stream: "n/0", Position: at(offset), Kind: kind, Data: []byte(data)}
}

// What a message's encodings take is known only once it was delivered: the ring
// counts them when the next one comes.
func TestRingCountsFrames(t *testing.T) {
	var budget atomic.Int64
	budget.Store(1 << 20)
	ring := fanout.NewRing(8, 1<<20, &budget)
	c := mustChannel(t, "n:a")
	m := message(c, 1, fanout.KindData, "abc")
	ring.Reset(at(0))
	ring.Push(m)
	alone := int64(m.Size())
	plain := make([]byte, 10, 100)
	for slot, frame := range [][]byte{plain, make([]byte, 200), plain, make([]byte, 20, 300)} {
		m.Frame(slot, func(*fanout.Message) []byte { return frame })
	}
	next := message(c, 2, fanout.KindData, "abc")
	ring.Push(next)
	if want := alone + 200 + 300 + int64(next.Size()); ring.Bytes() != want {
		t.Errorf("%d bytes, want %d: a frame's own size for all but the first, and a shared one once", ring.Bytes(), want)
	}
	ring.Reset(at(2))
	if budget.Load() != 1<<20 {
		t.Errorf("%d bytes were not given back", 1<<20-budget.Load())
	}
}
