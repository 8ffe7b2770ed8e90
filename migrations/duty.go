package migrations

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// DutyTTL is for how long a node has a duty that it took or kept, and for how long
// others must have seen nothing of it before one of them takes it over.
const DutyTTL = 6 * time.Second

// Duty is something that one node of all is to do at a time, for as long as it keeps
// saying so. A node that is cut off may believe for a moment longer that it has it: what
// is done must bear two who do it. Nobody's clock is compared with another's, and the
// server's TTL is not used: in a bucket that marks what expired it is a minute at least.
// Not safe for concurrent use.
type Duty struct {
	kv       jetstream.KeyValue
	key      string
	owner    string
	revision uint64 // of what this node wrote; 0 while it has not the duty

	// What another node last wrote, and when this one first saw it.
	seen   uint64
	seenAt time.Time
}

// OpenDuty needs a topology that Apply has brought up to date.
func OpenDuty(ctx context.Context, js jetstream.JetStream, name, by string) (*Duty, error) {
	kv, err := js.KeyValue(ctx, topologyBucket)
	if err != nil {
		return nil, fmt.Errorf("open duty %s: %w", name, err)
	}
	return &Duty{kv: kv, key: "duty." + name, owner: by + " " + rand.Text()}, nil
}

// Try takes the duty, or keeps it, and reports whether the node has it for the next
// DutyTTL. It is to be called several times within that. After an error the node has it
// until DutyTTL has passed since the last success.
func (d *Duty) Try(ctx context.Context) (bool, error) {
	if d.revision != 0 {
		return d.write(ctx, d.revision)
	}
	entry, err := d.kv.Get(ctx, d.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return d.write(ctx, 0)
	case err != nil:
		return false, fmt.Errorf("look at %s: %w", d.key, err)
	case entry.Revision() != d.seen:
		d.seen, d.seenAt = entry.Revision(), time.Now()
		return false, nil
	case time.Since(d.seenAt) < DutyTTL:
		return false, nil
	}
	return d.write(ctx, entry.Revision())
}

// write says that the node has the duty, if nobody has said so since revision.
func (d *Duty) write(ctx context.Context, revision uint64) (mine bool, err error) {
	if revision == 0 {
		revision, err = d.kv.Create(ctx, d.key, []byte(d.owner))
	} else {
		revision, err = d.kv.Update(ctx, d.key, []byte(d.owner), revision)
	}
	if lostRace(err) {
		d.revision = 0
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("write %s: %w", d.key, err)
	}
	d.revision = revision
	return true, nil
}

// Leave gives the duty up, so that another node need not wait.
func (d *Duty) Leave(ctx context.Context) error {
	if d.revision == 0 {
		return nil
	}
	err := d.kv.Delete(ctx, d.key, jetstream.LastRevision(d.revision))
	d.revision = 0
	if err != nil && !lostRace(err) {
		return fmt.Errorf("leave %s: %w", d.key, err)
	}
	return nil
}
