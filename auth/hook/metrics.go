package hook

import "github.com/prometheus/client_golang/prometheus"

// Metrics are those of all hooks of a node.
type Metrics struct {
	requests *prometheus.CounterVec
	state    *prometheus.GaugeVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics registers the metrics; it panics if they are registered there already.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const ns, sub = "rivulet", "hook"
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: ns, Subsystem: sub, Name: "questions_total", Help: "Items that hooks were asked about, by how that ended.",
		}, []string{"hook", "result"}),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: "breaker_state", Help: "0 closed, 1 half-open, 2 open.",
		}, []string{"hook"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "request_seconds", Help: "Time of a question that was answered.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 10), // 1 ms to 3.8 s
		}, []string{"hook"}),
	}
	reg.MustRegister(m.requests, m.state, m.seconds)
	return m
}

// hookMetrics are those of one hook.
type hookMetrics struct {
	allowed, denied, failed, cached, rejected, busy, givenUp prometheus.Counter

	state   prometheus.Gauge
	seconds prometheus.Observer
}

func (m *Metrics) of(name string) *hookMetrics {
	count := func(result string) prometheus.Counter { return m.requests.WithLabelValues(name, result) }
	return &hookMetrics{
		allowed: count("allowed"), denied: count("denied"), failed: count("failed"), cached: count("cached"),
		rejected: count("open"), busy: count("busy"), givenUp: count("given_up"),
		state: m.state.WithLabelValues(name), seconds: m.seconds.WithLabelValues(name),
	}
}
