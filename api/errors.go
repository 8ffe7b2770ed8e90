package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// problem is an error as the caller sees it.
type problem struct {
	status     int
	message    string // what is wrong, and what to do where that is not plain
	field      string // of the request, at fault
	retryAfter time.Duration
	retryUntil time.Time
	challenge  string // WWW-Authenticate
}

func (p *problem) Error() string { return "api: " + p.message }

// appendData appends the error's data, null if there is none.
func (p *problem) appendData(b []byte) []byte {
	from := len(b)
	next := func(name string) {
		c := byte(',')
		if len(b) == from {
			c = '{'
		}
		b = append(append(append(b, c, '"'), name...), '"', ':')
	}
	if p.field != "" {
		next("field")
		b = appendString(b, p.field)
	}
	if p.retryAfter > 0 {
		next("retry_after_ms")
		b = strconv.AppendInt(b, (p.retryAfter + time.Millisecond - 1).Milliseconds(), 10) // who comes earlier is refused again
	}
	if !p.retryUntil.IsZero() {
		next("retry_until")
		b = strconv.AppendInt(b, p.retryUntil.UnixMilli(), 10)
	}
	if len(b) == from {
		return append(b, "null"...)
	}
	return append(b, '}')
}

// translation says how one error is shown.
type translation struct {
	err error
	problem
}

// table is the one place that gives errors their status; the first match counts. Who publishes trusts
// that 503 means "nothing was stored", and that only 504 leaves it open.
func table() []translation {
	const again = "; nothing was stored, send it again after Retry-After"
	return []translation{
		{fanout.ErrUnknownNamespace, problem{status: http.StatusNotFound, field: "channel", message: "the channel's namespace is not configured on this server; add namespaces.<name> to its configuration"}},
		{fanout.ErrNoPresence, problem{status: http.StatusUnprocessableEntity, field: "channel", message: "the channel's namespace has no presence; set namespaces.<name>.presence"}},
		{fanout.ErrTooLarge, problem{status: http.StatusRequestEntityTooLarge, field: "data", message: "the message is over the size limit of its namespace, namespaces.<name>.max_message_bytes"}},
		{fanout.ErrKeyConflict, problem{status: http.StatusConflict, field: "idempotency_key", message: "the idempotency key was used before with other content; nothing was stored, use a new key for a new message"}},
		{fanout.ErrExpectedOffset, problem{status: http.StatusConflict, field: "expected_offset", message: "the channel's last message has another offset; nothing was stored, read the channel and decide again"}},
		{fanout.ErrNoMessage, problem{status: http.StatusNotFound, field: "updates", message: "the channel has no message at that offset; nothing was stored"}},
		{fanout.ErrNotAtomic, problem{status: http.StatusUnprocessableEntity, field: "channel", message: "an atomic batch is of one channel, or of channels of one namespace that has one partition"}},
		{fanout.ErrSchedulesFull, problem{status: http.StatusServiceUnavailable, retryAfter: time.Minute, message: "as many messages are scheduled as the log holds" + again}},
		{hook.ErrUnavailable, problem{status: http.StatusServiceUnavailable, retryAfter: 2 * time.Second, message: "the hook that decides about the message gives no answer" + again}},
		{fanout.ErrTooBusy, problem{status: http.StatusServiceUnavailable, retryAfter: time.Second, message: "too many messages at once" + again}},
		{fanout.ErrDiskFull, problem{status: http.StatusServiceUnavailable, retryAfter: 30 * time.Second, message: "the log is out of disk space" + again}},
		{fanout.ErrUnavailable, problem{status: http.StatusServiceUnavailable, retryAfter: 2 * time.Second, message: "the log cannot be reached" + again}},
		{fanout.ErrClosed, problem{status: http.StatusServiceUnavailable, retryAfter: time.Second, message: "the server is stopping" + again}},
		{fanout.ErrNoSession, problem{status: http.StatusNotFound, field: "session", message: "the user has no such durable session; it may have expired"}},
		{auth.ErrMissing, problem{status: http.StatusUnauthorized, challenge: `Bearer realm="rivulet"`, message: "a token is needed; send it as Authorization: Bearer <token>"}},
		{auth.ErrExpired, problem{status: http.StatusUnauthorized, challenge: `Bearer realm="rivulet", error="invalid_token"`, message: "the token has expired; get a fresh one"}},
		{auth.ErrRevoked, problem{status: http.StatusUnauthorized, challenge: `Bearer realm="rivulet", error="invalid_token"`, message: "the token has been revoked"}},
		{auth.ErrUnavailable, problem{status: http.StatusServiceUnavailable, retryAfter: 2 * time.Second, message: "the keys to verify the token cannot be had at the moment" + again}},
		{auth.ErrInvalid, problem{status: http.StatusUnauthorized, challenge: `Bearer realm="rivulet", error="invalid_token"`, message: "the token is invalid"}},
		{context.DeadlineExceeded, problem{status: http.StatusGatewayTimeout, retryAfter: time.Second, message: "there was no answer in time; it may or may not have been done, and it is safe to ask again"}},
		{context.Canceled, problem{status: http.StatusGatewayTimeout, message: "the request was given up; it may or may not have been done, and it is safe to ask again"}},
	}
}

// translate turns any error into what the caller is told; what it does not know is
// 500 without its text.
func translate(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if no, ok := errors.AsType[*hook.DeniedError](err); ok {
		return &problem{status: http.StatusForbidden, message: no.Message}
	}
	if e, ok := errors.AsType[*limit.Error](err); ok {
		return overLimit(e)
	}
	if e, ok := errors.AsType[*fanout.OutcomeUnknownError](err); ok {
		return outcomeUnknown(e.RetryUntil)
	}
	if e, ok := errors.AsType[*fanout.InputError](err); ok {
		return badInput(e.Field, e.Problem)
	}
	if e, ok := errors.AsType[*fanout.SizeError](err); ok {
		return &problem{status: http.StatusRequestEntityTooLarge, field: "data", message: "data: " + e.Problem}
	}
	if e, ok := errors.AsType[*fanout.RoomError](err); ok {
		return &problem{status: http.StatusNotFound, field: "channel", message: e.Problem}
	}
	if e, ok := errors.AsType[*protocol.DecodeError](err); ok {
		return badInput(e.Field, e.Problem)
	}
	if e, ok := errors.AsType[*fanout.ExpectedOffsetError](err); ok {
		return &problem{
			status: http.StatusConflict, field: "expected_offset",
			message: "the channel's last message has the offset " + strconv.FormatUint(e.Last, 10) + "; nothing was stored, read what is new and decide again",
		}
	}
	if t := firstIn(table(), err); t != nil {
		if t.status == http.StatusUnauthorized && errors.Is(err, auth.ErrInvalid) {
			t.message = strings.TrimPrefix(err.Error(), "auth: ") // says why, and is meant to be shown
		}
		if _, why, ok := strings.Cut(err.Error(), auth.ErrMissing.Error()+": "); ok && errors.Is(err, auth.ErrMissing) {
			t.message += ": " + why
		}
		return &t.problem
	}
	return &problem{status: http.StatusInternalServerError, message: "an internal error; the server's log has it under this response's X-Request-Id"}
}

func badInput(field, what string) *problem {
	return &problem{status: http.StatusBadRequest, field: field, message: field + ": " + what}
}

// overLimit is what a caller is told who has done too much, or for whom the node can do
// no more.
func overLimit(e *limit.Error) *problem {
	p := &problem{status: http.StatusTooManyRequests, field: e.Field, message: e.Problem, retryAfter: e.RetryAfter}
	if e.Node {
		p.status = http.StatusServiceUnavailable
	}
	return p
}

func outcomeUnknown(retryUntil time.Time) *problem {
	if retryUntil.IsZero() {
		return &problem{status: http.StatusGatewayTimeout, message: "the message may or may not be stored: its acknowledgement was lost. It had no idempotency key, so a retry may store it twice"}
	}
	return &problem{
		status: http.StatusGatewayTimeout, retryAfter: time.Second, retryUntil: retryUntil,
		message: "the message may or may not be stored: its acknowledgement was lost; retry with the same idempotency key before retry_until, and it is stored once",
	}
}

// publishError keeps the table from calling a publish that ran out of time safe to
// repeat: without a word from the log the outcome is unknown. An error that also
// names one of the table's reasons for which nothing was stored is left alone.
func publishError(err error) error {
	if _, known := errors.AsType[*fanout.OutcomeUnknownError](err); known || err == nil {
		return err
	}
	if errors.Is(err, fanout.ErrOutcomeUnknown) || isContextError(firstIn(table(), err)) {
		return &fanout.OutcomeUnknownError{Cause: err}
	}
	return err
}

// purgeError says of a purge that nobody can vouch for what is true of it, and not
// of a message.
func purgeError(err error) error {
	if errors.Is(publishError(err), fanout.ErrOutcomeUnknown) {
		return &problem{status: http.StatusGatewayTimeout, retryAfter: time.Second, message: "the channel may or may not be empty: the acknowledgement was lost; purge it again"}
	}
	return err
}

// firstIn returns the table's row for err, nil if there is none.
func firstIn(rows []translation, err error) *translation {
	for i := range rows {
		if errors.Is(err, rows[i].err) {
			return &rows[i]
		}
	}
	return nil
}

// readError takes out of what is true of a publish what makes no sense of a read.
func readError(err error) error {
	unavailable := func(after time.Duration, message string) error {
		return &problem{status: http.StatusServiceUnavailable, retryAfter: after, message: message}
	}
	switch {
	case errors.Is(err, fanout.ErrTooBusy):
		return unavailable(time.Second, "the log is busy; try again after Retry-After")
	case errors.Is(err, fanout.ErrDiskFull): // of what is written on the way, as for a durable session
		return unavailable(30*time.Second, "the log is out of disk space; try again after Retry-After")
	case errors.Is(err, fanout.ErrUnavailable):
		return unavailable(2*time.Second, "the log cannot be reached; try again after Retry-After")
	case errors.Is(err, fanout.ErrClosed):
		return unavailable(time.Second, "the server is stopping; try again after Retry-After")
	}
	return err
}

func isContextError(t *translation) bool {
	return t != nil && (errors.Is(t.err, context.DeadlineExceeded) || errors.Is(t.err, context.Canceled))
}
