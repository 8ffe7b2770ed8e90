package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/protocol"
	"github.com/rivulet-rt/rivulet/session/limit"
)

// Why a connection is not admitted.
var (
	// ErrFull: the node has Config.MaxConnections.
	ErrFull = errors.New("session: the node has as many connections as it may; try another, or later")
	// ErrDraining: the node is shutting down.
	ErrDraining = errors.New("session: the node is shutting down; try another, or later")
)

// errNotConnected answers a command before the connect that was needed.
var errNotConnected = errors.New("session: not connected: the first command must be connect, with a token")

// refusal is one row of the table that turns errors into protocol codes.
type refusal struct {
	err   error
	code  protocol.Code
	text  string // "" is the error's own, which then is safe to show
	field string
	retry time.Duration // of temporary ones: not before
}

// refusals is the one place where errors become codes. The first match counts.
func refusals() []refusal {
	return []refusal{
		{err: fanout.ErrOutcomeUnknown, code: protocol.ErrorOutcomeUnknown, retry: time.Second},
		{err: fanout.ErrUnknownNamespace, code: protocol.ErrorNotFound, text: "the channel's namespace is not configured on this server; add namespaces.<name> to its configuration", field: "channel"},
		{err: fanout.ErrUnavailable, code: protocol.ErrorUnavailable, text: "the log cannot be reached; nothing was stored", retry: time.Second},
		{err: fanout.ErrTooBusy, code: protocol.ErrorTooManyRequests, text: "the log is busy; nothing was stored", retry: 500 * time.Millisecond},
		{err: fanout.ErrDiskFull, code: protocol.ErrorUnavailable, text: "the log is out of disk space; nothing was stored", retry: 5 * time.Second},
		{err: fanout.ErrKeyConflict, code: protocol.ErrorConflict, text: "the key was used before with other content; use a new key for a new message", field: "idempotency_key"},
		{err: fanout.ErrExpectedOffset, code: protocol.ErrorConflict, text: "the channel's last message has another offset; nothing was stored, read the channel and decide again", field: "expected_offset"},
		{err: fanout.ErrNoMessage, code: protocol.ErrorNotFound, text: "the channel has no message at that offset; nothing was stored", field: "updates"},
		{err: fanout.ErrSchedulesFull, code: protocol.ErrorUnavailable, text: "as many messages are scheduled as the log holds; nothing was stored", retry: time.Minute},
		{err: fanout.ErrTooLarge, code: protocol.ErrorTooLarge, text: "the message is over the size limit of its namespace, namespaces.<name>.max_message_bytes", field: "data"},
		{err: fanout.ErrTooManyFilters, code: protocol.ErrorTooManyRequests, text: "the node has as many different filters as it may; use one that others use, or come back later", field: "filter", retry: 5 * time.Second},
		{err: fanout.ErrAlreadySubscribed, code: protocol.ErrorConflict, text: "this connection is already subscribed to it; unsubscribe first", field: "channel"},
		{err: fanout.ErrNoPresence, code: protocol.ErrorNotSupported, text: "the channel's namespace has no presence (namespaces.<name>.presence)", field: "channel"},
		{err: fanout.ErrNotSubscribed, code: protocol.ErrorNotFound, text: "this connection is not subscribed to it", field: "channel"},
		{err: fanout.ErrToken, code: protocol.ErrorNotFound, text: "no message waits under this token: it was settled, or its time is up", field: "token"},
		{err: fanout.ErrNoGroup, code: protocol.ErrorNotFound, text: "there is no such group; it was deleted, or has expired", field: "group"},
		{err: fanout.ErrTooMany, code: protocol.ErrorTooManyRequests, field: "group", retry: time.Minute},
		{err: fanout.ErrClosed, code: protocol.ErrorUnavailable, text: "the node is shutting down", retry: time.Second},
		{err: hook.ErrUnavailable, code: protocol.ErrorUnavailable, text: "the hook that decides about it gives no answer; nothing was stored", retry: 2 * time.Second},
		{err: ErrFull, code: protocol.ErrorUnavailable, text: "the node has as many connections as it may", retry: 5 * time.Second},
		{err: ErrDraining, code: protocol.ErrorUnavailable, text: "the node is shutting down", retry: 2 * time.Second},
		{err: fanout.ErrSuperseded, code: protocol.ErrorConflict, text: "the durable session belongs to a newer connection", field: "session"},
		{err: fanout.ErrSessionsOff, code: protocol.ErrorNotSupported, text: "the channel's namespace keeps no durable sessions (session_store is off)", field: "durable"},
		{err: errNotConnected, code: protocol.ErrorUnauthorized, text: "not connected: the first command must be connect, with a token"},
		{err: auth.ErrMissing, code: protocol.ErrorUnauthorized, text: "a token is needed", field: "token"},
		{err: auth.ErrExpired, code: protocol.ErrorUnauthorized, field: "token"},
		{err: auth.ErrRevoked, code: protocol.ErrorUnauthorized, field: "token"},
		{err: auth.ErrUnavailable, code: protocol.ErrorUnavailable, text: "the keys to verify the token cannot be had at the moment; try again later", field: "token", retry: 2 * time.Second},
		{err: auth.ErrInvalid, code: protocol.ErrorUnauthorized, field: "token"},
		{err: context.DeadlineExceeded, code: protocol.ErrorTimeout, text: "no answer in time; the outcome is unknown", retry: time.Second},
		{err: context.Canceled, code: protocol.ErrorUnavailable, text: "the node is shutting down", retry: time.Second},
	}
}

// problem is a refusal that knows its own code.
type problem struct{ event protocol.ErrorEvent }

func (p *problem) Error() string { return "session: " + p.event.Message }

// denied reports whether a hook has said no.
func denied(err error) bool {
	_, no := errors.AsType[*hook.DeniedError](err)
	return no
}

func refuse(code protocol.Code, field, format string, args ...any) error {
	return &problem{protocol.ErrorEvent{Code: code, Field: field, Message: fmt.Sprintf(format, args...), Temporary: code.Temporary()}}
}

// limitRetry is when asking again may find a limit that has room.
const limitRetry = 30 * time.Second

// ErrorEvent turns whatever a command ended with into what its sender is told.
// The text of errors that are not known is not shown.
func ErrorEvent(err error) *protocol.ErrorEvent {
	if p, ok := errors.AsType[*problem](err); ok {
		return &p.event
	}
	if e, ok := errors.AsType[*limit.Error](err); ok {
		return limited(e)
	}
	if limit, ok := errors.AsType[*fanout.LimitError](err); ok {
		if limit.Lasting {
			return &protocol.ErrorEvent{Code: protocol.ErrorForbidden, Field: limit.Field, Message: limit.Problem}
		}
		return &protocol.ErrorEvent{
			Code: protocol.ErrorTooManyRequests, Field: limit.Field, Message: limit.Problem,
			Temporary: protocol.ErrorTooManyRequests.Temporary(), RetryAfterMS: limitRetry.Milliseconds(),
		}
	}
	if in, ok := errors.AsType[*fanout.InputError](err); ok {
		return &protocol.ErrorEvent{Code: protocol.ErrorBadRequest, Field: in.Field, Message: in.Problem}
	}
	if size, ok := errors.AsType[*fanout.SizeError](err); ok {
		return &protocol.ErrorEvent{Code: protocol.ErrorTooLarge, Field: "data", Message: size.Problem}
	}
	if room, ok := errors.AsType[*fanout.RoomError](err); ok {
		return &protocol.ErrorEvent{Code: protocol.ErrorNotFound, Field: "channel", Message: room.Problem}
	}
	if in, ok := errors.AsType[*protocol.DecodeError](err); ok {
		return &protocol.ErrorEvent{Code: protocol.ErrorBadRequest, Field: in.Field, Message: in.Problem}
	}
	if no, ok := errors.AsType[*hook.DeniedError](err); ok {
		return &protocol.ErrorEvent{Code: protocol.ErrorForbidden, Message: no.Message}
	}
	row := refusal{code: protocol.ErrorInternal, text: "internal error", retry: time.Second}
	for _, r := range refusals() {
		if errors.Is(err, r.err) {
			row = r
			break
		}
	}
	if row.text == "" {
		row.text = strings.TrimPrefix(err.Error(), "auth: ")
	}
	if _, why, ok := strings.Cut(err.Error(), auth.ErrMissing.Error()+": "); ok && errors.Is(err, auth.ErrMissing) {
		row.text += ": " + why
	}
	if expected, ok := errors.AsType[*fanout.ExpectedOffsetError](err); ok {
		row.text = fmt.Sprintf("the channel's last message has the offset %d; nothing was stored, read what is new and decide again", expected.Last)
	}
	if unknown, ok := errors.AsType[*fanout.OutcomeUnknownError](err); ok {
		row.text = unknownText(unknown)
	}
	return &protocol.ErrorEvent{
		Code: row.code, Field: row.field, Message: row.text,
		Temporary: row.code.Temporary(), RetryAfterMS: row.retry.Milliseconds(),
	}
}

// ReadErrorEvent is ErrorEvent for what stores nothing, a subscription or a history:
// there is no message to be told of.
func ReadErrorEvent(err error) *protocol.ErrorEvent {
	ev := *ErrorEvent(err)
	if rest, ok := strings.CutSuffix(ev.Message, "; nothing was stored"); ok {
		ev.Message = rest + "; try again"
	}
	return &ev
}

func unknownText(err *fanout.OutcomeUnknownError) string {
	if err.RetryUntil.IsZero() {
		return "the message may or may not be stored; without an idempotency_key a retry may store it twice"
	}
	return "the message may or may not be stored; repeat it with the same idempotency_key before " +
		err.RetryUntil.UTC().Format(time.RFC3339)
}

// httpStatus is the HTTP status of an error code: 4404 is 404.
func httpStatus(code protocol.Code) int {
	if code >= 4400 && code < 4600 {
		return int(code) - 4000
	}
	return http.StatusInternalServerError
}
