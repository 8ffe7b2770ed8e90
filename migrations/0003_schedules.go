package migrations

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ScheduleStream holds the messages that are to be stored in their channels later.
const ScheduleStream = "RIVULET_SCHEDULES"

// Bounds of what is scheduled, of all namespaces together. Past them the server
// refuses: a message that was accepted is never dropped for a newer one.
const (
	MaxSchedules     = 100_000
	MaxScheduleBytes = 32 << 20
)

// ScheduleWildcard matches what the server republishes, without its data, when a
// message is scheduled. One may be lost, so whoever listens also looks now and then.
const ScheduleWildcard = scheduleLivePrefix + ">"

// createSchedules is step 3: the stream of scheduled messages. JetStream's own
// schedules are not used: a stream that allows them cannot refuse what is too much
// (it may only discard what is old), fires at most four times a second, and stores
// what is due before it removes the schedule, so that a crash between the two fires
// again.
func createSchedules(ctx context.Context, js jetstream.JetStream, opts Options) error {
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name:                 ScheduleStream,
		Description:          "rivulet: messages that are to be stored in their channels later",
		Subjects:             []string{schedulePrefix + ">"},
		Retention:            jetstream.LimitsPolicy,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    1,
		MaxMsgs:              MaxSchedules,
		MaxBytes:             MaxScheduleBytes,
		MaxMsgSize:           maxMessageBytes + HeaderRoom,
		Storage:              jetstream.FileStorage,
		Replicas:             max(opts.Replicas, 1),
		AllowDirect:          true,
		RePublish:            &jetstream.RePublish{Source: schedulePrefix + ">", Destination: ScheduleWildcard, HeadersOnly: true},
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create stream %s: %w", ScheduleStream, noRoom(err))
	}
	return nil
}
