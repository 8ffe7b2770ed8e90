package broker

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/fanout"
)

// metrics are this room's. Every label value exists from the start.
type metrics struct {
	publishes  *prometheus.CounterVec // by result
	ackSeconds prometheus.Histogram
	inFlight   prometheus.Gauge
	feed       prometheus.Counter
	foreign    prometheus.Counter
	suspects   *prometheus.CounterVec // by cause
	reads      *prometheus.CounterVec // by kind
	readTime   prometheus.Histogram
	connected  *prometheus.GaugeVec   // by link
	reconnects *prometheus.CounterVec // by link
	raised     prometheus.Counter
	diskFree   prometheus.Gauge
	diskBudget prometheus.Gauge
	reserved   prometheus.Gauge
	refused    prometheus.Counter // namespaces

	groups          *groupMetrics
	sessionsExpired prometheus.Counter
	sessionsGarbled prometheus.Counter
	trustCurrent    prometheus.Gauge

	scheduled   prometheus.Gauge
	fired       *prometheus.CounterVec // by result
	lateSeconds prometheus.Histogram

	nodes     prometheus.Gauge
	questions *prometheus.CounterVec // by topic
	silent    prometheus.Counter
	// unanswered are questions dropped, by topic.
	unanswered *prometheus.CounterVec
}

// Results of a publish.
const (
	resultStored      = "stored"
	resultDuplicate   = "duplicate"
	resultUnavailable = "unavailable"
	resultBusy        = "busy"
	resultDiskFull    = "disk_full"
	resultUnknown     = "unknown"
	resultConflict    = "conflict"
	resultInvalid     = "invalid"
)

// What becomes of a scheduled message that is due.
const (
	firedStored  = "stored"
	firedRetried = "retried"
	firedDropped = "dropped"
)

// Causes of a suspicion.
const (
	causeReconnect = "reconnect"
	causeOverflow  = "overflow"
	causeLeader    = "leader"
	causeStream    = "stream"
)

// Kinds of reads.
const (
	readBatch    = "batch"
	readEvidence = "evidence"
	readTail     = "tail"
	readSweep    = "sweep"
	readSeek     = "seek"
	readReceipt  = "receipt"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	const ns, sub = "rivulet", "broker"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, []string{label})
		for _, v := range values {
			c.WithLabelValues(v)
		}
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(0.0001, 3, 12), // 0.1 ms to 18 s
		})
	}
	m := &metrics{
		publishes: vec("publishes_total", "Publishes by result.", "result", resultStored, resultDuplicate,
			resultUnavailable, resultBusy, resultDiskFull, resultUnknown, resultConflict, resultInvalid),
		ackSeconds: seconds("publish_seconds", "Time from a publish to its acknowledgement."),
		inFlight:   gauge("publishes_in_flight", "Publishes that await their acknowledgement."),
		feed:       counter("feed_messages_total", "Live messages handed to the hub."),
		foreign:    counter("feed_foreign_total", "Messages in the log that this service did not write, skipped."),
		suspects: vec("feed_suspects_total", "Possible losses on the live feed by cause.", "cause",
			causeReconnect, causeOverflow, causeLeader, causeStream),
		reads: vec("reads_total", "Reads of the log by kind.", "kind", readBatch, readEvidence, readTail,
			readSweep, readSeek, readReceipt),
		readTime: seconds("read_seconds", "Time of one batch read, with its evidence."),
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: "connected", Help: "1 while the link to NATS is up.",
		}, []string{"link"}),
		reconnects: vec("reconnects_total", "Reconnections by link.", "link"),
		raised:     counter("epochs_raised_total", "Epochs raised because the log was proven changed."),
		diskFree:   gauge("disk_free_bytes", "Free space of the data directory's disk; embedded server only."),
		diskBudget: gauge("disk_budget_bytes", "What the streams may reserve of the disk; embedded server only."),
		reserved:   gauge("disk_reserved_bytes", "What the streams reserve of the disk, whatever is in them; embedded server only."),
		refused:    counter("namespaces_refused_total", "Uses of namespaces that are not there and cannot be made, as there is no room for another."),
		nodes:      gauge("control_nodes", "Other nodes that are alive, as this one hears them."),
		questions:  vec("control_questions_total", "Questions of other nodes by topic.", "topic", fanout.TopicPresence, fanout.TopicChannels, fanout.TopicConnections),
		silent:     counter("control_silent_total", "Questions that a node which is alive did not answer in time."),
	}
	m.unanswered = vec("control_unanswered_total", "Questions of other nodes dropped, because too many waited or the asker had given up, by topic.",
		"topic", fanout.TopicPresence, fanout.TopicChannels, fanout.TopicConnections)
	m.groups = newGroupMetrics(reg)
	m.sessionsGarbled = counter("sessions_unreadable_total", "Reads of records of durable sessions that cannot be read and were skipped.")
	m.sessionsExpired = counter("sessions_expired_total", "Durable sessions that this node ended because they had expired.")
	m.trustCurrent = gauge("trust_current", "1 while API keys and revocations are read from the log; else the last known ones hold.")
	reg.MustRegister(m.trustCurrent)
	m.scheduled = gauge("schedules", "Scheduled messages that this node is to store when they are due.")
	m.fired = vec("schedules_due_total", "Scheduled messages that were due, by result.", "result", firedStored, firedRetried, firedDropped)
	m.lateSeconds = seconds("schedule_delay_seconds", "Time from when a message was due until it was stored.")
	reg.MustRegister(m.scheduled, m.fired, m.lateSeconds)
	reg.MustRegister(m.publishes, m.ackSeconds, m.inFlight, m.feed, m.foreign, m.suspects, m.reads, m.readTime,
		m.connected, m.reconnects, m.raised, m.diskFree, m.diskBudget, m.reserved, m.refused, m.sessionsExpired, m.sessionsGarbled, m.nodes, m.questions, m.silent, m.unanswered)
	return m
}

// published counts one publish by how it ended.
func (m *metrics) published(r fanout.Receipt, err error) {
	m.publishes.WithLabelValues(publishResult(r, err)).Inc()
}

// publishedAll counts the messages of an atomic batch.
func (m *metrics) publishedAll(n int, receipts []fanout.Receipt, err error) {
	for i := range n {
		var r fanout.Receipt
		if err == nil {
			r = receipts[i]
		}
		m.published(r, err)
	}
}

func publishResult(r fanout.Receipt, err error) string {
	switch {
	case err == nil && r.Duplicate:
		return resultDuplicate
	case err == nil:
		return resultStored
	case errors.Is(err, fanout.ErrOutcomeUnknown):
		return resultUnknown
	case errors.Is(err, fanout.ErrTooBusy):
		return resultBusy
	case errors.Is(err, fanout.ErrDiskFull):
		return resultDiskFull
	case errors.Is(err, fanout.ErrKeyConflict), errors.Is(err, fanout.ErrExpectedOffset):
		return resultConflict
	case errors.Is(err, fanout.ErrUnavailable), errors.Is(err, fanout.ErrClosed):
		return resultUnavailable
	}
	return resultInvalid
}
