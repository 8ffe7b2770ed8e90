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
		for _, callers := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("sync=%s/callers=%d", sync, callers), func(b *testing.B) {
				br := open(b, config(b, func(c *broker.Config) {
					c.Sync = sync
					c.Namespaces = []broker.NamespaceSpec{{Name: namespace, MaxBytes: 1 << 29}}
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
