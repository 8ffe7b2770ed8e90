package broker_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestPublishAtomic(t *testing.T) {
	for level, change := range levels() {
		t.Run(level, func(t *testing.T) {
			b := open(t, config(t, change))
			h := started(t, b)
			batch := func(n int, key string) (list []*fanout.Publication) {
				for i := range n {
					p := publication(t, fmt.Sprintf("t:a.%d", i%3), fmt.Sprint(i))
					if p.Publisher = "p"; key != "" {
						p.Key = fmt.Sprint(key, i)
					}
					list = append(list, p)
				}
				return list
			}
			for _, n := range []int{1, 2, 1000} {
				receipts, err := b.PublishAtomic(t.Context(), batch(n, fmt.Sprint("k", n, "-")))
				if err != nil || len(receipts) != n {
					t.Fatalf("%d messages: %d receipts, %v", n, len(receipts), err)
				}
				for i, r := range receipts {
					if r.Duplicate || r.Position.Time == 0 || i > 0 && r.Position.Offset != receipts[i-1].Position.Offset+1 {
						t.Fatalf("%d of %d: %+v", i, n, r)
					}
				}
				again, err := b.PublishAtomic(t.Context(), batch(n, fmt.Sprint("k", n, "-")))
				if err != nil || len(again) != n || !again[n-1].Duplicate || again[n-1].Position != receipts[n-1].Position {
					t.Errorf("%d messages again: %v", n, err)
				}
			}
			h.wait(t, "every message once", func(e []event) bool { return len(messages(e)) == 1003 })
		})
	}
}

// All or none: whatever is wrong with one message keeps all from being stored, and says
// with which.
func TestPublishAtomicRefused(t *testing.T) {
	b := open(t, config(t, func(c *broker.Config) {
		c.Namespaces = append(c.Namespaces, broker.NamespaceSpec{Name: "many", Partitions: 4, MaxBytes: 64 << 20})
	}))
	used := publication(t, "t:a", "used")
	used.Key, used.Publisher = "used", "p"
	r, err := b.Publish(t.Context(), used)
	if err != nil {
		t.Fatal(err)
	}
	wrong, right := uint64(99), r.Position.Offset
	with := func(change func(*fanout.Publication)) *fanout.Publication {
		p := publication(t, "t:a", "1")
		p.Publisher = "p"
		change(p)
		return p
	}
	plain := func() *fanout.Publication { return publication(t, "t:a", "0") }
	keyed := func(key string) *fanout.Publication {
		return with(func(p *fanout.Publication) { p.Key = key })
	}
	for name, c := range map[string]struct {
		list  []*fanout.Publication
		index int
		want  error
		field string
	}{
		"a key used before":           {[]*fanout.Publication{keyed("a"), with(func(p *fanout.Publication) { p.Key, p.Data = "used", []byte("used") }), keyed("b")}, 1, fanout.ErrKeyConflict, ""},
		"a key used, other content":   {[]*fanout.Publication{keyed("a"), keyed("b"), keyed("used")}, 2, fanout.ErrKeyConflict, ""},
		"no key beside one":           {[]*fanout.Publication{keyed("a"), plain()}, 1, nil, "idempotency_key"},
		"no key before one":           {[]*fanout.Publication{plain(), keyed("a")}, 0, nil, "idempotency_key"},
		"a key twice":                 {[]*fanout.Publication{with(func(p *fanout.Publication) { p.Key = "x" }), with(func(p *fanout.Publication) { p.Key = "x" })}, 1, nil, "idempotency_key"},
		"another offset":              {[]*fanout.Publication{with(func(p *fanout.Publication) { p.Expected = &wrong }), plain()}, 0, fanout.ErrExpectedOffset, ""},
		"another offset, with a key":  {[]*fanout.Publication{with(func(p *fanout.Publication) { p.Expected, p.Key = &wrong, "y" })}, 0, fanout.ErrExpectedOffset, ""},
		"an offset expected too late": {[]*fanout.Publication{plain(), with(func(p *fanout.Publication) { p.Expected = &right })}, 1, nil, "expected_offset"},
		"updates what is not":         {[]*fanout.Publication{plain(), with(func(p *fanout.Publication) { p.Updates = 99 })}, 1, fanout.ErrNoMessage, ""},
		"scheduled":                   {[]*fanout.Publication{plain(), later(t, "t:a", "1", time.Hour)}, 1, nil, "deliver_at"},
		"too large":                   {[]*fanout.Publication{plain(), with(func(p *fanout.Publication) { p.Data = make([]byte, 256<<10+1) })}, 1, fanout.ErrTooLarge, ""},
		"another namespace":           {[]*fanout.Publication{plain(), publication(t, "many:a", "1")}, 1, fanout.ErrNotAtomic, ""},
		"channels of many partitions": {[]*fanout.Publication{publication(t, "many:a", "1"), publication(t, "many:b", "1")}, 1, fanout.ErrNotAtomic, ""},
		"an unknown namespace":        {[]*fanout.Publication{publication(t, "nowhere:a", "1")}, 0, fanout.ErrUnknownNamespace, ""},
	} {
		_, err := b.PublishAtomic(t.Context(), c.list)
		batch, ok := errors.AsType[*fanout.BatchError](err)
		if !ok || batch.Index != c.index || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if in, bad := errors.AsType[*fanout.InputError](err); c.field != "" && (!bad || in.Field != c.field) {
			t.Errorf("%s: %v, want field %s", name, err, c.field)
		}
	}
	if got := all(t, b, "t:a"); fmt.Sprint(got) != "[used]" {
		t.Errorf("stored %v", got)
	}
	if receipts, err := b.PublishAtomic(t.Context(), []*fanout.Publication{publication(t, "many:a", "1"), publication(t, "many:a", "2")}); err != nil || len(receipts) != 2 {
		t.Errorf("one channel of many partitions: %v", err)
	}
	if receipts, err := b.PublishAtomic(t.Context(), []*fanout.Publication{with(func(p *fanout.Publication) { p.Expected, p.Key = &right, "z" }), keyed("zz")}); err != nil || receipts[0].Duplicate {
		t.Errorf("the expected offset: %+v, %v", receipts, err)
	}
}

// Batches that expect the same last offset: one is stored, whole.
func TestPublishAtomicRace(t *testing.T) {
	b := open(t, config(t))
	var wg sync.WaitGroup
	won := make([]int, 8)
	for w := range won {
		wg.Go(func() {
			for round := range uint64(10) {
				var list []*fanout.Publication
				for i := range 5 {
					list = append(list, publication(t, "t:a", fmt.Sprint(w, round, i)))
				}
				at := round * 5
				list[0].Expected = &at
				_, err := b.PublishAtomic(t.Context(), list)
				switch {
				case err == nil:
					won[w]++
				case !errors.Is(err, fanout.ErrExpectedOffset):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range won {
		sum += n
	}
	got := all(t, b, "t:a")
	if len(got) != 5*sum || sum == 0 || sum > 10 {
		t.Errorf("%d batches won, %d messages", sum, len(got))
	}
	for i := 0; i+5 <= len(got); i += 5 {
		if got[i][:1] != got[i+4][:1] {
			t.Errorf("batches are mixed: %v", got[i:i+5])
		}
	}
}

// The repetition of a stored batch that expected an offset is no conflict: it is told
// apart by its keys.
func TestPublishAtomicRepeatsExpectation(t *testing.T) {
	b := open(t, config(t))
	zero := uint64(0)
	batch := func(second string) []*fanout.Publication {
		list := []*fanout.Publication{publication(t, "t:a", "1"), publication(t, "t:a", second)}
		list[0].Key, list[0].Expected, list[1].Key = "k", &zero, "k2"
		return list
	}
	first, err := b.PublishAtomic(t.Context(), batch("2"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.PublishAtomic(t.Context(), batch("2"))
	if err != nil || !again[0].Duplicate || !again[1].Duplicate || again[1].Position != first[1].Position {
		t.Errorf("again: %+v, %v; want %+v", again, err, first)
	}
	if _, err := b.PublishAtomic(t.Context(), batch("other")); !errors.Is(err, fanout.ErrKeyConflict) {
		t.Errorf("other content: %v", err)
	}
	if got := all(t, b, "t:a"); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("stored %v", got)
	}
}
