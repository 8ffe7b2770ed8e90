package webhook

import "github.com/prometheus/client_golang/prometheus"

// metrics are this package's. Every label value exists from the start: webhooks are
// configured, and event types fixed.
type metrics struct {
	written   *prometheus.CounterVec // by type
	delivered *prometheus.CounterVec // by webhook, as all below
	retried   *prometheus.CounterVec
	dead      *prometheus.CounterVec
	dropped   *prometheus.CounterVec
	discarded *prometheus.CounterVec
	lag       *prometheus.GaugeVec
	disabled  *prometheus.GaugeVec
	seconds   *prometheus.HistogramVec
	ledger    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, hooks []Hook) *metrics {
	const ns, sub, label = "rivulet", "webhook", "webhook"
	var values []string
	for _, h := range hooks {
		values = append(values, h.Name)
	}
	counter := func(name, help, label string, values []string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, []string{label})
		for _, v := range values {
			c.WithLabelValues(v)
		}
		return c
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, []string{label})
		for _, v := range values {
			g.WithLabelValues(v)
		}
		return g
	}
	var types []string
	for _, t := range Types() {
		if t != MessagePublished { // is not written
			types = append(types, string(t))
		}
	}
	m := &metrics{
		written:   counter("events_written_total", "Events stored by this node, by type.", "type", types),
		delivered: counter("delivered_total", "Events that the receiver took.", label, values),
		retried:   counter("retries_total", "Requests that failed and are made again.", label, values),
		dead:      counter("dead_total", "Events that were given up and put into the channel of dead letters.", label, values),
		dropped:   counter("dropped_total", "Events that were given up where no channel of dead letters is configured.", label, values),
		discarded: counter("discarded_total", "Events that the log discarded, as too many or too old, before they were read.", label, values),
		lag:       gauge("lag_events", "Events and messages that wait, in the streams that this node works on."),
		disabled:  gauge("disabled", "1 where the receiver answered 410 Gone: nothing is sent until the node restarts."),
		ledger: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: "ledger_used_ratio",
			Help: "How much is used of the room for what was told of subscribers, 0 to 1; over it the oldest is forgotten.",
		}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "request_seconds", Help: "Time of one request.",
			Buckets: prometheus.ExponentialBuckets(0.001, 3, 11), // 1 ms to 59 s
		}, []string{label}),
	}
	for _, v := range values {
		m.seconds.WithLabelValues(v)
	}
	reg.MustRegister(m.written, m.delivered, m.retried, m.dead, m.dropped, m.discarded, m.lag, m.disabled, m.seconds, m.ledger)
	return m
}
