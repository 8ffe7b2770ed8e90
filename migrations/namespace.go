package migrations

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// atOnce is how many streams are created or changed at a time.
const atOnce = 4

// Namespace is what the log knows of a namespace.
type Namespace struct {
	Spec       Spec `json:"spec"`
	Generation int  `json:"generation"`
}

// Layout names its streams and subjects.
func (n Namespace) Layout() Layout {
	return Layout{Namespace: n.Spec.Name, Generation: n.Generation, Partitions: n.Spec.Partitions}
}

// EnsureNamespace makes the namespace as spec says: it creates the record and the
// streams, or changes those that differ in place, which drops no message that the
// new limits allow. Any number of nodes may call it at once; what is already so
// is only read.
//
// A changed number of partitions is not applied: the result keeps the present
// ones, and the error wraps ErrPartitionsFixed; the namespace is usable. Other
// errors wrap ErrInvalidSpec, ErrNoRoom, ErrLocked or what JetStream answered.
func EnsureNamespace(ctx context.Context, js jetstream.JetStream, spec Spec, by string) (Namespace, error) {
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return Namespace{}, err
	}
	kv, err := js.KeyValue(ctx, namespacesBucket)
	if err != nil {
		return Namespace{}, fmt.Errorf("ensure namespace %s: %w", spec.Name, err)
	}
	var have Namespace
	revision, err := readJSON(ctx, kv, spec.Name, &have)
	if err != nil {
		return Namespace{}, fmt.Errorf("ensure namespace %s: %w", spec.Name, err)
	}
	var fixed error
	if revision != 0 && have.Spec.Partitions != spec.Partitions {
		fixed = fmt.Errorf("%w: namespace %s has %d and keeps them, the configuration says %d",
			ErrPartitionsFixed, spec.Name, have.Spec.Partitions, spec.Partitions)
		spec.Partitions = have.Spec.Partitions
	}
	want := Namespace{Spec: spec, Generation: max(have.Generation, 1)}
	if revision != 0 && have == want {
		same, err := want.inPlace(ctx, js)
		if err != nil || same {
			return want, errors.Join(err, fixed)
		}
	}
	topology, err := js.KeyValue(ctx, topologyBucket)
	if err != nil {
		return Namespace{}, fmt.Errorf("ensure namespace %s: %w", spec.Name, err)
	}
	err = underLease(ctx, topology, "namespace."+spec.Name, by, func(ctx context.Context) error {
		want, err = reconcile(ctx, js, kv, want)
		return err
	})
	return want, errors.Join(err, fixed)
}

// ReadNamespace returns the record of a namespace; ok is false if there is none.
func ReadNamespace(ctx context.Context, js jetstream.JetStream, name string) (n Namespace, ok bool, err error) {
	kv, err := js.KeyValue(ctx, namespacesBucket)
	if err != nil {
		return Namespace{}, false, fmt.Errorf("read namespace %s: %w", name, err)
	}
	revision, err := readJSON(ctx, kv, name, &n)
	return n, revision != 0, err
}

// Parts is how much of a namespace's streams is there.
type Parts struct {
	Missing  int   // streams that are not
	Reserved int64 // bytes, by those that are
	Stored   bool  // one of them has had a message
}

// Parts looks at the streams of the namespace, one after the other.
func (n Namespace) Parts(ctx context.Context, js jetstream.JetStream) (Parts, error) {
	var parts Parts
	for _, name := range n.Layout().Streams() {
		stream, err := js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			parts.Missing++
			continue
		}
		if err != nil {
			return Parts{}, fmt.Errorf("look at stream %s: %w", name, err)
		}
		info := stream.CachedInfo()
		parts.Reserved += max(info.Config.MaxBytes, 0)
		parts.Stored = parts.Stored || info.State.LastSeq > 0
	}
	return parts, nil
}

// inPlace reports whether all streams are as wanted.
func (n Namespace) inPlace(ctx context.Context, js jetstream.JetStream) (bool, error) {
	layout := n.Layout()
	for p := range layout.Partitions {
		stream, err := js.Stream(ctx, layout.Stream(p))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look at stream %s: %w", layout.Stream(p), err)
		}
		have := stream.CachedInfo().Config
		if !sameStream(have, layout.StreamConfig(n.Spec, p)) || unfinished(have) {
			return false, nil
		}
	}
	return true, nil
}

// unfinished reports whether a change of the limit was begun and not completed.
func unfinished(cfg jetstream.StreamConfig) bool {
	for _, past := range pastLimits(cfg.Metadata) {
		if past.At == 0 {
			return true
		}
	}
	return false
}

// reconcile records the namespace and then makes its streams so. The record
// comes first: a stream without a record would not be found again.
func reconcile(ctx context.Context, js jetstream.JetStream, kv jetstream.KeyValue, want Namespace) (Namespace, error) {
	var have Namespace
	revision, err := readJSON(ctx, kv, want.Spec.Name, &have)
	if err != nil {
		return want, err
	}
	if revision != 0 {
		// Another node may have created it since, with other partitions.
		want.Generation, want.Spec.Partitions = have.Generation, have.Spec.Partitions
	}
	if revision == 0 || have != want {
		if err := writeJSON(ctx, kv, want.Spec.Name, want, revision); err != nil {
			return want, fmt.Errorf("record namespace %s: %w", want.Spec.Name, err)
		}
	}
	epochs, err := OpenEpochs(ctx, js)
	if err != nil {
		return want, err
	}
	layout := want.Layout()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for p := range layout.Partitions {
		group.Go(func() error {
			if err := ensureStream(ctx, js, layout.StreamConfig(want.Spec, p)); err != nil {
				return fmt.Errorf("stream %s: %w", layout.Stream(p), err)
			}
			_, err := epochs.Get(ctx, layout.Stream(p))
			return err
		})
	}
	return want, group.Wait()
}

func ensureStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = js.CreateStream(ctx, want)
		return noRoom(err)
	}
	if err != nil {
		return err
	}
	have := stream.CachedInfo().Config
	if sameStream(have, want) && !unfinished(have) {
		return nil
	}
	return changeStream(ctx, js, have, want)
}

// changeStream applies a configuration in up to three updates. A limit per
// channel is first noted, then changed, then the note is closed at the sequence
// reached: at no moment does the configuration promise more than the stream kept.
func changeStream(ctx context.Context, js jetstream.JetStream, have, want jetstream.StreamConfig) error {
	past := pastLimits(have.Metadata)
	if have.MaxMsgsPerSubject != want.MaxMsgsPerSubject {
		past = openLimit(past, have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
		note := have
		setPastLimits(&note, past)
		if _, err := js.UpdateStream(ctx, note); err != nil {
			return noRoom(err)
		}
	}
	// What the server keeps in the metadata, and the notes, stay.
	merged := maps.Clone(have.Metadata)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, want.Metadata)
	want.Metadata = merged
	setPastLimits(&want, past)
	stream, err := js.UpdateStream(ctx, want)
	if err != nil {
		return noRoom(err)
	}
	if !unfinished(want) {
		return nil
	}
	state := stream.CachedInfo().State
	setPastLimits(&want, closeLimits(past, state.FirstSeq, state.LastSeq))
	_, err = js.UpdateStream(ctx, want)
	return noRoom(err)
}

// The server's codes for a stream that does not fit.
const (
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeStorageExceeded       jetstream.ErrorCode = 10047
)

func noRoom(err error) error {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if ok && (api.ErrorCode == codeStorageExceeded || api.ErrorCode == codeInsufficientResources) {
		return fmt.Errorf("%w: lower max_bytes, or raise the budget (broker.disk_budget; of NATS servers max_file_store): %w", ErrNoRoom, err)
	}
	return err
}
