package migrations

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// createNamespaces is step 1: the bucket that records every namespace.
func createNamespaces(ctx context.Context, js jetstream.JetStream, opts Options) error {
	_, err := createBucket(ctx, js, jetstream.KeyValueConfig{
		Bucket:      namespacesBucket,
		Description: "rivulet: generation and limits of every namespace",
		Storage:     jetstream.FileStorage,
		Replicas:    max(opts.Replicas, 1),
		History:     8,
		MaxBytes:    bucketBytes,
	})
	return err
}
