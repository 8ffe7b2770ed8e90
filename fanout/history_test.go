package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

func TestHistoryRefuses(t *testing.T) {
	t.Parallel()
	a := mustChannel(t, "t:a")
	n := newNode(t, calm(0, 1), true, nil)
	for name, c := range map[string]struct {
		q     fanout.HistoryQuery
		field string
	}{
		"a pattern":       {fanout.HistoryQuery{Channel: mustChannel(t, "t:*"), Limit: 1}, "channel"},
		"no limit":        {fanout.HistoryQuery{Channel: a}, "limit"},
		"limit 1001":      {fanout.HistoryQuery{Channel: a, Limit: 1001}, "limit"},
		"after and since": {fanout.HistoryQuery{Channel: a, Limit: 1, Since: 1, After: fanout.Position{Stream: ringTag}}, "since"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var in *fanout.InputError
			if _, err := n.History(t.Context(), c.q); !errors.As(err, &in) || in.Field != c.field {
				t.Errorf("error %v, want one of field %s", err, c.field)
			}
		})
	}
}

func TestHistoryOfNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(0, 1), true, nil)
	for _, desc := range []bool{false, true} {
		page, err := n.History(t.Context(), fanout.HistoryQuery{Channel: mustChannel(t, "t:a"), Limit: 10, Desc: desc})
		if err != nil || len(page.Messages) != 0 || page.More || !page.Recovered {
			t.Errorf("desc %v: %+v, %v", desc, page, err)
		}
	}
}

// TestHistoryThatIsGone reads after a position whose successors were evicted.
func TestHistoryThatIsGone(t *testing.T) {
	t.Parallel()
	n := newNode(t, calm(5, 1), true, nil)
	n.publish(t, "t:a", 1, 4)
	after := n.position(t, "t:a", 2)
	n.publish(t, "t:a", 5, 20)
	page, err := n.History(t.Context(), fanout.HistoryQuery{Channel: mustChannel(t, "t:a"), Limit: 100, After: after})
	if err != nil || page.Recovered || page.Reason != protocol.ReasonRetention || page.More {
		t.Fatalf("%+v, %v", page, err)
	}
	if got := texts(page.Messages); !slices.Equal(got, msgs(15, 20)) {
		t.Errorf("messages %q", got)
	}
}

// TestPagesRest: between the reads of a long page others have the processors for as long
// as the last read took, and a page whose reader has gone reads no more.
func TestPagesRest(t *testing.T) {
	for _, desc := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const count, takes = 300, 4 * time.Millisecond
			n := newNode(t, calm(0, 1), true, nil)
			n.publish(t, "t:a", 1, count)
			var ended time.Time
			var rests []time.Duration
			n.gate.hold = func(context.Context, fanout.Query) {
				if !ended.IsZero() {
					rests = append(rests, time.Since(ended))
				}
				time.Sleep(takes) //nolint:forbidigo // the bubble's time is what is tested
				ended = time.Now()
			}
			q := fanout.HistoryQuery{Channel: mustChannel(t, "t:a"), Limit: count, Desc: desc}
			page, err := n.History(t.Context(), q)
			if err != nil || len(page.Messages) != count {
				t.Fatalf("%d messages, %v", len(page.Messages), err)
			}
			if len(rests) < 3 || slices.ContainsFunc(rests, func(d time.Duration) bool { return d != takes }) {
				t.Errorf("rests of %v between the reads, want %v each", rests, takes)
			}
			before := n.gate.reads.Load()
			ctx, cancel := context.WithTimeout(t.Context(), takes+takes/2)
			defer cancel()
			if _, err := n.History(ctx, q); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want that the time is over", err)
			}
			if reads := n.gate.reads.Load() - before; reads != 1 {
				t.Errorf("%d reads for somebody who has gone, want the one that had begun", reads)
			}
		})
	}
}

func texts(list []*fanout.Message) (out []string) {
	for _, m := range list {
		out = append(out, string(m.Data))
	}
	return out
}

// TestHistory compares pages with what is stored, and pages through it both ways.
func TestHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		n := newNode(t, calm(0, 1), true, func(cfg *fanout.HubConfig) {
			cfg.ReadBatch = rapid.IntRange(1, 8).Draw(r, "read batch")
		})
		channels := []fanout.Channel{mustChannel(t, "t:a"), mustChannel(t, "t:b")}
		for i := range rapid.IntRange(0, 40).Draw(r, "messages") {
			kind := rapid.SampledFrom([]fanout.Kind{fanout.KindData, fanout.KindData, fanout.KindData, fanout.KindDeleted}).Draw(r, "kind")
			n.log.store(channels[rapid.IntRange(0, 1).Draw(r, "channel")], kind, fmt.Sprintf("m%d", i))
		}
		all := n.stored(t, "t:a")
		q := fanout.HistoryQuery{Channel: channels[0], Limit: rapid.IntRange(1, 12).Draw(r, "limit"), Desc: rapid.Bool().Draw(r, "desc")}
		want := all
		if len(all) > 0 {
			pick := func(what string) *fanout.Message { return all[rapid.IntRange(0, len(all)-1).Draw(r, what)] }
			switch rapid.IntRange(0, 2).Draw(r, "from") {
			case 1:
				q.After = pick("after").Position
				want = slices.DeleteFunc(slices.Clone(want), func(m *fanout.Message) bool { return m.Offset() <= q.After.Offset })
			case 2:
				q.Since = pick("since").Position.Time
				want = slices.DeleteFunc(slices.Clone(want), func(m *fanout.Message) bool { return m.Position.Time < q.Since })
			}
			if rapid.Bool().Draw(r, "bounded above") {
				q.Before = pick("before").Position
				want = slices.DeleteFunc(slices.Clone(want), func(m *fanout.Message) bool { return m.Offset() >= q.Before.Offset })
			}
		}
		want = slices.DeleteFunc(slices.Clone(want), func(m *fanout.Message) bool { return m.Kind != fanout.KindData })
		if q.Desc {
			slices.Reverse(want)
		}
		n.pageThrough(t, r, q, texts(want))
	})
}

// stored is everything stored in a channel.
func (n *node) stored(t testing.TB, channel string) []*fanout.Message {
	t.Helper()
	c := mustChannel(t, channel)
	b, err := n.log.Read(t.Context(), fanout.Query{Source: fanout.Source{Stream: n.log.partition(c), Filter: c}, Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return b.Messages
}

func (n *node) pageThrough(t testing.TB, r *rapid.T, q fanout.HistoryQuery, want []string) {
	t.Helper()
	var got []string
	for pages := 0; ; pages++ {
		page, err := n.History(t.Context(), q)
		if err != nil {
			r.Fatal(err)
		}
		if !page.Recovered || len(page.Messages) > q.Limit || pages > len(want)+40 {
			r.Fatalf("page %d: %d messages, %+v", pages, len(page.Messages), page)
		}
		got = append(got, texts(page.Messages)...)
		if !page.More {
			break
		}
		if len(page.Messages) == 0 && !q.Desc {
			r.Fatal("an empty page, and more")
		}
		if q.Desc {
			q.Before = page.Position
		} else {
			q.After, q.Since = page.Position, 0
		}
	}
	if !slices.Equal(got, want) {
		r.Fatalf("%+v: pages have %q, want %q", q, got, want)
	}
}
