package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestPublishReachesFeedAndLog(t *testing.T) {
	b := open(t, config(t))
	h := started(t, b)
	p := &fanout.Publication{
		Channel: channel(t, "t:röom.*x"[:len("t:röom.")]+"ü"), Data: []byte(`{"a":1}`),
		Headers: map[string]string{"k\r\nX: y": "v \r\n", "e": ""},
		Key:     "key with space \n and ü", Publisher: "p", User: " u%", Client: "c",
	}
	r, err := b.Publish(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if r.Position.Offset != 1 || r.Duplicate || r.Position.Time == 0 || r.Position.Stream.IsZero() {
		t.Fatalf("receipt %+v", r)
	}
	live := messages(h.wait(t, "the message", func(e []event) bool { return len(messages(e)) == 1 }))[0]
	batch := read(t, b, fanout.Query{Source: source(t, b, p.Channel.String()), Limit: 10})
	if len(batch.Messages) != 1 || batch.More {
		t.Fatalf("read %d messages, more %v", len(batch.Messages), batch.More)
	}
	for from, m := range map[string]*fanout.Message{"feed": live, "log": batch.Messages[0]} {
		if m.Channel != p.Channel || m.Position != r.Position || string(m.Data) != `{"a":1}` || m.Kind != fanout.KindData ||
			m.ID != p.Key || m.User != p.User || m.Client != p.Client || m.Binary || fmt.Sprint(m.Headers) != fmt.Sprint(p.Headers) ||
			m.Stream != source(t, b, p.Channel.String()).Stream {
			t.Errorf("%s: got %+v", from, m)
		}
	}
}

func TestFeedOrderAndPrevious(t *testing.T) {
	b := open(t, config(t))
	h := started(t, b)
	a := publishMany(t, b, "t:a", 0, 3)
	c := publishMany(t, b, "t:c", 0, 1)
	a = append(a, publishMany(t, b, "t:a", 3, 1)...)
	list := messages(h.wait(t, "five messages", func(e []event) bool { return len(messages(e)) == 5 }))
	prev := map[string]uint64{}
	for i, m := range list {
		if m.Offset() != uint64(i+1) || m.Prev != prev[m.Channel.String()] {
			t.Errorf("message %d: offset %d, previous %d", i, m.Offset(), m.Prev)
		}
		prev[m.Channel.String()] = m.Offset()
	}
	if list[4].Position != a[3] || list[3].Position != c[0] {
		t.Errorf("positions %v, %v differ from the receipts", list[4].Position, list[3].Position)
	}
}

func TestPublishRefusals(t *testing.T) {
	b := open(t, config(t))
	long := strings.Repeat("x", 256<<10+1)
	for name, c := range map[string]struct {
		p    *fanout.Publication
		want error
	}{
		"unknown namespace": {publication(t, "nowhere:a", "1"), fanout.ErrUnknownNamespace},
		"too large":         {publication(t, "t:a", long), fanout.ErrTooLarge},
		"headers too large": {&fanout.Publication{Channel: channel(t, "t:a"), Headers: map[string]string{"h": long}}, fanout.ErrTooLarge},
	} {
		if _, err := b.Publish(t.Context(), c.p); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	for field, p := range map[string]*fanout.Publication{
		"channel":         publication(t, "t:a.*", "1"),
		"idempotency_key": {Channel: channel(t, "t:a"), Key: "\xff"},
		"user":            {Channel: channel(t, "t:a"), User: "\xff"},
		"headers":         {Channel: channel(t, "t:a"), Headers: map[string]string{"a": "\xff"}},
	} {
		_, err := b.Publish(t.Context(), p)
		if input, ok := errors.AsType[*fanout.InputError](err); !ok || input.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if tail, err := b.Tail(t.Context(), source(t, b, "t:a")); err != nil || !tail.Last.IsZero() {
		t.Errorf("something was stored: %+v, %v", tail, err)
	}
}

func TestLargestMessageFits(t *testing.T) {
	b := open(t, config(t))
	p := &fanout.Publication{
		Channel: channel(t, "t:"+strings.Repeat("ü", 100)), Data: make([]byte, 256<<10), Binary: true, Key: strings.Repeat("ü", 1000),
		Headers: map[string]string{"h": strings.Repeat("y", 20<<10)},
	}
	if _, err := b.Publish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func TestIdempotency(t *testing.T) {
	for _, sync := range []broker.Sync{broker.SyncInterval, broker.SyncAlways} {
		t.Run(string(sync), func(t *testing.T) {
			b := open(t, config(t, func(c *broker.Config) { c.Sync = sync }))
			send := func(ch, publisher, data string) (fanout.Receipt, error) {
				p := publication(t, ch, data)
				p.Key, p.Publisher, p.Client = "k", publisher, fmt.Sprint(ch, publisher, data)
				return b.Publish(t.Context(), p)
			}
			first, err := send("t:a", "p", "1")
			if err != nil || first.Duplicate {
				t.Fatalf("first: %+v, %v", first, err)
			}
			again, err := send("t:a", "p", "1")
			if err != nil || !again.Duplicate || again.Position != first.Position {
				t.Errorf("again: %+v, %v; want the first, %+v", again, err, first)
			}
			if _, err := send("t:a", "p", "2"); !errors.Is(err, fanout.ErrKeyConflict) {
				t.Errorf("other data: %v", err)
			}
			for name, c := range map[string][2]string{"other channel": {"t:b", "p"}, "other publisher": {"t:a", "q"}} {
				if r, err := send(c[0], c[1], "1"); err != nil || r.Duplicate {
					t.Errorf("%s: %+v, %v", name, r, err)
				}
			}
			if _, err := b.Purge(t.Context(), channel(t, "t:a")); err != nil {
				t.Fatal(err)
			}
			// What the key stored is gone; that it was stored is still known.
			if r, err := send("t:a", "p", "1"); err != nil || !r.Duplicate || r.Position.Offset != first.Position.Offset {
				t.Errorf("after a purge: %+v, %v", r, err)
			}
		})
	}
}

func TestPublishAllKeepsOrderAndOutcomes(t *testing.T) {
	for _, sync := range []broker.Sync{broker.SyncInterval, broker.SyncAlways} {
		t.Run(string(sync), func(t *testing.T) {
			b := open(t, config(t, func(c *broker.Config) { c.Sync, c.InFlight = sync, 64 }))
			var list []*fanout.Publication
			for i := range 500 {
				p := publication(t, fmt.Sprintf("t:c%d", i%3), fmt.Sprint(i))
				if i%50 == 7 {
					p = publication(t, "nowhere:x", "0")
				}
				if i%50 == 9 || i%50 == 12 { // the second repeats the first
					p = publication(t, "t:k", fmt.Sprint(i/50))
					p.Key = fmt.Sprint(i / 50)
				}
				list = append(list, p)
			}
			lastOffset := uint64(0)
			for i, o := range b.PublishAll(t.Context(), list) {
				switch {
				case i%50 == 7:
					if !errors.Is(o.Err, fanout.ErrUnknownNamespace) {
						t.Errorf("%d: %v", i, o.Err)
					}
				case o.Err != nil:
					t.Errorf("%d: %v", i, o.Err)
				case i%50 == 12:
					if !o.Receipt.Duplicate {
						t.Errorf("%d: not a duplicate", i)
					}
				default:
					if o.Receipt.Duplicate || o.Receipt.Position.Offset <= lastOffset {
						t.Errorf("%d: %+v after %d", i, o.Receipt, lastOffset)
					}
					lastOffset = o.Receipt.Position.Offset
				}
			}
			got := texts(read(t, b, fanout.Query{Source: source(t, b, "t:c1"), Limit: 256}).Messages)
			var want []string
			for i, p := range list {
				if p.Channel.String() == "t:c1" && i%50 != 7 {
					want = append(want, string(p.Data))
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("stored %v\nwant %v", got, want)
			}
		})
	}
}
