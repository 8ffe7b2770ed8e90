package broker

import "github.com/prometheus/client_golang/prometheus"

// groupMetrics are those of durable groups.
type groupMetrics struct {
	delivered, expired, dead, lost prometheus.Counter
}

func newGroupMetrics(reg prometheus.Registerer) *groupMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "rivulet", Subsystem: "broker", Name: name, Help: help})
	}
	m := &groupMetrics{
		delivered: counter("group_deliveries_total", "Messages handed to members of groups, repetitions included."),
		expired:   counter("group_expired_total", "Messages that a group's member did not settle in time."),
		dead:      counter("group_dead_letters_total", "Messages of groups that became dead letters."),
		lost:      counter("group_losses_total", "Times that a group was told that the log dropped messages which it had not had."),
	}
	reg.MustRegister(m.delivered, m.expired, m.dead, m.lost)
	return m
}
