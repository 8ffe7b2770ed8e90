package broker_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
)

// counter is a hub that costs nothing.
type counter struct{ n atomic.Int64 }

func (c *counter) Dispatch(*fanout.Message) { c.n.Add(1) }
func (c *counter) Suspect(fanout.StreamID)  {}

func BenchmarkPublish(b *testing.B) {
	for _, sync := range []broker.Sync{broker.SyncInterval, broker.SyncAlways} {
		for _, load := range [][2]int{{1, 16}, {16, 16}, {64, 16}, {256, 16}, {256, 1}} {
			callers, partitions := load[0], load[1]
			b.Run(fmt.Sprintf("sync=%s/callers=%d/partitions=%d", sync, callers, partitions), func(b *testing.B) {
				br := open(b, config(b, func(c *broker.Config) {
					c.Sync = sync
					c.Namespaces = []broker.NamespaceSpec{{Name: namespace, Partitions: partitions, MaxBytes: 1 << 29}}
					c.FeedBuffer = 1 << 16
				}))
				if err := br.Start(&counter{}); err != nil {
					b.Fatal(err)
				}
				list := make([]fanout.Channel, 1000)
				for i := range list {
					list[i] = channel(b, fmt.Sprintf("t:bench.%d", i))
				}
				data := make([]byte, 200)
				var next atomic.Int64
				b.SetParallelism(callers / 2)
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						p := &fanout.Publication{Channel: list[next.Add(1)%1000], Data: data}
						if _, err := br.Publish(b.Context(), p); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

func BenchmarkRead100(b *testing.B) {
	br := open(b, config(b, func(c *broker.Config) {
		c.Namespaces = []broker.NamespaceSpec{{Name: namespace, MaxBytes: 1 << 29}}
	}))
	// 100 messages of each of 1,000 channels, mixed, in 16 partitions.
	const channels, each = 1000, 100
	for range each {
		list := make([]*fanout.Publication, channels)
		for i := range list {
			list[i] = &fanout.Publication{Channel: channel(b, fmt.Sprintf("t:bench.%d", i)), Data: make([]byte, 200)}
		}
		for _, o := range br.PublishAll(b.Context(), list) {
			if o.Err != nil {
				b.Fatal(o.Err)
			}
		}
	}
	first := make([]fanout.Position, channels)
	for i := range first {
		first[i] = read(b, br, fanout.Query{Source: source(b, br, fmt.Sprintf("t:bench.%d", i)), Limit: 1}).Messages[0].Position
	}
	i := 0
	for b.Loop() {
		src := source(b, br, fmt.Sprintf("t:bench.%d", i%channels))
		batch := read(b, br, fanout.Query{Source: src, After: first[i%channels].Offset, Limit: each, Prove: first[i%channels]})
		if ok, reason := fanout.Complete(first[i%channels], batch.Evidence); !ok || len(batch.Messages) != each-1 {
			b.Fatal(reason, len(batch.Messages))
		}
		i++
	}
}

func BenchmarkTail(b *testing.B) {
	br := open(b, config(b))
	publish(b, br, "t:a", "1")
	src := source(b, br, "t:a")
	for b.Loop() {
		if _, err := br.Tail(b.Context(), src); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFullEvidence proves a position whose message is not stored any more.
func BenchmarkFullEvidence(b *testing.B) {
	br := open(b, config(b))
	publish(b, br, "t:a", "1")
	x := publish(b, br, "t:b", "2")
	publish(b, br, "t:a", "3")
	q := fanout.Query{Source: source(b, br, "t:a"), Prove: x}
	for b.Loop() {
		if ok, reason := fanout.Complete(x, read(b, br, q).Evidence); !ok {
			b.Fatal(reason)
		}
	}
}

func BenchmarkSeekLast50(b *testing.B) {
	br := open(b, config(b))
	for i := range 100 {
		publishMany(b, br, "t:other", 0, 1+i%7*10)
		publishMany(b, br, "t:a", 0, 20)
	}
	src := source(b, br, "t:a")
	for b.Loop() {
		if _, err := br.Seek(b.Context(), src, fanout.Seek{Last: 50}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTails1000(b *testing.B) {
	br := open(b, config(b))
	var sources []fanout.Source
	for i := range 1000 {
		ch := fmt.Sprintf("t:c.%d", i)
		sources = append(sources, source(b, br, ch))
		publish(b, br, ch, "1")
	}
	for b.Loop() {
		if _, err := br.Tails(b.Context(), sources); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFeedDecode is what one live message costs between the NATS client and
// the hub.
func BenchmarkFeedDecode(b *testing.B) {
	br := open(b, config(b))
	publish(b, br, "t:a", "1")
	plain := broker.LiveMessage("live.t.1.0.a", []byte(`{"a":1}`), 0)
	full := broker.LiveMessage("live.t.1.0.a", []byte(`{"a":1}`), 3)
	for name, m := range map[string]broker.Live{"plain": plain, "user,id,headers": full} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if msg := br.DecodeLive(m); msg == nil || msg.Offset() != 12345 {
					b.Fatal("not decoded")
				}
			}
		})
	}
}

// The live path allocates the message and nothing else for a plain one.
func TestFeedDecodeAllocations(t *testing.T) {
	b := open(t, config(t))
	m := broker.LiveMessage("live.t.1.0.a", []byte(`{"a":1}`), 0)
	if n := testing.AllocsPerRun(200, func() { b.DecodeLive(m) }); n > 1 {
		t.Errorf("%v allocations for a plain message", n)
	}
}
