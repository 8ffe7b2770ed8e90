package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

// deleter is the publisher in whose name a marker's key is; no client has it.
const deleter = "\x00delete"

// Delete takes one message, with all its versions, out of its channel for good: its
// bytes in the log are overwritten. What it stores is a marker, which every cursor
// sees and whose position the receipt has. The marker comes first: whoever asked is
// answered, and can ask again, if what follows fails, and no message is ever gone of
// which nobody was told. Duplicate says that it was deleted before; what an earlier
// deletion may have left is then erased as well. The error wraps fanout.ErrNoMessage
// where there is no such message; others are those of Publish. An erasure goes on when
// ctx ends, which leaves the outcome unknown; to ask again waits for the same one.
func (b *Broker) Delete(ctx context.Context, c fanout.Channel, offset uint64) (fanout.Receipt, error) {
	ns, err := b.checked(ctx, &fanout.Publication{Channel: c})
	if err != nil {
		return fanout.Receipt{}, err
	}
	s := ns.home(c)
	_, missing := b.message(ctx, s, c, offset)
	if missing != nil && !errors.Is(missing, fanout.ErrNoMessage) {
		return fanout.Receipt{}, unavailable("delete from "+c.String(), missing)
	}
	if err := b.letLeave(ctx, s); err != nil {
		return fanout.Receipt{}, err
	}
	var r fanout.Receipt
	if missing == nil {
		if r, err = b.markDeleted(ctx, c, offset); err != nil {
			return r, err
		}
	}
	marker, err := b.erasures.erase(ctx, b, s, c, offset)
	switch {
	case err != nil && missing == nil:
		// The marker is stored, so what is left must be taken for undecided.
		return r, fmt.Errorf("delete %d from %s: %w", offset, c, &fanout.OutcomeUnknownError{Cause: err})
	case err != nil:
		return r, unavailable("delete from "+c.String(), err)
	case missing == nil:
		return r, nil
	case marker.IsZero():
		return r, fmt.Errorf("delete from %s: %w", c, missing)
	}
	return fanout.Receipt{Position: marker, Duplicate: true}, nil
}

func (b *Broker) markDeleted(ctx context.Context, c fanout.Channel, offset uint64) (fanout.Receipt, error) {
	target := strconv.FormatUint(offset, 10)
	p := &fanout.Publication{Channel: c, Key: target, Publisher: deleter}
	s, err := b.start(ctx, p, func(m *nats.Msg) {
		m.Header = nats.Header{hdrMsgID: {messageID(p)}, hdrKind: {kindDeleted}, hdrTarget: {target}}
	})
	return b.end1(ctx, s, err)
}

// remove overwrites one stored message. It is no error if it is gone.
func (b *Broker) remove(ctx context.Context, s *stream, offset uint64) error {
	_, err := b.drop(ctx, s.name, offset, true)
	return err
}

// drop removes one message of a stream, and reports whether it was this call that did.
// To erase it as well takes the server milliseconds.
func (b *Broker) drop(ctx context.Context, stream string, seq uint64, erase bool) (bool, error) {
	request := struct {
		Seq     uint64 `json:"seq"`
		NoErase bool   `json:"no_erase,omitempty"`
	}{seq, !erase}
	var answer struct {
		Error *apiError `json:"error"`
	}
	if err := b.api(ctx, "STREAM.MSG.DELETE."+stream, request, &answer); err != nil {
		return false, err
	}
	if answer.Error == nil {
		return true, nil
	}
	_, e, err := b.readLeading(ctx, stream, getRequest{Seq: seq})
	if err == nil && e != nil && e.ErrCode == codeNoMessage {
		return false, nil
	}
	return false, errors.Join(answer.Error, err)
}
