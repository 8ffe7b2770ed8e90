//go:build linux

package scenario

import (
	"slices"
	"time"
)

// quantile returns the value that the fraction q of the sorted list does not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// latencies adds p50, p99 and the largest.
func (r *Row) latencies(list []time.Duration) {
	slices.Sort(list)
	r.add("p50 ms", ms(quantile(list, 0.5)))
	r.add("p99 ms", ms(quantile(list, 0.99)))
	r.add("max ms", ms(quantile(list, 1)))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// meter takes the time, and the processor time of node and generator.
type meter struct {
	p         *process
	began     time.Time
	node, own time.Duration
}

func newMeter(p *process) meter {
	return meter{p: p, began: time.Now(), node: p.cpu(), own: ownCPU()}
}

func (m meter) elapsed() time.Duration { return time.Since(m.began) }

// rate adds how many there were per second.
func (m meter) rate(r *Row, name string, count int) {
	r.add(name, float64(count)/m.elapsed().Seconds())
}

// cpu adds the processor seconds per million; the server's is 0 where unknown.
func (m meter) cpu(r *Row, count int) {
	per := 1e6 / float64(max(count, 1))
	r.add("server CPU s per million", (m.p.cpu()-m.node).Seconds()*per)
	r.add("generator CPU s per million", (ownCPU()-m.own).Seconds()*per)
}

// metric returns a figure of a row, 0 if it has none of that name.
func (r *Row) metric(name string) float64 {
	i := slices.IndexFunc(r.Metrics, func(m Metric) bool { return m.Name == name })
	if i < 0 {
		return 0
	}
	return r.Metrics[i].Value
}

// versus adds how many times the figure of the reference this row's is.
func (r *Row) versus(reference *Row, name, as string) {
	if by := reference.metric(name); by > 0 {
		r.add(as, r.metric(name)/by)
	} else {
		r.add(as, 0)
	}
}
