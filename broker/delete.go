package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/fanout"
)

// deletionsRead is how many of a channel's latest messages are searched for the
// marker of a message that is not there.
const deletionsRead = 256

// deleter is the publisher in whose name a marker's key is; no client has it.
const deleter = "\x00delete"

// Delete takes one message, with all its versions, out of its channel for good: its
// bytes in the log are overwritten. What it stores is a marker, which every cursor
// sees and whose position the receipt has. The marker comes first: whoever asked is
// answered, and can ask again, if what follows fails, and no message is ever gone of
// which nobody was told. Duplicate says that it was deleted before, as far as the
// channel's latest messages tell. The error wraps fanout.ErrNoMessage where there is
// no such message; others are those of Publish.
func (b *Broker) Delete(ctx context.Context, c fanout.Channel, offset uint64) (fanout.Receipt, error) {
	ns, err := b.checked(ctx, &fanout.Publication{Channel: c})
	if err != nil {
		return fanout.Receipt{}, err
	}
	s := ns.home(c)
	_, err = b.message(ctx, s, c, offset)
	if errors.Is(err, fanout.ErrNoMessage) {
		return b.deletedBefore(ctx, s, c, offset, err)
	}
	if err != nil {
		return fanout.Receipt{}, unavailable("delete from "+c.String(), err)
	}
	if err := b.letLeave(ctx, s); err != nil {
		return fanout.Receipt{}, err
	}
	r, err := b.markDeleted(ctx, c, offset)
	if err != nil {
		return r, err
	}
	if err := b.erase(ctx, s, c, offset); err != nil {
		// The marker is stored, so what is left must be taken for undecided.
		return r, fmt.Errorf("delete %d from %s: %w", offset, c, &fanout.OutcomeUnknownError{Cause: err})
	}
	return r, nil
}

func (b *Broker) markDeleted(ctx context.Context, c fanout.Channel, offset uint64) (fanout.Receipt, error) {
	target := strconv.FormatUint(offset, 10)
	p := &fanout.Publication{Channel: c, Key: target, Publisher: deleter}
	s, err := b.start(ctx, p, func(m *nats.Msg) {
		m.Header = nats.Header{hdrMsgID: {messageID(p)}, hdrKind: {kindDeleted}, hdrTarget: {target}}
	})
	return b.end1(ctx, s, err)
}

// erase removes a message's versions and then itself, so that a repetition finds what
// one that was interrupted left.
func (b *Broker) erase(ctx context.Context, s *stream, c fanout.Channel, offset uint64) error {
	q := fanout.Query{Source: fanout.Source{Stream: s.id(), Filter: c}, After: offset, Limit: batchMost}
	for more := true; more; {
		var list []*fanout.Message
		var err error
		if list, more, err = b.readMessages(ctx, s, q); err != nil {
			return err
		}
		for _, m := range list {
			q.After = m.Offset()
			if m.Updates != offset {
				continue
			}
			if err := b.remove(ctx, s, m.Offset()); err != nil {
				return err
			}
		}
	}
	return b.remove(ctx, s, offset)
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

// deletedBefore looks for the marker of a message that is not there.
func (b *Broker) deletedBefore(ctx context.Context, s *stream, c fanout.Channel, offset uint64, missing error) (fanout.Receipt, error) {
	none := fmt.Errorf("delete from %s: %w", c, missing)
	after, err := b.seekLast(ctx, s, s.filter(c), deletionsRead, 0)
	if err != nil {
		return fanout.Receipt{}, unavailable("delete from "+c.String(), err)
	}
	q := fanout.Query{Source: fanout.Source{Stream: s.id(), Filter: c}, After: after, Limit: deletionsRead}
	list, _, err := b.readMessages(ctx, s, q)
	if err != nil {
		return fanout.Receipt{}, unavailable("delete from "+c.String(), err)
	}
	for _, m := range list {
		if m.Kind == fanout.KindDeleted && m.Target == offset {
			return fanout.Receipt{Position: m.Position, Duplicate: true}, nil
		}
	}
	return fanout.Receipt{}, none
}
