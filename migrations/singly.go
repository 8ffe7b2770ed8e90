package migrations

import (
	"context"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go/jetstream"
)

// metaSingly on a stream says that messages may have left it one by one.
const metaSingly = "rivulet.singly"

// LeftSingly reports, from a stream's metadata, whether messages may have left it one
// by one, at the end of their own TTL or deleted: the number of a channel's messages
// then no longer tells whether the channel has ever been full.
func LeftSingly(metadata map[string]string) bool { return metadata[metaSingly] != "" }

// MarkSingly notes that messages may leave partition p's stream one by one, for good.
// It must have returned before the first message that may is stored or deleted. It may
// be called again, and by several nodes at once.
func MarkSingly(ctx context.Context, js jetstream.JetStream, l Layout, p int, by string) error {
	name := l.Stream(p)
	topology, err := js.KeyValue(ctx, topologyBucket)
	if err != nil {
		return fmt.Errorf("mark stream %s: %w", name, err)
	}
	// Under the lease of whoever changes the namespace: a stream's configuration is
	// replaced as a whole.
	err = underLease(ctx, topology, "namespace."+l.Namespace, by, func(ctx context.Context) error {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		cfg := stream.CachedInfo().Config
		if LeftSingly(cfg.Metadata) {
			return nil
		}
		cfg.Metadata = maps.Clone(cfg.Metadata)
		if cfg.Metadata == nil {
			cfg.Metadata = map[string]string{}
		}
		cfg.Metadata[metaSingly] = "true"
		_, err = js.UpdateStream(ctx, cfg)
		return err
	})
	if err != nil {
		return fmt.Errorf("mark stream %s: %w", name, err)
	}
	return nil
}
