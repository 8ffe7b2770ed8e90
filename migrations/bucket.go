package migrations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// The buckets.
const (
	topologyBucket   = "RIVULET_TOPOLOGY"
	namespacesBucket = "RIVULET_NAMESPACES"
	epochsBucket     = "RIVULET_EPOCHS"
)

// bucketBytes of each bucket are reserved from the disk budget, like every
// namespace's: what is used can then never exceed the budget, at which JetStream
// refuses all writes.
const bucketBytes = 8 << 20

// createBucket creates a bucket, or leaves the one that is there as it is. It looks first:
// the server asks for room before it finds that the bucket is there.
func createBucket(ctx context.Context, js jetstream.JetStream, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	kv, err := js.KeyValue(ctx, cfg.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = js.CreateKeyValue(ctx, cfg)
	}
	if errors.Is(err, jetstream.ErrBucketExists) {
		kv, err = js.KeyValue(ctx, cfg.Bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("create bucket %s: %w", cfg.Bucket, noRoom(err))
	}
	return kv, nil
}

// readJSON reads a key into v and returns its revision, 0 if there is none.
func readJSON(ctx context.Context, kv jetstream.KeyValue, key string, v any) (uint64, error) {
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s/%s: %w", kv.Bucket(), key, err)
	}
	if err := json.Unmarshal(entry.Value(), v); err != nil {
		return 0, fmt.Errorf("read %s/%s: %w", kv.Bucket(), key, err)
	}
	return entry.Revision(), nil
}

// writeJSON writes a key if its revision is still the given one, 0 for none.
// errConflict says that it was not.
func writeJSON(ctx context.Context, kv jetstream.KeyValue, key string, v any, revision uint64) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", kv.Bucket(), key, err)
	}
	if revision == 0 {
		_, err = kv.Create(ctx, key, b)
	} else {
		_, err = kv.Update(ctx, key, b, revision)
	}
	if lostRace(err) {
		return errConflict
	}
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", kv.Bucket(), key, err)
	}
	return nil
}

// errConflict: someone else wrote first. It stays inside the package.
var errConflict = errors.New("migrations: written by another node")

// lostRace reports whether a compare-and-set found another revision.
func lostRace(err error) bool {
	if errors.Is(err, jetstream.ErrKeyExists) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == wrongLastSequenceConstant)
}

// wrongLastSequenceConstant is the server's other code for the same refusal.
const wrongLastSequenceConstant jetstream.ErrorCode = 10164
