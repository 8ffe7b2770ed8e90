//go:build linux

package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// meterEvery is how often the nodes' memory is looked at.
const meterEvery = 250 * time.Millisecond

// meter follows what the nodes take. Its zero value knows of none.
type meter struct {
	targets []target
	node    Node // what is found
	next    time.Time
	start   time.Duration // CPU time when the load began
	first   bool
	last    cost
}

// newMeter finds the nodes: as processes of this machine where all are, else by
// their metrics.
func newMeter(ctx context.Context, o *Options, nodes []node) (*meter, string) {
	m := &meter{first: true}
	if o.PID != 0 {
		m.node.PIDs = []int{o.PID}
	} else {
		m.node.PIDs = localProcesses(nodes)
	}
	for _, pid := range m.node.PIDs {
		m.targets = append(m.targets, process(pid))
	}
	m.node.Source, m.node.Memory.Kind = "proc", "pss"
	warning := ""
	if _, err := m.read(ctx); err == nil && len(m.targets) > 0 {
		return m, ""
	} else if o.PID != 0 {
		warning = fmt.Sprintf("--pid %d: %s; it is asked for its metrics instead", o.PID, strings.TrimPrefix(err.Error(), "bench: "))
	}
	m.targets, m.node = nil, Node{Source: "metrics", Memory: Memory{Kind: "rss"}}
	for _, u := range o.URLs {
		m.targets = append(m.targets, newMetrics(u))
	}
	if _, err := m.read(ctx); err != nil {
		m.targets, m.node = nil, Node{}
		return m, "what the node takes is not known: its process is not found on this machine (name it with --pid), and " +
			strings.TrimPrefix(err.Error(), "bench: ")
	}
	return m, warning
}

func localProcesses(nodes []node) []int {
	var pids []int
	seen := map[int]bool{}
	for _, n := range nodes {
		if !local(n.Address.Addr()) {
			return nil
		}
		pid := listener(n.Address.Port())
		if pid == 0 {
			return nil
		}
		if !seen[pid] {
			pids = append(pids, pid)
		}
		seen[pid] = true
	}
	return pids
}

func (m *meter) read(ctx context.Context) (sum cost, err error) {
	for _, t := range m.targets {
		c, err := t.cost(ctx)
		if err != nil {
			return cost{}, err
		}
		sum.cpu += c.cpu
		sum.memory += c.memory
	}
	return sum, nil
}

// look notes the memory, if it is time.
func (m *meter) look(ctx context.Context) {
	if len(m.targets) == 0 || time.Now().Before(m.next) {
		return
	}
	m.sample(ctx)
}

// sample notes the memory now.
func (m *meter) sample(ctx context.Context) cost {
	began := time.Now()
	c, err := m.read(ctx)
	took := time.Since(began)
	// Reading the memory of a large process takes a while, and the process's locks.
	m.next = began.Add(max(meterEvery, 40*took))
	if err != nil {
		return m.last // the node has gone: what it took until then is known
	}
	m.last = c
	mem := &m.node.Memory
	if m.first {
		m.first = false
		mem.Before = c.memory
	}
	mem.Peak = max(mem.Peak, c.memory)
	mem.Settled = c.memory
	return c
}

// begin notes when the load begins, and end when it ends.
func (m *meter) begin(ctx context.Context) { m.start = m.sample(ctx).cpu }

func (m *meter) end(ctx context.Context) { m.node.CPU = (m.sample(ctx).cpu - m.start).Seconds() }
