package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// topologyKey holds the record of what was applied.
const topologyKey = "topology"

// Options say how the topology is set up.
type Options struct {
	// Replicas of the buckets: 1, 3 or 5.
	Replicas int
	// By names the node, for the record.
	By string
	// SessionBytes is what the bucket of durable sessions may hold, at least
	// DefaultSessionBytes; less where there is no room for so much.
	SessionBytes int64
}

// Step is one change of the topology.
type Step struct {
	Version int // counts from 1 without holes
	Name    string
	// run must be idempotent: a node may die between it and the record.
	run func(context.Context, jetstream.JetStream, Options) error
}

// Applied records one step.
type Applied struct {
	Version int       `json:"version"`
	Name    string    `json:"name"`
	At      time.Time `json:"at"`
	By      string    `json:"by"`
}

// Report says what Apply did.
type Report struct {
	From, To int
	Applied  []Applied // empty if there was nothing to do
}

// State is where a topology stands.
type State struct {
	Version int // 0 before the first step
	Known   int // what this program knows
	Applied []Applied
	Pending []Step
}

type topology struct {
	Version int       `json:"version"`
	Applied []Applied `json:"applied"`
}

// steps are all changes, in order. They are never edited once released; a later
// one corrects an earlier one.
func steps() []Step {
	return []Step{
		{Version: 1, Name: "namespaces", run: createNamespaces},
		{Version: 2, Name: "epochs", run: createEpochs},
		{Version: 3, Name: "schedules", run: createSchedules},
		{Version: 4, Name: "sessions", run: createSessions},
		{Version: 5, Name: "events", run: createEvents},
		{Version: 6, Name: "trust", run: createTrust},
	}
}

// Apply brings the topology up to date and records each step with its time and
// opts.By. Concurrent calls, of any number of nodes, apply each step once; those
// who find nothing to do take no lease. It fails with ErrNewerTopology, changing
// nothing, where a later program has been at work, and with ErrLocked where
// another node's turn outlasted ctx.
func Apply(ctx context.Context, js jetstream.JetStream, opts Options) (Report, error) {
	kv, err := createBucket(ctx, js, jetstream.KeyValueConfig{
		Bucket:         topologyBucket,
		Description:    "rivulet: which topology steps were applied, and leases",
		Storage:        jetstream.FileStorage,
		Replicas:       max(opts.Replicas, 1),
		History:        8,
		MaxBytes:       bucketBytes,
		LimitMarkerTTL: time.Minute,
	})
	if err != nil {
		return Report{}, fmt.Errorf("apply topology: %w", err)
	}
	var top topology
	if _, err := readJSON(ctx, kv, topologyKey, &top); err != nil {
		return Report{}, fmt.Errorf("apply topology: %w", err)
	}
	if err := checkKnown(top); err != nil || top.Version == len(steps()) {
		return Report{From: top.Version, To: top.Version}, err
	}
	var rep Report
	err = underLease(ctx, kv, "topology", opts.By, func(ctx context.Context) error {
		rep, err = applyPending(ctx, js, kv, opts)
		return err
	})
	return rep, err
}

func checkKnown(top topology) error {
	if known := len(steps()); top.Version > known {
		return fmt.Errorf("%w: the log is at version %d, this program knows up to %d; run the program that wrote it, or a later one",
			ErrNewerTopology, top.Version, known)
	}
	return nil
}

func applyPending(ctx context.Context, js jetstream.JetStream, kv jetstream.KeyValue, opts Options) (Report, error) {
	var top topology
	revision, err := readJSON(ctx, kv, topologyKey, &top)
	if err != nil {
		return Report{}, fmt.Errorf("apply topology: %w", err)
	}
	rep := Report{From: top.Version, To: top.Version}
	if err := checkKnown(top); err != nil {
		return rep, err
	}
	for _, step := range steps()[top.Version:] {
		if err := step.run(ctx, js, opts); err != nil {
			return rep, fmt.Errorf("apply topology step %04d_%s: %w", step.Version, step.Name, err)
		}
		done := Applied{Version: step.Version, Name: step.Name, At: time.Now().UTC(), By: opts.By}
		top.Version, top.Applied = step.Version, append(top.Applied, done)
		if err := writeJSON(ctx, kv, topologyKey, top, revision); err != nil {
			return rep, fmt.Errorf("record topology step %04d_%s: %w", step.Version, step.Name, err)
		}
		if revision, err = readJSON(ctx, kv, topologyKey, &top); err != nil {
			return rep, fmt.Errorf("record topology step %04d_%s: %w", step.Version, step.Name, err)
		}
		rep.To, rep.Applied = step.Version, append(rep.Applied, done)
	}
	return rep, nil
}

// Status reads where the topology stands. It changes nothing. Where nothing was
// ever applied, every step is pending.
func Status(ctx context.Context, js jetstream.JetStream) (State, error) {
	all := steps()
	state := State{Known: len(all)}
	kv, err := js.KeyValue(ctx, topologyBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		state.Pending = all
		return state, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("read topology: %w", err)
	}
	var top topology
	if _, err := readJSON(ctx, kv, topologyKey, &top); err != nil {
		return State{}, err
	}
	state.Version, state.Applied = top.Version, top.Applied
	state.Pending = all[min(top.Version, len(all)):]
	return state, nil
}
