package migrations

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// SessionsStream is the stream under the bucket of durable sessions, and
// SessionsWildcard what all its keys match.
const (
	SessionsStream   = "KV_" + sessionsBucket
	SessionsWildcard = sessionsPrefix + ">"
)

const (
	sessionsBucket = "RIVULET_SESSIONS"
	sessionsPrefix = "$KV." + sessionsBucket + ".s."

	// DefaultSessionBytes is what the bucket reserves where Options do not say.
	DefaultSessionBytes = 16 << 20
)

// createSessions is step 3: the bucket of durable sessions, one key for each. A key
// that is removed leaves a marker for a minute.
func createSessions(ctx context.Context, js jetstream.JetStream, opts Options) error {
	cfg := jetstream.KeyValueConfig{
		Bucket:         sessionsBucket,
		Description:    "rivulet: durable sessions, their owners and positions",
		Storage:        jetstream.FileStorage,
		Replicas:       max(opts.Replicas, 1),
		History:        1,
		MaxBytes:       max(opts.SessionBytes, DefaultSessionBytes),
		LimitMarkerTTL: time.Minute,
	}
	_, err := createBucket(ctx, js, cfg)
	if errors.Is(noRoom(err), ErrNoRoom) && cfg.MaxBytes > DefaultSessionBytes {
		cfg.MaxBytes = DefaultSessionBytes
		_, err = createBucket(ctx, js, cfg)
	}
	return err
}

// SessionSubject is where the durable session of a user is kept; an empty session
// gives what all of the user's match.
func SessionSubject(user, session string) string {
	b := append(make([]byte, 0, 128), sessionsPrefix...)
	b = append(AppendToken(b, user), '.')
	if session == "" {
		return string(append(b, anyRest...))
	}
	return string(AppendToken(b, session))
}
