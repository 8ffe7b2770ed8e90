package migrations

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// EventPartitions is how many streams the events of webhooks are spread over. It is
// fixed: the partition of a channel must not change while events wait in it.
const EventPartitions = 8

// The bucket of the leases, and the stream under it; the stream that remembers which
// channels were told to be occupied.
const (
	LeasesBucket    = "RIVULET_LEASES"
	LeasesPrefix    = "$KV." + LeasesBucket + "."
	OccupancyStream = "RIVULET_OCCUPANCY"

	eventsPrefix    = "RIVULET_EVENTS_"
	eventPrefix     = "ev."
	occupancyPrefix = "occ."
)

// What the streams reserve of the disk budget until webhooks are configured.
const (
	leastEventBytes = 8 << 20 // of all partitions
	occupancyBytes  = 8 << 20
	leasesBytes     = 1 << 20
	defaultEventAge = 72 * time.Hour
	// eventMessage bounds one event: the largest message, in JSON, with what surrounds it.
	eventMessage = 8 << 20
)

// EventsSpec says how long and how many events wait for their webhooks.
type EventsSpec struct {
	Replicas int
	MaxAge   time.Duration // at least a minute
	MaxBytes int64         // of all partitions
}

// EventStream is the name of the stream of partition p.
func EventStream(p int) string { return eventsPrefix + strconv.Itoa(p) }

// EventSubject is where the event is stored: each has a subject of its own, so that the
// server refuses a second one for as long as it holds the first.
func EventSubject(p int, id string) string {
	return string(AppendToken(fmt.Appendf(nil, "%s%d.", eventPrefix, p), id))
}

// EventPartition is the partition of a channel's events.
func EventPartition(channel string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(channel)) // never fails
	return int(h.Sum64() % EventPartitions)
}

// OccupancySubject is where it is remembered whether a channel is occupied or, with a
// member, whether that is in it.
func OccupancySubject(p int, channel, member string) string {
	b := AppendToken(fmt.Appendf(nil, "%s%d.", occupancyPrefix, p), channel)
	return string(AppendToken(append(b, '.'), member))
}

// OccupancyAll matches what is remembered of partition p.
func OccupancyAll(p int) string { return occupancyPrefix + strconv.Itoa(p) + "." + anyRest }

// OccupancyTold is where it is remembered up to which record of partition p the events are
// written. No OccupancySubject is the same: they have a token more.
func OccupancyTold(p int) string { return occupancyPrefix + strconv.Itoa(p) + ".told" }

// createEvents is step 5: where events wait for their webhooks, who works on them, and
// what was told of who is subscribed.
func createEvents(ctx context.Context, js jetstream.JetStream, opts Options) error {
	replicas := max(opts.Replicas, 1)
	if _, err := createBucket(ctx, js, jetstream.KeyValueConfig{
		Bucket:         LeasesBucket,
		Description:    "rivulet: which node works on what",
		Storage:        jetstream.FileStorage,
		Replicas:       replicas,
		History:        1,
		MaxBytes:       leasesBytes,
		LimitMarkerTTL: time.Minute,
	}); err != nil {
		return err
	}
	if err := createStream(ctx, js, jetstream.StreamConfig{
		Name:              OccupancyStream,
		Description:       "rivulet: who was told to be subscribed",
		Subjects:          []string{occupancyPrefix + anyRest},
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		MaxBytes:          occupancyBytes,
		AllowDirect:       true,
		AllowMsgTTL:       true,
	}); err != nil {
		return err
	}
	for p := range EventPartitions {
		spec := EventsSpec{Replicas: replicas, MaxAge: defaultEventAge, MaxBytes: leastEventBytes}
		if err := createStream(ctx, js, spec.stream(p)); err != nil {
			return err
		}
	}
	return nil
}

// createStream creates a stream, or leaves the one that is there as it is.
func createStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) error {
	_, err := js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create stream %s: %w", cfg.Name, noRoom(err))
	}
	return nil
}

func (s EventsSpec) stream(p int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        EventStream(p),
		Description: "rivulet: events that wait for webhooks",
		Subjects:    []string{eventPrefix + strconv.Itoa(p) + "." + anyRest},
		Storage:     jetstream.FileStorage,
		Replicas:    s.Replicas,
		Discard:     jetstream.DiscardOld,
		MaxAge:      s.MaxAge,
		MaxBytes:    s.MaxBytes / EventPartitions,
		MaxMsgSize:  int32(min(eventMessage, s.MaxBytes/EventPartitions)),
		AllowDirect: true,
	}
}

// OccupancyBytes is the room for who is subscribed, beside MaxBytes of events.
func OccupancyBytes(maxBytes int64) int64 { return max(occupancyBytes, maxBytes/4) }

// EnsureEvents brings the limits of the events' streams to what spec says, and that of who
// is subscribed, which follows: where the disk budget has no room for that, or less is
// wanted than what it holds needs, it stays as it is. Errors wrap ErrNoRoom, ErrLocked or
// what JetStream answered.
func EnsureEvents(ctx context.Context, js jetstream.JetStream, spec EventsSpec, by string) error {
	ledger, same, err := spec.occupancy(ctx, js)
	if err != nil {
		return err
	}
	for p := range EventPartitions {
		ok, err := spec.inPlace(ctx, js, p)
		if err != nil {
			return err
		}
		same = same && ok
	}
	if same {
		return nil
	}
	kv, err := js.KeyValue(ctx, topologyBucket)
	if err != nil {
		return fmt.Errorf("ensure the streams of events: %w", err)
	}
	return underLease(ctx, kv, "events", by, func(ctx context.Context) error {
		for p := range EventPartitions {
			if _, err := js.CreateOrUpdateStream(ctx, spec.stream(p)); err != nil {
				return fmt.Errorf("ensure stream %s: %w", EventStream(p), noRoom(err))
			}
		}
		if _, err := js.UpdateStream(ctx, ledger); err != nil && !errors.Is(noRoom(err), ErrNoRoom) {
			return fmt.Errorf("ensure stream %s: %w", OccupancyStream, err)
		}
		return nil
	})
}

// occupancy is the configuration that the stream of who is subscribed should have, and
// reports whether it has it.
func (s EventsSpec) occupancy(ctx context.Context, js jetstream.JetStream) (cfg jetstream.StreamConfig, same bool, err error) {
	have, err := js.Stream(ctx, OccupancyStream)
	if err != nil {
		return cfg, false, fmt.Errorf("look at stream %s: %w", OccupancyStream, err)
	}
	info := have.CachedInfo()
	cfg = info.Config
	if want := OccupancyBytes(s.MaxBytes); want > cfg.MaxBytes || want >= 2*int64(info.State.Bytes) {
		cfg.MaxBytes = want
	}
	return cfg, cfg.MaxBytes == info.Config.MaxBytes, nil
}

// inPlace reports whether partition p's stream is as it should be.
func (s EventsSpec) inPlace(ctx context.Context, js jetstream.JetStream, p int) (bool, error) {
	want := s.stream(p)
	have, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at stream %s: %w", want.Name, err)
	}
	cfg := have.CachedInfo().Config
	return cfg.MaxAge == want.MaxAge && cfg.MaxBytes == want.MaxBytes && cfg.Replicas == want.Replicas, nil
}
