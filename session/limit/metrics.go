package limit

import (
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counters of the package. Every label value exists from the start.
type counters struct {
	refused map[Reason]prometheus.Counter // static after newCounters
	crowd   *prometheus.CounterVec
	shed    prometheus.Counter
	paced   prometheus.Counter
	replays prometheus.Counter
}

func newCounters(reg prometheus.Registerer, l *Limiter) (*counters, error) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rivulet_limit_refused_total", Help: "What was refused because a limit was reached, by limit.",
	}, []string{"reason"})
	m := &counters{
		refused: make(map[Reason]prometheus.Counter),
		crowd: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rivulet_limit_crowded_total", Help: "Times that a caller shared a bucket with others because limits.callers are remembered, by table.",
		}, []string{"table"}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rivulet_limit_shed_connections_total", Help: "Connections closed because memory was short.",
		}),
		paced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rivulet_limit_paced_total", Help: "Deliveries put off because a connection got as many bytes as it may in a second; they are made later, from the log.",
		}),
		replays: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rivulet_limit_replay_paced_total", Help: "Times that a replay waited because its caller read as many stored messages as it may in a second.",
		}),
	}
	for _, r := range reasons() {
		m.refused[r] = refused.WithLabelValues(string(r))
	}
	for _, table := range []string{"handshakes", "publishers", "readers", "replays", "channels", "namespaces"} {
		m.crowd.WithLabelValues(table)
	}
	gauge := func(name, help string, of func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, of)
	}
	for _, c := range []prometheus.Collector{
		refused, m.crowd, m.shed, m.paced, m.replays,
		gauge("rivulet_limit_waiting_handshakes", "Handshakes that wait to be let in.", func() float64 { return float64(l.door.waiting()) }),
		gauge("rivulet_limit_memory_stage", "What is shed for want of memory: 0 nothing, 1 new connections, 2 histories, 3 large publishes, 4 the newest connections.",
			func() float64 { return float64(l.Stage()) }),
		gauge("rivulet_limit_memory_bytes", "Memory that the process needs, as of the last second; 0 without a ceiling.", func() float64 { return float64(l.memory.used.Load()) }),
		gauge("rivulet_limit_memory_ceiling_bytes", "The ceiling of memory; 0 is none.", func() float64 { return float64(l.memory.ceiling) }),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *counters) crowded(table string) func() { return m.crowd.WithLabelValues(table).Inc }

// spread is d or up to a quarter more, so that those who are refused together do not
// come back together.
func spread(d time.Duration) time.Duration { return d + rand.N(d/4) }
