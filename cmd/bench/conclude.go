//go:build linux

package bench

import (
	"fmt"
	"runtime"
)

// saturated is the share of a processor from which on a worker counts as busy
// all of the time: its figures are then its own limits.
const saturated = 0.85

// conclude makes the result of what the workers and the meter found.
func (r *run) conclude() {
	var m measured
	errs := map[string]int{}
	for _, member := range r.crew.members {
		one := member.report.Measured
		m.add(one)
		for kind, n := range one.Errors {
			errs[kind] += n
		}
		r.result.Generator.CPU += one.CPU
		r.result.Generator.Busiest = max(r.result.Generator.Busiest, one.Busy)
	}
	o, res := &r.o, &r.result
	res.Scenario, res.URLs, res.Errors = o.Scenario, o.URLs, errs
	res.Connections, res.Channels, res.Processes = o.Connections, o.Channels, o.Processes
	res.Connect = Connects{
		Opened: m.Opened, Open: m.Open, Failed: m.Failed, Seconds: m.Connecting.seconds(),
		PerSecond: per(m.Opened, m.Connecting), Latency: m.ConnectLatency.quantiles(),
	}
	work := r.messages(&m)
	res.Node = r.meter.node
	res.Node.CPUPerMillion = ratio(res.Node.CPU*1e6, float64(work))
	if mem := &res.Node.Memory; mem.Settled > 0 {
		mem.PerConnection = ratio(float64(mem.Settled-mem.Before), float64(m.Open))
	}
	if res.Warnings == nil {
		res.Warnings = []string{}
	}
	r.judge()
}

// messages fills in what is about messages, and returns how many were worked for.
func (r *run) messages(m *measured) int {
	o, res := &r.o, &r.result
	res.Seconds = m.Connecting.seconds()
	if o.Scenario == Idle {
		res.Seconds = r.held.Seconds()
	}
	if !o.Scenario.Publishes() {
		return m.Opened
	}
	res.Publishers = o.Publishers
	load := m.Publishing
	load.join(m.Receiving)
	res.Seconds = load.seconds()
	res.Publish = &Publishes{
		Stored: m.Stored, PerSecond: per(m.Stored, m.Publishing), Failed: m.Publishes, Unsent: m.Unsent, Abandoned: m.Abandoned,
		Latency: m.PublishLatency.quantiles(),
	}
	if o.Scenario == Publish {
		return m.Stored
	}
	res.Deliver = &Deliveries{
		Received: m.Received, PerSecond: per(m.Received, m.Receiving), Latency: m.DeliverLatency.quantiles(),
		Lost: m.Lost, Duplicate: m.Duplicate, OutOfOrder: m.OutOfOrder, Gaps: m.Gaps, Gone: m.Gone,
	}
	if o.Scenario == Replay {
		res.Seconds = m.Receiving.seconds()
		res.Replay = &Replays{
			Missed: o.Missed, Complete: m.Complete, Seconds: m.Receiving.seconds(), Latency: m.CompleteLatency.quantiles(),
		}
	}
	return m.Received
}

// judge warns of what makes the figures say something else than they seem to.
func (r *run) judge() {
	res := &r.result
	if b := res.Generator.Busiest; b >= saturated {
		r.warn("the load generator was busy %.0f%% of the time: these may be its limits and not the node's; use --processes %d, or more machines", b*100, r.o.Processes*2)
	}
	if p := res.Publish; p != nil {
		r.judgePublishes(p)
	}
	if d := res.Deliver; d != nil && d.Gaps > 0 {
		hint := "a subscriber was further behind than the log goes back"
		if r.o.Scenario == Replay {
			hint = fmt.Sprintf("the log does not keep --missed %d messages of a channel", r.o.Missed)
		}
		r.warn("the node said %s that messages are gone: %s; raise the namespace's max_per_channel, max_age or max_bytes, whichever it is that drops them",
			counted(d.Gaps, "time"), hint)
	}
	both := res.Node.CPU + res.Generator.CPU
	if n := runtime.NumCPU(); res.Node.Source == "proc" && res.Seconds > 0.5 && both/res.Seconds > 0.9*float64(n) {
		r.warn("this machine's %d processors were all busy: node and generator took them from each other", n)
	}
}

func (r *run) judgePublishes(p *Publishes) {
	if p.Abandoned > 0 {
		r.warn("on %s of %s, after a publish of which it is not known whether it was stored, nothing more was published: the rates are of what was left",
			grouped(p.Abandoned), counted(r.o.Channels, "channel"))
	}
	if p.Unsent > 0 && p.Failed == 0 && !r.result.Interrupted {
		r.warn("%s messages were due and could not be sent: the node did not keep up with --rate %v, or --publishers %d are too few for it",
			grouped(p.Unsent), r.o.Rate, r.o.Publishers)
	}
	if n := r.unheard; n > 0 {
		r.warn("%s of %s have no subscriber in the process that publishes on them, which therefore did not wait for any: what is delivered late there is a queue; use at least as many --publishers as --processes",
			grouped(n), counted(r.o.Channels, "channel"))
	}
}

func (m *measured) add(o *measured) {
	m.Open += o.Open
	m.Opened += o.Opened
	m.Received += o.Received
	m.Stored += o.Stored
	m.Failed += o.Failed
	m.Publishes += o.Publishes
	m.Unsent += o.Unsent
	m.Abandoned += o.Abandoned
	m.Lost += o.Lost
	m.Duplicate += o.Duplicate
	m.OutOfOrder += o.OutOfOrder
	m.Gaps += o.Gaps
	m.Gone += o.Gone
	m.Complete += o.Complete
	m.Connecting.join(o.Connecting)
	m.Publishing.join(o.Publishing)
	m.Receiving.join(o.Receiving)
	m.ConnectLatency.merge(o.ConnectLatency)
	m.PublishLatency.merge(o.PublishLatency)
	m.DeliverLatency.merge(o.DeliverLatency)
	m.CompleteLatency.merge(o.CompleteLatency)
}

func per(n int, s span) float64 { return ratio(float64(n), s.seconds()) }

func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}
