package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

func one(change func(*broker.NamespaceSpec)) func(*broker.Config) {
	return func(c *broker.Config) { change(&c.Namespaces[0]) }
}

func TestReadPages(t *testing.T) {
	b := open(t, config(t))
	publishMany(t, b, "t:a.b", 0, 600)
	publishMany(t, b, "t:a.c", 1000, 5)
	publishMany(t, b, "t:z", 2000, 1)
	for ch, want := range map[string]int{"t:a.b": 600, "t:a.*": 605, "t:>": 606, "t:a.>": 605, "t:none": 0} {
		q := fanout.Query{Source: source(t, b, ch), Limit: 1000}
		var got []*fanout.Message
		for {
			batch := read(t, b, q)
			got = append(got, batch.Messages...)
			if !batch.More {
				break
			}
			q.After = got[len(got)-1].Offset()
		}
		if len(got) != want || !slices.IsSortedFunc(got, func(x, y *fanout.Message) int { return int(x.Offset()) - int(y.Offset()) }) {
			t.Errorf("%s: %d messages, want %d in order", ch, len(got), want)
		}
	}
	batch := read(t, b, fanout.Query{Source: source(t, b, "t:a.b"), After: 595, Limit: 3})
	if got := texts(batch.Messages); fmt.Sprint(got) != "[595 596 597]" || !batch.More {
		t.Errorf("after 595: %v, more %v", got, batch.More)
	}
}

func TestReadSkipsWhatOthersWrote(t *testing.T) {
	b := open(t, config(t))
	for i := range 300 {
		if _, err := b.JetStream().Publish(t.Context(), fmt.Sprintf("c.t.1.0.a=2.%d", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	publishMany(t, b, "t:a.b", 0, 1)
	batch := read(t, b, fanout.Query{Source: source(t, b, "t:>"), Limit: 10})
	if got := texts(batch.Messages); fmt.Sprint(got) != "[0]" || batch.More {
		t.Errorf("got %v, more %v", got, batch.More)
	}
}

func TestTail(t *testing.T) {
	b := open(t, config(t))
	src := source(t, b, "t:a")
	tail, err := b.Tail(t.Context(), src)
	if err != nil || !tail.Last.IsZero() || tail.End.Offset != 0 || tail.End.Time == 0 || tail.Retention != 24*time.Hour {
		t.Fatalf("empty: %+v, %v", tail, err)
	}
	created := tail.End
	a := publish(t, b, "t:a", "1")
	z := publish(t, b, "t:z", "2")
	if tail, err = b.Tail(t.Context(), src); err != nil || tail.End != z || tail.Last != a || tail.Fresh() != z {
		t.Fatalf("two channels: %+v, %v", tail, err)
	}
	// The last message is deleted: the end is what the stream remembers.
	stream, err := b.JetStream().Stream(t.Context(), string(src.Stream))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), z.Offset); err != nil {
		t.Fatal(err)
	}
	if tail, err = b.Tail(t.Context(), src); err != nil || tail.End.Offset != z.Offset || tail.End.Time == 0 || tail.Last != a {
		t.Fatalf("last deleted: %+v, %v", tail, err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tail, err = b.Tail(t.Context(), src); err != nil || tail.End.Offset != z.Offset || tail.End.Time < created.Time || !tail.Last.IsZero() {
		t.Fatalf("purged: %+v, %v", tail, err)
	}
}

func TestTails(t *testing.T) {
	b := open(t, config(t, one(func(s *broker.NamespaceSpec) { s.Partitions = 3 })))
	var sources []fanout.Source
	var want []fanout.Position
	var list []*fanout.Publication
	for i := range 3500 {
		ch := fmt.Sprintf("t:c.%d", i)
		sources = append(sources, source(t, b, ch))
		if i%7 != 0 {
			list = append(list, publication(t, ch, "0"))
		}
	}
	stored := map[string]fanout.Position{}
	for i, o := range b.PublishAll(t.Context(), list) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		stored[list[i].Channel.String()] = o.Receipt.Position
	}
	for _, s := range sources {
		want = append(want, stored[s.Filter.String()])
	}
	got, err := b.Tails(t.Context(), sources)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("tails differ, %v", err)
	}
}

func TestSeek(t *testing.T) {
	b := open(t, config(t))
	// Unevenly spread: bursts of a between other channels' messages.
	var a []fanout.Position
	for i := range 40 {
		publishMany(t, b, "t:other", 0, 1+(i*37)%50)
		a = append(a, publishMany(t, b, "t:a", len(a), 1+i%5)...)
	}
	src := source(t, b, "t:a")
	texts := func(after uint64, before uint64) (n int) {
		batch := read(t, b, fanout.Query{Source: src, After: after, Limit: 256})
		for _, m := range batch.Messages {
			if before == 0 || m.Offset() < before {
				n++
			}
		}
		return n
	}
	for _, before := range []int{0, len(a) - 1, len(a) / 2, 3} {
		bound, total := uint64(0), len(a)
		if before > 0 {
			bound, total = a[before].Offset, before
		}
		for _, n := range []int{1, 2, 3, 10, total - 1, total, total + 1, 1000} {
			if n < 1 {
				continue
			}
			after, err := b.Seek(t.Context(), src, fanout.Seek{Last: n, Before: bound})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := texts(after, bound), min(n, total); got != want {
				t.Errorf("last %d before %d: %d messages, want %d", n, bound, got, want)
			}
		}
	}
	for i, p := range a {
		after, err := b.Seek(t.Context(), src, fanout.Seek{Since: p.Time})
		if err != nil || texts(after, 0) != len(a)-i {
			t.Fatalf("since message %d: after %d, %v", i, after, err)
		}
	}
	if after, err := b.Seek(t.Context(), src, fanout.Seek{Since: time.Now().Add(time.Hour).UnixNano()}); err != nil || after != a[len(a)-1].Offset {
		t.Errorf("since the future: after %d, %v", after, err)
	}
	empty := source(t, b, "t:none")
	for _, s := range []fanout.Seek{{Last: 5}, {Since: 1}} {
		if after, err := b.Seek(t.Context(), empty, s); err != nil || after > a[len(a)-1].Offset {
			t.Errorf("empty channel, %+v: after %d, %v", s, after, err)
		}
	}
}

func TestPurgeIsAMarker(t *testing.T) {
	b := open(t, config(t))
	h := started(t, b)
	a := publishMany(t, b, "t:a", 0, 3)
	other := publish(t, b, "t:b", "x")
	purge, err := b.Purge(t.Context(), channel(t, "t:a"))
	if err != nil {
		t.Fatal(err)
	}
	list := messages(h.wait(t, "the marker", func(e []event) bool { return len(messages(e)) == 5 }))
	if m := list[4]; m.Kind != fanout.KindPurge || m.Position != purge.Position || m.Channel != channel(t, "t:a") {
		t.Errorf("marker %+v", m)
	}
	batch := read(t, b, fanout.Query{Source: source(t, b, "t:a"), Limit: 10, Prove: a[1]})
	if len(batch.Messages) != 1 || batch.Messages[0].Kind != fanout.KindPurge {
		t.Errorf("read %+v", batch.Messages)
	}
	if ok, reason := fanout.Complete(a[1], batch.Evidence); ok || reason != "purged" && reason != "retention" {
		t.Errorf("complete %v, %s", ok, reason)
	}
	if got := texts(read(t, b, fanout.Query{Source: source(t, b, "t:b"), Limit: 10}).Messages); fmt.Sprint(got) != "[x]" {
		t.Errorf("the other channel has %v", got)
	}
	if _, ok, reason, _ := judge(t, b, "t:b", other); !ok {
		t.Errorf("the other channel: %s", reason)
	}
	if _, ok, reason, _ := judge(t, b, "t:a", purge.Position); !ok {
		t.Errorf("from the marker: %s", reason)
	}
}

func TestOpenNodeCreatesNamespaces(t *testing.T) {
	b := open(t, config(t, func(c *broker.Config) {
		c.Open, c.DiskBudget = true, 320<<20
		c.Defaults = broker.NamespaceSpec{Partitions: 2, MaxBytes: 150 << 20}
	}))
	h := started(t, b)
	errs := make(chan error, 8)
	for i := range cap(errs) {
		go func() {
			_, err := b.Publish(t.Context(), publication(t, "fresh:a", fmt.Sprint(i)))
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	h.wait(t, "all messages", func(e []event) bool { return len(messages(e)) == cap(errs) })
	if info, err := b.NamespaceInfo("fresh"); err != nil || info.Partitions != 2 {
		t.Errorf("info %+v, %v", info, err)
	}
	// The budget has room for one such namespace, not for two.
	_, err := b.Publish(t.Context(), publication(t, "second:a", "1"))
	if _, ok := errors.AsType[*fanout.RoomError](err); !ok {
		t.Errorf("over the budget: %v", err)
	}
}

func TestClosedNodeRefusesUnknownNamespaces(t *testing.T) {
	b := open(t, config(t))
	if _, err := b.Locate(t.Context(), channel(t, "no:a")); !errors.Is(err, fanout.ErrUnknownNamespace) {
		t.Error(err)
	}
	if _, err := b.NamespaceInfo("no"); !errors.Is(err, fanout.ErrUnknownNamespace) {
		t.Error(err)
	}
	if _, err := b.Read(t.Context(), fanout.Query{Source: fanout.Source{Stream: "CH_no_1_0"}}); !errors.Is(err, fanout.ErrUnknownNamespace) {
		t.Error(err)
	}
}

func streamOf(t *testing.T, b *broker.Broker, ch string) jetstream.Stream {
	t.Helper()
	s, err := b.JetStream().Stream(t.Context(), string(source(t, b, ch).Stream))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
