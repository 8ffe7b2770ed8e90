package fanout

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// presenceMetrics are those of Presence.
type presenceMetrics struct {
	members   prometheus.Gauge
	pushes    prometheus.Counter
	announced prometheus.Counter
	gaps      prometheus.Counter
	syncs     prometheus.Counter
	partial   prometheus.Counter
}

func newPresenceMetrics(reg prometheus.Registerer, p *Presence) *presenceMetrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "rivulet_fanout_presence_" + name, Help: help})
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "rivulet_fanout_presence_channels", Help: "Channels with presence that have members, or had a moment ago, on this node.",
	}, func() float64 {
		p.mu.RLock()
		defer p.mu.RUnlock()
		return float64(len(p.rosters))
	})
	return &presenceMetrics{
		members: f.NewGauge(prometheus.GaugeOpts{
			Name: "rivulet_fanout_presence_members", Help: "Members of channels on this node: connections times channels with presence.",
		}),
		pushes:    counter("pushes_total", "Presence events taken by connections' outbound buffers."),
		announced: counter("announcements_total", "Announcements of joins and leaves to other nodes."),
		gaps:      counter("gaps_total", "Announcements of other nodes that were found missing, and made up for."),
		syncs:     counter("syncs_total", "Times that the other nodes were asked for the members of a watched channel."),
		partial:   counter("partial_total", "Answers without those of a node that is alive."),
	}
}
