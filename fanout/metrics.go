package fanout

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/rivulet-rt/rivulet/protocol"
)

// metrics of the core. Labels come from closed sets and exist from the start.
type metrics struct {
	dispatched    prometheus.Counter
	deliveries    prometheus.Counter
	repairs       prometheus.Counter
	gaps          *prometheus.CounterVec
	fellBehind    prometheus.Counter
	shardOverflow prometheus.Counter
	readsLog      prometheus.Counter
	readsShared   prometheus.Counter
	readsKept     prometheus.Counter
	readsRing     prometheus.Counter
	readSeconds   prometheus.Histogram
	sources       prometheus.Gauge
	subscriptions prometheus.Gauge
	ringBytes     prometheus.GaugeFunc
	views         prometheus.GaugeFunc
}

func newMetrics(reg prometheus.Registerer, ringBytes, views func() float64) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "rivulet_fanout_" + name, Help: help})
	}
	reads := f.NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_fanout_reads_total",
		Help: "Reads of catching-up cursors by where the answer came from: ring, kept (read a moment ago), shared (a read under way), log.",
	}, []string{"from"})
	m := &metrics{
		dispatched:    counter("dispatched_total", "Messages of the live feed."),
		deliveries:    counter("deliveries_total", "Messages taken by a connection's outbound buffer."),
		repairs:       counter("repairs_total", "Holes or suspicions of the live feed healed from the log, once per source."),
		fellBehind:    counter("fell_behind_total", "Live cursors that went back to catching up because their connection had no room."),
		shardOverflow: counter("shard_overflow_total", "Messages left to catching up because a shard's queue was full."),
		readsLog:      reads.WithLabelValues("log"),
		readsShared:   reads.WithLabelValues("shared"),
		readsKept:     reads.WithLabelValues("kept"),
		readsRing:     reads.WithLabelValues("ring"),
		gaps: f.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_fanout_gaps_total", Help: "Times that history was found gone, by reason.",
		}, []string{"reason"}),
		readSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "rivulet_fanout_read_seconds", Help: "Duration of one read of the log.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
		sources:       f.NewGauge(prometheus.GaugeOpts{Name: "rivulet_fanout_sources", Help: "Channels, and patterns times streams, followed by this node."}),
		subscriptions: f.NewGauge(prometheus.GaugeOpts{Name: "rivulet_fanout_subscriptions", Help: "Subscriptions of this node's clients."}),
		ringBytes: f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rivulet_fanout_ring_bytes", Help: "Bytes held by all replay rings and views.",
		}, ringBytes),
		views: f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rivulet_fanout_views", Help: "Channels, and patterns times streams, of which the newest message of each key is kept for conflated subscriptions.",
		}, views),
	}
	for _, reason := range []string{protocol.ReasonRetention, protocol.ReasonPurged, protocol.ReasonLogChanged} {
		m.gaps.WithLabelValues(reason)
	}
	return m
}
