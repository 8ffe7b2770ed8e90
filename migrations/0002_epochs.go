package migrations

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// EpochWildcard matches what the server republishes when an epoch changes: the
// last token is the stream's name, the payload the epoch's id. A message may be
// lost, so whoever listens also reads the epochs now and then.
const EpochWildcard = epochLivePrefix + ">"

const (
	epochLivePrefix = "rivulet.epoch."
	epochKeyPrefix  = "epoch."
)

// createEpochs is step 2: the bucket of every stream's epoch.
func createEpochs(ctx context.Context, js jetstream.JetStream, opts Options) error {
	_, err := createBucket(ctx, js, jetstream.KeyValueConfig{
		Bucket:      epochsBucket,
		Description: "rivulet: the epoch of every stream",
		Storage:     jetstream.FileStorage,
		Replicas:    max(opts.Replicas, 1),
		History:     8,
		MaxBytes:    bucketBytes,
		RePublish: &jetstream.RePublish{
			Source:      "$KV." + epochsBucket + "." + epochKeyPrefix + ">",
			Destination: EpochWildcard,
		},
	})
	return err
}
