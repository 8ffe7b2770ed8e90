package migrations

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The bucket of API keys and revocations: the stream under it, and what all its keys
// match.
const (
	TrustStream   = "KV_" + trustBucket
	TrustWildcard = trustPrefix + ">"

	trustBucket = "RIVULET_TRUST"
	trustPrefix = "$KV." + trustBucket + "."
	// trustLive is where the server republishes, without its data, what is written.
	trustLive = "rivulet.trust."
)

// TrustLive matches what the server republishes, without its data, when a key or a
// revocation is written. One may be lost, so whoever listens also looks now and then.
const TrustLive = trustLive + ">"

// TrustBytes is what the bucket may hold, and reserves: some 30,000 revocations.
const TrustBytes = 8 << 20

// createTrust is step 6: the bucket of API keys and revocations. Each has a time to live
// of its own, and is gone a minute after it without a word of ours.
func createTrust(ctx context.Context, js jetstream.JetStream, opts Options) error {
	_, err := createBucket(ctx, js, jetstream.KeyValueConfig{
		Bucket:         trustBucket,
		Description:    "rivulet: API keys and revocations",
		Storage:        jetstream.FileStorage,
		Replicas:       max(opts.Replicas, 1),
		History:        1,
		MaxBytes:       TrustBytes,
		LimitMarkerTTL: time.Minute,
		RePublish:      &jetstream.RePublish{Source: TrustWildcard, Destination: TrustLive, HeadersOnly: true},
	})
	return err
}

// TrustSubject is where an entry of the kind is kept; name may be any text.
func TrustSubject(kind, name string) string {
	b := append(make([]byte, 0, 128), trustPrefix...)
	b = append(AppendToken(b, kind), '.')
	return string(AppendToken(b, name))
}

// SplitTrust is the inverse of TrustSubject. The error wraps ErrSubject.
func SplitTrust(subject string) (kind, name string, err error) {
	rest, ok := strings.CutPrefix(subject, trustPrefix)
	if ok {
		kind, name, ok = strings.Cut(rest, ".")
	}
	if !ok {
		return "", "", fmt.Errorf("%w: %q is not of the bucket %s", ErrSubject, subject, trustBucket)
	}
	if kind, err = DecodeToken(kind); err != nil {
		return "", "", err
	}
	name, err = DecodeToken(name)
	return kind, name, err
}
