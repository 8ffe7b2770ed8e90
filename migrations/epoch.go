package migrations

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Epoch is the recorded half of a stream's identity; the other is when the
// stream was created. See Layout.Tag.
type Epoch struct {
	ID       string
	Revision uint64 // of the key, for compare-and-set
}

// Epochs reads and raises the epochs. It is safe for concurrent use.
type Epochs struct {
	js jetstream.JetStream
	kv jetstream.KeyValue
}

// OpenEpochs needs a topology that Apply has brought up to date.
func OpenEpochs(ctx context.Context, js jetstream.JetStream) (*Epochs, error) {
	kv, err := js.KeyValue(ctx, epochsBucket)
	if err != nil {
		return nil, fmt.Errorf("open epochs: %w", err)
	}
	return &Epochs{js: js, kv: kv}, nil
}

// Get returns the epoch of a stream, and gives it one if it has none.
func (e *Epochs) Get(ctx context.Context, stream string) (Epoch, error) {
	entry, err := e.kv.Get(ctx, epochKeyPrefix+stream)
	switch {
	case err == nil:
		return Epoch{ID: string(entry.Value()), Revision: entry.Revision()}, nil
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return Epoch{}, fmt.Errorf("read epoch of %s: %w", stream, err)
	}
	id := rand.Text()
	revision, err := e.kv.Create(ctx, epochKeyPrefix+stream, []byte(id))
	if lostRace(err) {
		return e.Now(ctx, stream)
	}
	if err != nil {
		return Epoch{}, fmt.Errorf("create epoch of %s: %w", stream, err)
	}
	return Epoch{ID: id, Revision: revision}, nil
}

// Now returns the epoch as the bucket's leader has it. An ordinary read of a
// bucket may come from a follower that is behind, and an epoch decides whether
// history is told as gone. The error wraps ErrNoEpoch if there is none.
func (e *Epochs) Now(ctx context.Context, stream string) (Epoch, error) {
	request, _ := json.Marshal(map[string]string{ // strings: cannot fail
		"last_by_subj": "$KV." + epochsBucket + "." + epochKeyPrefix + stream,
	})
	reply, err := e.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.KV_"+epochsBucket, request)
	if err != nil {
		return Epoch{}, fmt.Errorf("read epoch of %s: %w", stream, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return Epoch{}, fmt.Errorf("read epoch of %s: %w", stream, err)
	}
	if e := answer.Error; e != nil && (e.ErrorCode == jetstream.JSErrCodeMessageNotFound || e.ErrorCode == jetstream.JSErrCodeStreamNotFound) {
		return Epoch{}, fmt.Errorf("read epoch of %s: %w", stream, ErrNoEpoch)
	}
	if answer.Error != nil {
		return Epoch{}, fmt.Errorf("read epoch of %s: %w", stream, answer.Error)
	}
	return Epoch{ID: string(answer.Message.Data), Revision: answer.Message.Seq}, nil
}

// Raise gives a stream a new epoch, unless it is no longer the one seen, and
// returns the epoch it then has.
func (e *Epochs) Raise(ctx context.Context, stream string, seen Epoch) (Epoch, error) {
	id := rand.Text()
	revision, err := e.kv.Update(ctx, epochKeyPrefix+stream, []byte(id), seen.Revision)
	if lostRace(err) {
		return e.Now(ctx, stream)
	}
	if err != nil {
		return Epoch{}, fmt.Errorf("raise epoch of %s: %w", stream, err)
	}
	return Epoch{ID: id, Revision: revision}, nil
}

// RaiseAll gives every recorded stream a new epoch: after the machine stopped
// without the log having been synced.
func (e *Epochs) RaiseAll(ctx context.Context) (raised int, err error) {
	keys, err := e.kv.ListKeys(ctx)
	if err != nil {
		return 0, fmt.Errorf("list epochs: %w", err)
	}
	var streams []string
	for key := range keys.Keys() {
		if stream, ok := strings.CutPrefix(key, epochKeyPrefix); ok {
			streams = append(streams, stream)
		}
	}
	for _, stream := range streams {
		seen, err := e.Now(ctx, stream)
		if err != nil {
			return raised, err
		}
		if _, err := e.Raise(ctx, stream, seen); err != nil {
			return raised, err
		}
		raised++
	}
	return raised, nil
}

// EpochSubject cuts the stream's name out of a subject that EpochWildcard matched.
func EpochSubject(subject string) (stream string, ok bool) {
	return strings.CutPrefix(subject, epochLivePrefix)
}
