//go:build linux

package bench

import (
	"encoding/json"
	"io"
	"net/netip"
	"time"

	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// Merged is the distribution of latencies that were recorded by several workers
// and came over their pipes.
func Merged(workers ...[]time.Duration) (*Latency, error) {
	var sum latencies
	for _, list := range workers {
		var one, arrived latencies
		for _, d := range list {
			one.record(d)
		}
		text, err := json.Marshal(one)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &arrived); err != nil {
			return nil, err
		}
		sum.merge(arrived)
	}
	return sum.quantiles(), nil
}

// ParseMetrics is what a node elsewhere says of itself.
func ParseMetrics(r io.Reader) (cpu time.Duration, memory int64, err error) {
	c, err := parseMetrics(r)
	return c.cpu, c.memory, err
}

// Source is the local address of a connection out of many to a node.
func Source(to string, connections, connection int) netip.Addr {
	n := node{Address: netip.MustParseAddrPort(to)}
	s := spec{Options: Options{Connections: connections}, Nodes: []node{n}}
	return s.source(n, connection)
}

// Kind is the name of an error.
func Kind(err error) string { return newKinds().of(err) }

// Lanes are who publishes on each channel, and how many have no subscriber beside it.
func Lanes(o Options) (lanes []int, unheard int) {
	s := spec{Options: o}
	for i := range o.Channels {
		lanes = append(lanes, s.laneOf(i))
	}
	return lanes, s.unheard()
}

// Due is how long after a storm's start a worker's next connection is due.
func Due(o Options, index, dialed int) time.Duration {
	c := clients{w: &worker{spec: spec{Options: o, Index: index}}, dialed: dialed}
	start := time.Now()
	return c.due(start).Sub(start)
}

// Pilots are whom a publisher of a channel follows while its subscribers in one worker
// end, the one that it follows first: their numbers.
func Pilots(o Options, index, channel int) (followed []int) {
	w := &worker{spec: spec{Options: o, Index: index}, kinds: newKinds(), topics: map[int]*topic{}}
	w.clients.init(w)
	l := &lane{w: w, pub: &raw.Publisher{}}
	t := &topic{channel: channel, lane: l}
	w.topics[channel] = t
	c := &w.clients
	for tag, s := range c.list {
		c.state[tag] = opening
		c.subscribed(s)
	}
	for t.pilot != nil {
		followed = append(followed, c.global(t.pilot.Tag))
		c.fail(t.pilot, io.EOF)
	}
	return followed
}
