package migrations

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// DutyTTL is for how long a node has a duty that it took or kept.
const DutyTTL = 6 * time.Second

// Duty is something that one node of all is to do at a time, for as long as it keeps
// saying so. A node that is cut off may believe for a moment longer that it has it: what
// is done must bear two who do it. Not safe for concurrent use.
type Duty struct {
	js       jetstream.JetStream
	kv       jetstream.KeyValue
	key      string
	owner    string
	revision uint64 // of what this node wrote; 0 while it has not the duty
}

// OpenDuty needs a topology that Apply has brought up to date.
func OpenDuty(ctx context.Context, js jetstream.JetStream, name, by string) (*Duty, error) {
	kv, err := js.KeyValue(ctx, topologyBucket)
	if err != nil {
		return nil, fmt.Errorf("open duty %s: %w", name, err)
	}
	return &Duty{js: js, kv: kv, key: "lease.duty." + name, owner: by + " " + rand.Text()}, nil
}

// Try takes the duty, or keeps it, and reports whether the node has it for the next
// DutyTTL. After an error it has it until that much has passed since the last success.
func (d *Duty) Try(ctx context.Context) (bool, error) {
	if d.revision != 0 {
		return d.renew(ctx)
	}
	revision, err := d.kv.Create(ctx, d.key, []byte(d.owner), jetstream.KeyTTL(DutyTTL))
	if errors.Is(err, jetstream.ErrKeyExists) || lostRace(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take %s: %w", d.key, err)
	}
	d.revision = revision
	return true, nil
}

// renew writes the key again; the bucket's own Update would take its TTL away.
func (d *Duty) renew(ctx context.Context) (bool, error) {
	m := &nats.Msg{Subject: "$KV." + topologyBucket + "." + d.key, Data: []byte(d.owner), Header: nats.Header{
		jetstream.MsgTTLHeader:              {DutyTTL.String()},
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(d.revision, 10)},
	}}
	ack, err := d.js.PublishMsg(ctx, m)
	if lostRace(err) {
		d.revision = 0
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("keep %s: %w", d.key, err)
	}
	d.revision = ack.Sequence
	return true, nil
}

// Leave gives the duty up, so that another node need not wait for the TTL.
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
