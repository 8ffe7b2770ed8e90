package migrations

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// leaseTTL is when the server takes a lease from a node that died; what is done
	// under a lease is bounded to leaseWork, so that a live node never loses it.
	leaseTTL  = 15 * time.Second
	leaseWork = 12 * time.Second
	leasePoll = 50 * time.Millisecond
)

// underLease runs f while no other node runs something under the same name. It
// waits for its turn until ctx ends, then fails with ErrLocked.
func underLease(ctx context.Context, kv jetstream.KeyValue, name, by string, f func(context.Context) error) error {
	key := "lease." + name
	owner := by + " " + rand.Text()
	revision, err := acquire(ctx, kv, key, owner)
	if err != nil {
		return err
	}
	work, cancel := context.WithTimeout(ctx, leaseWork)
	defer cancel()
	err = f(work)
	// Also when ctx has ended: nobody should wait for a lease that is not used.
	free, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	if derr := kv.Delete(free, key, jetstream.LastRevision(revision)); derr != nil && err == nil && !lostRace(derr) {
		err = fmt.Errorf("release lease %s: %w", name, derr)
	}
	return err
}

func acquire(ctx context.Context, kv jetstream.KeyValue, key, owner string) (uint64, error) {
	poll := time.NewTicker(leasePoll)
	defer poll.Stop()
	for {
		revision, err := kv.Create(ctx, key, []byte(owner), jetstream.KeyTTL(leaseTTL))
		if err == nil {
			return revision, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) && !lostRace(err) {
			return 0, fmt.Errorf("take %s: %w", key, err)
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %s: %w", ErrLocked, key, ctx.Err())
		case <-poll.C:
		}
	}
}
