package bench

import (
	"errors"
	"fmt"
	"strings"
)

// Result is what a run measured. Its JSON is what `rivulet bench --json` prints.
type Result struct {
	Scenario    Scenario `json:"scenario"`
	URLs        []string `json:"urls"`
	Connections int      `json:"connections"` // asked for
	Channels    int      `json:"channels"`
	Publishers  int      `json:"publishers"`
	Processes   int      `json:"processes"`
	Seconds     float64  `json:"seconds"` // of the load
	Interrupted bool     `json:"interrupted"`

	Connect   Connects       `json:"connect"`
	Publish   *Publishes     `json:"publish,omitempty"`
	Deliver   *Deliveries    `json:"deliver,omitempty"`
	Replay    *Replays       `json:"replay,omitempty"`
	Errors    map[string]int `json:"errors"` // by kind
	Node      Node           `json:"node"`
	Generator Generator      `json:"generator"`
	Warnings  []string       `json:"warnings"`
}

// Connects is about opening connections, each with its subscription.
type Connects struct {
	Opened    int      `json:"opened"`
	Open      int      `json:"open"`   // still, at the end
	Failed    int      `json:"failed"` // refused or ended, at any time
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"per_second"`
	Latency   *Latency `json:"latency_ms,omitempty"` // until subscribed
}

// Publishes is about messages on their way in.
type Publishes struct {
	Stored    int      `json:"stored"`
	PerSecond float64  `json:"per_second"`
	Failed    int      `json:"failed"`
	Unsent    int      `json:"unsent"`               // due, and not published in time
	Abandoned int      `json:"abandoned"`            // channels on which nothing more was published, after a publish with an unknown outcome
	Latency   *Latency `json:"latency_ms,omitempty"` // from when it was due until it is stored
}

// Deliveries is about messages on their way out.
type Deliveries struct {
	Received   int      `json:"received"`
	PerSecond  float64  `json:"per_second"`
	Latency    *Latency `json:"latency_ms,omitempty"` // from when it was due to be published until it was read
	Lost       int      `json:"lost"`
	Duplicate  int      `json:"duplicate"`
	OutOfOrder int      `json:"out_of_order"`
	Gaps       int      `json:"gaps"` // the node said that history is gone
	Gone       int      `json:"gone"` // messages that it said that of: they do not count as lost
}

// Replays is about the return of all at once.
type Replays struct {
	Missed   int      `json:"missed"`               // by each
	Complete int      `json:"complete"`             // connections that got all they missed
	Seconds  float64  `json:"seconds"`              // until the last was complete
	Latency  *Latency `json:"latency_ms,omitempty"` // from a connection's beginning until it is complete
}

// Node is what the load cost the nodes, all together.
type Node struct {
	Source string  `json:"source"` // "proc", "metrics" or "" where nothing is known
	PIDs   []int   `json:"pids,omitempty"`
	CPU    float64 `json:"cpu_seconds"` // while the load lasted
	// CPUPerMillion is for a million deliveries, or publishes where there are none.
	CPUPerMillion float64 `json:"cpu_seconds_per_million"`
	Memory        Memory  `json:"memory"`
}

// Memory is in bytes.
type Memory struct {
	Kind          string  `json:"kind"` // "pss" or "rss"
	Before        int64   `json:"before"`
	Peak          int64   `json:"peak"`
	Settled       int64   `json:"settled"` // after the load, with all connections open
	PerConnection float64 `json:"per_connection"`
}

// Generator is what the load cost the generator.
type Generator struct {
	CPU     float64 `json:"cpu_seconds"`
	Busiest float64 `json:"busiest"` // process, as a share of one processor
}

// ErrFaults says that the nodes did not keep what they promise, or refused.
var ErrFaults = errors.New("bench: the run had faults")

// Err says what went wrong. It wraps ErrFaults, and is nil if nothing did.
func (r *Result) Err() error {
	var list []string
	note := func(n int, one, many string) {
		switch {
		case n == 1:
			list = append(list, "1 "+one)
		case n > 1:
			list = append(list, grouped(n)+" "+many)
		}
	}
	if d := r.Deliver; d != nil {
		note(d.Lost, "message lost", "messages lost")
		note(d.Duplicate, "came twice", "came twice")
		note(d.OutOfOrder, "out of order", "out of order")
		note(d.Gaps, "history gone", "histories gone")
	}
	note(r.Connect.Failed, "connection failed", "connections failed")
	if r.Publish != nil {
		note(r.Publish.Failed, "publish failed", "publishes failed")
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrFaults, strings.Join(list, ", "))
}
