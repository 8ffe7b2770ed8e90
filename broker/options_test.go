package broker_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
)

func TestOptionsReachFeedAndLog(t *testing.T) {
	b := open(t, config(t))
	h := started(t, b)
	original := publish(t, b, "t:a", "1")
	p := publication(t, "t:a", "2")
	p.ConflationKey, p.Exclude, p.Updates, p.TTL = "price/%", "0123456789abcdef", original.Offset, time.Minute
	r, err := b.Publish(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	live := messages(h.wait(t, "two messages", func(e []event) bool { return len(messages(e)) == 2 }))[1]
	stored := read(t, b, fanout.Query{Source: source(t, b, "t:a"), After: original.Offset, Limit: 1}).Messages[0]
	for from, m := range map[string]*fanout.Message{"feed": live, "log": stored} {
		if m.ConflationKey != p.ConflationKey || m.Exclude != p.Exclude || m.Updates != p.Updates ||
			m.Expires != r.Position.Time+int64(time.Minute) {
			t.Errorf("%s: got %+v", from, m)
		}
	}
	p = publication(t, "t:a", "3")
	p.TTL = 48 * time.Hour // the namespace keeps messages for 24
	if r, err = b.Publish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if m := read(t, b, fanout.Query{Source: source(t, b, "t:a"), After: r.Position.Offset - 1, Limit: 1}).Messages[0]; m.Expires != 0 {
		t.Errorf("a TTL above the namespace's age is stored: %+v", m)
	}
}

func TestUpdatesNeedTheirOriginal(t *testing.T) {
	b := open(t, config(t))
	original, elsewhere := publish(t, b, "t:a", "1"), publish(t, b, "t:b", "1")
	send := func(offset uint64) (fanout.Receipt, error) {
		p := publication(t, "t:a", "2")
		p.Updates = offset
		return b.Publish(t.Context(), p)
	}
	version, err := send(original.Offset)
	if err != nil {
		t.Fatal(err)
	}
	marker, err := b.Purge(t.Context(), channel(t, "t:b"))
	if err != nil {
		t.Fatal(err)
	}
	for name, offset := range map[string]uint64{"of another channel": elsewhere.Offset, "a marker": marker.Position.Offset, "beyond the end": 99} {
		if _, err := send(offset); !errors.Is(err, fanout.ErrNoMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = send(version.Position.Offset)
	if in, ok := errors.AsType[*fanout.InputError](err); !ok || in.Field != "updates" {
		t.Errorf("a version: %v", err)
	}
	if tail, err := b.Tail(t.Context(), source(t, b, "t:a")); err != nil || tail.Last != version.Position {
		t.Errorf("something was stored: %+v, %v", tail, err)
	}
}

func TestExpectedOffset(t *testing.T) {
	for level, change := range levels() {
		t.Run(level, func(t *testing.T) {
			b := open(t, config(t, change))
			send := func(expected uint64, key, data string) (fanout.Receipt, error) {
				p := publication(t, "t:a", data)
				p.Key, p.Publisher, p.Expected = key, "p", &expected
				return b.Publish(t.Context(), p)
			}
			publish(t, b, "t:other", "0")
			first, err := send(0, "", "1")
			if err != nil {
				t.Fatal(err)
			}
			_, err = send(0, "", "2")
			if e, ok := errors.AsType[*fanout.ExpectedOffsetError](err); !ok || e.Last != first.Position.Offset {
				t.Errorf("not empty any more: %v", err)
			}
			second, err := send(first.Position.Offset, "k", "2")
			if err != nil {
				t.Fatal(err)
			}
			publish(t, b, "t:a", "3")
			again, err := send(first.Position.Offset, "k", "2")
			if err != nil || !again.Duplicate || again.Position != second.Position {
				t.Errorf("repeated, when the channel has moved on: %+v, %v; want %+v", again, err, second)
			}
			if _, err := send(first.Position.Offset, "k", "other"); !errors.Is(err, fanout.ErrKeyConflict) {
				t.Errorf("its key with other data: %v", err)
			}
			for name, key := range map[string]string{"without a key": "", "with another key": "l"} {
				if _, err := send(first.Position.Offset, key, "2"); !errors.Is(err, fanout.ErrExpectedOffset) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if got := texts(read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 10}).Messages); fmt.Sprint(got) != "[1 2 3]" {
				t.Errorf("stored %v", got)
			}
		})
	}
}

// Of all who expect the same, one wins; and whoever always expects what is there gets
// every message in, among messages that expect nothing.
func TestExpectedOffsetRace(t *testing.T) {
	for level, change := range levels() {
		t.Run(level, func(t *testing.T) {
			b := open(t, config(t, change))
			const writers, each = 8, 20
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					last := uint64(0)
					for i := 0; i < each; {
						publish(t, b, "t:noise", "0")
						p := publication(t, "t:a", fmt.Sprint(w))
						p.Expected = &last
						r, err := b.Publish(t.Context(), p)
						if e, ok := errors.AsType[*fanout.ExpectedOffsetError](err); ok {
							last = e.Last
							continue
						}
						if err != nil {
							t.Error(err)
							return
						}
						last = r.Position.Offset
						i++
					}
				})
			}
			wg.Wait()
			got := read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 256}).Messages
			if len(got) != writers*each {
				t.Errorf("%d messages, want %d", len(got), writers*each)
			}
		})
	}
}

// A message that expects something keeps its place among those published with it.
func TestExpectedOffsetInItsPlace(t *testing.T) {
	for level, change := range levels() {
		t.Run(level, func(t *testing.T) {
			b := open(t, config(t, change))
			var list []*fanout.Publication
			for i := range 120 {
				list = append(list, publication(t, "t:a", fmt.Sprint(i)))
				if i%30 == 29 {
					at := uint64(i)
					list[i].Expected = &at
				}
			}
			for i, o := range b.PublishAll(t.Context(), list) {
				if o.Err != nil || o.Receipt.Position.Offset != uint64(i+1) {
					t.Fatalf("%d: %+v, %v", i, o.Receipt, o.Err)
				}
			}
		})
	}
}

func TestKeyKnowsOptions(t *testing.T) {
	b := open(t, config(t))
	original := publish(t, b, "t:a", "0")
	send := func(change func(*fanout.Publication)) (fanout.Receipt, error) {
		p := publication(t, "t:a", "1")
		p.Key, p.Publisher = "k", "p"
		p.ConflationKey, p.TTL, p.Updates, p.Exclude = "c", time.Minute, original.Offset, "0000000000000000"
		change(p)
		return b.Publish(t.Context(), p)
	}
	if _, err := send(func(*fanout.Publication) {}); err != nil {
		t.Fatal(err)
	}
	if r, err := send(func(p *fanout.Publication) { p.Exclude = "1111111111111111" }); err != nil || !r.Duplicate {
		t.Errorf("over another connection: %+v, %v", r, err)
	}
	for name, change := range map[string]func(*fanout.Publication){
		"conflation key": func(p *fanout.Publication) { p.ConflationKey = "d" },
		"ttl":            func(p *fanout.Publication) { p.TTL = time.Hour },
		"no ttl":         func(p *fanout.Publication) { p.TTL = 0 },
		"updates":        func(p *fanout.Publication) { p.Updates = 0 },
	} {
		if _, err := send(change); !errors.Is(err, fanout.ErrKeyConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Messages that reach the end of their own TTL are no holes, and hide none.
func TestEvidenceOwnTTL(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.MaxPerChannel = 5 })))
	keep := publish(t, b, "t:keep", "k")
	short := func(ch string, n int) (at fanout.Position) {
		for range n {
			p := publication(t, ch, "short")
			p.TTL = time.Second
			r, err := b.Publish(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			at = r.Position
		}
		return at
	}
	gone := func(ch string, left int) {
		t.Helper()
		eventually(t, "the messages to reach the end of their TTL", func() bool {
			return len(read(t, b, fanout.Query{Source: source(t, b, ch), Limit: 100}).Messages) == left
		})
	}
	mine := short("t:a", 1)
	short("t:a", 2)
	after := publish(t, b, "t:a", "after")
	gone("t:a", 1)
	expect(t, b, "some expired, from one of them", "t:a", mine, "", "after")
	expect(t, b, "some expired, from before them", "t:a", keep, "", "after")
	expect(t, b, "some expired, a pattern", "t:*", keep, "", "after")
	expect(t, b, "some expired, from what is stored", "t:a", after, "")

	x := publish(t, b, "t:keep", "k")
	short("t:b", 3)
	gone("t:b", 0)
	expect(t, b, "all expired", "t:b", x, "")

	// Ten overflow the channel with what expires: what lasts is gone, and nothing that
	// is left in the channel says so.
	lost := publish(t, b, "t:c", "lost")
	publishMany(t, b, "t:c", 0, 4)
	short("t:c", 7)
	gone("t:c", 0)
	expect(t, b, "an overflow that expired, from the first", "t:c", lost, protocol.ReasonRetention)
	expect(t, b, "an overflow that expired, from another channel's", "t:c", x, protocol.ReasonRetention)
	expect(t, b, "an overflow that expired, a pattern", "t:*", x, protocol.ReasonRetention)
	expect(t, b, "the channel that lost nothing", "t:keep", keep, "", "k")

	// The mark is the stream's, and outlives the node.
	plain := publishMany(t, b, "t:d", 0, 3)
	expect(t, b, "a plain channel", "t:d", plain[0], "", "1", "2")
}

// levels are the ways in which an embedded log reaches its disk.
func levels() map[string]func(*broker.Config) {
	return map[string]func(*broker.Config){
		"interval": func(c *broker.Config) { c.Sync = broker.SyncInterval },
		"always":   func(c *broker.Config) { c.Sync = broker.SyncAlways },
	}
}
