package rivulet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// Publish stores one message and returns when it is stored. data is any value
// that json.Marshal takes, a json.RawMessage as it is, or a []byte, which travels
// as bytes.
//
// Where the connection is lost or the node is unable for now, Publish tries again
// with the same idempotency key until ctx ends, so the message is stored once.
// Only where an earlier attempt may have been stored and Options.DedupeWindow has
// passed since, it gives up. Errors are *Error with the key, and wrap ctx's error
// where it ended: with code 4504 the message may be stored, with any other it is
// not.
func (c *Client) Publish(ctx context.Context, channel string, data any, opts PublishOptions) (Published, error) {
	raw, b, err := encodeData(data)
	if err != nil {
		return Published{}, err
	}
	key := opts.IdempotencyKey
	if key == "" {
		key = rand.Text()
	}
	cmd := &protocol.PublishCommand{Channel: canonical(channel), Data: raw, Bytes: b, IdempotencyKey: key, Headers: opts.Headers}
	if err := opts.put(cmd); err != nil {
		return Published{}, err
	}
	a := attempts{key: key, window: c.opts.DedupeWindow, backoff: c.opts.Backoff, over: c.ended}
	for {
		e, err := c.publishOnce(ctx, cmd, &a)
		switch {
		case err == nil && e.Published == nil:
			return Published{}, errUnexpectedReply
		case err == nil:
			return published(e.Published, key), nil
		}
		if err := a.again(ctx, err); err != nil {
			return Published{}, err
		}
	}
}

func (c *Client) publishOnce(ctx context.Context, cmd *protocol.PublishCommand, a *attempts) (*protocol.Event, error) {
	waiting, cancel := a.context(ctx)
	defer cancel()
	l, err := c.connected(waiting)
	if ctx.Err() == nil && (err == nil || waiting.Err() != nil) {
		if expired := a.expired(); expired != nil {
			err = expired
		}
	}
	if err != nil {
		return nil, &endError{err}
	}
	began := time.Now()
	e, sent, err := l.call(ctx, &protocol.Command{Publish: cmd}, c.opts.ReplyTimeout)
	if err != nil && sent {
		a.noteUnknown(began, err)
	}
	return e, err
}

// endError: there is no sense in another attempt.
type endError struct{ error }

func (e *endError) Unwrap() error { return e.error }

var errWindow = errors.New("the window of the idempotency key is over")

// attempts decides whether a publish may be tried again. Not safe for concurrent use.
type attempts struct {
	key      string
	window   time.Duration
	backoff  Backoff
	over     <-chan struct{} // closed when there is nobody to send it any more; may be nil
	failures int
	unknown  time.Time // start of the first attempt that may have been stored; zero if none
}

// noteUnknown notes that the attempt that began then may have been stored, unless
// err is a clear refusal.
func (a *attempts) noteUnknown(began time.Time, err error) {
	if e, answered := errors.AsType[*Error](err); answered && !leavesOpen(e.Code) {
		return
	}
	if a.unknown.IsZero() {
		a.unknown = began
	}
}

// leavesOpen reports whether a publish answered with c may have been stored.
func leavesOpen(c protocol.Code) bool {
	return c == protocol.ErrorTimeout || c >= 4500 && c <= 4599 && c != protocol.ErrorUnavailable
}

// limit is until when another attempt cannot store the message twice. The last
// eighth of the window is left for the attempt itself to arrive.
func (a *attempts) limit() time.Time { return a.unknown.Add(a.window - a.window/8) }

func (a *attempts) expired() error {
	if !a.unknown.IsZero() && time.Now().After(a.limit()) {
		return errWindow
	}
	return nil
}

// context ends with ctx, and when no further attempt may be made.
func (a *attempts) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.unknown.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, a.limit(), errWindow)
}

// again waits before the next attempt, or returns why there is none.
func (a *attempts) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return a.given(ctx.Err())
	}
	if end, ok := errors.AsType[*endError](err); ok {
		return a.given(end.error)
	}
	var retryAfter time.Duration
	if e, answered := errors.AsType[*Error](err); answered {
		if !e.Temporary {
			return a.refused(e)
		}
		retryAfter = e.RetryAfter
	}
	a.failures++
	waiting, cancel := a.context(ctx)
	defer cancel()
	pauseUntil(waiting, a.over, a.backoff.wait(a.failures, retryAfter))
	if waiting.Err() != nil {
		return a.given(errors.Join(context.Cause(waiting), err))
	}
	return nil
}

// refused is the error of a publish that the node refuses for good.
func (a *attempts) refused(e *Error) error {
	if !a.unknown.IsZero() {
		return a.given(e) // an earlier attempt may have been stored
	}
	e = new(*e)
	e.IdempotencyKey = a.key
	return e
}

// given is the error of a publish that ends for cause.
func (a *attempts) given(cause error) error {
	if a.unknown.IsZero() {
		return &Error{Code: protocol.ErrorUnavailable, Message: "the message was not stored", IdempotencyKey: a.key, cause: cause}
	}
	return &Error{
		Code: protocol.ErrorOutcomeUnknown, Message: "it is not known whether the message was stored", IdempotencyKey: a.key, cause: cause,
		Remedy: fmt.Sprintf("publish again with the idempotency key %s before %s, or read the history", a.key, a.unknown.Add(a.window).Format(time.TimeOnly)),
	}
}
