package rivulet

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

var (
	// ErrClosed tells that the client was closed by Close.
	ErrClosed = errors.New("rivulet: client closed")
	// ErrNotConnected tells that Connect has not been called.
	ErrNotConnected = errors.New("rivulet: not connected; call Connect first")
	// ErrAlreadySubscribed tells that the client has a subscription to this very
	// channel or pattern.
	ErrAlreadySubscribed = errors.New("rivulet: already subscribed")
	// ErrHasCallbacks tells that the subscription is consumed by callbacks and cannot
	// be ranged over.
	ErrHasCallbacks = errors.New("rivulet: subscription has callbacks")
)

// Error is what a node answered, or how a connection ended.
type Error struct {
	// Code says what happened; its range says what to do (see protocol.Code). For an
	// answer over HTTP it is 4000 plus the status.
	Code    protocol.Code
	Message string
	// Field names the input at fault, where one is.
	Field string
	// Temporary says that the same may succeed later, not before RetryAfter.
	Temporary  bool
	RetryAfter time.Duration
	// Remedy says what to do next, where there is something to say.
	Remedy string
	// IdempotencyKey of the publish that failed: another with this key, channel and
	// content, within the namespace's window, is stored once.
	IdempotencyKey string

	cause error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rivulet: %d", e.Code)
	if e.Field != "" {
		b.WriteString(" " + e.Field)
	}
	message := e.Message
	if message == "" {
		message = e.Code.Reason()
	}
	b.WriteString(": " + message)
	if e.cause != nil {
		b.WriteString(": " + e.cause.Error())
	}
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Unwrap returns the cause, nil where the node's answer is all there is.
func (e *Error) Unwrap() error { return e.cause }

// GapError tells that messages of a subscription are gone for good: the log no
// longer has them. After a reset of a durable session none may be gone, and some come
// again: delivery does not go on where it was. It does not end the subscription.
type GapError struct {
	Channel string
	// Reason is retention, purged, log_changed or reset (protocol.Reason…).
	Reason string
	// Positions is where delivery goes on; one entry for a channel.
	Positions []string
}

func (e *GapError) Error() string {
	if e.Reason == protocol.ReasonReset {
		return fmt.Sprintf("rivulet: the durable session was put to another place in %s (reset); delivery goes on there", e.Channel)
	}
	return fmt.Sprintf("rivulet: messages of %s are gone (%s); delivery goes on after them", e.Channel, e.Reason)
}

// errorFrom turns an error event into an Error.
func errorFrom(e *protocol.ErrorEvent) *Error {
	return &Error{
		Code: e.Code, Message: e.Message, Field: e.Field,
		Temporary:  e.Temporary || e.Code.Temporary(),
		RetryAfter: retryAfter(e.RetryAfterMS),
		Remedy:     answerRemedy(e.Code, e.Field),
	}
}

// answerRemedy is the remedy for an answer. A refusal that names no field is a hook's,
// which says itself what is wrong.
func answerRemedy(c protocol.Code, field string) string {
	if c == protocol.ErrorForbidden && field == "" {
		return ""
	}
	return remedy(c)
}

// closeRemedy is the remedy for the end of a connection. A node that tells a reason of
// its own, and not the code's, says there what it is about.
func closeRemedy(c protocol.Code, reason string) string {
	own := reason == "" || reason == c.Reason()
	if !own && (c == protocol.CloseForbidden || c == protocol.CloseSuperseded) {
		return ""
	}
	return remedy(c)
}

// doing says what failed with err, whose own prefix is not repeated.
func doing(err error, format string, args ...any) error {
	return &doingError{what: fmt.Sprintf(format, args...), err: err}
}

type doingError struct {
	what string
	err  error
}

func (e *doingError) Error() string {
	return "rivulet: " + e.what + ": " + strings.TrimPrefix(e.err.Error(), "rivulet: ")
}

func (e *doingError) Unwrap() error { return e.err }

// maxRetryAfter bounds what a node can ask a client to wait.
const maxRetryAfter = 5 * time.Minute

func retryAfter(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), maxRetryAfter.Milliseconds())) * time.Millisecond
}

func remedy(c protocol.Code) string {
	switch c {
	case protocol.ErrorUnauthorized, protocol.CloseUnauthorized, protocol.CloseRevoked, protocol.ErrorTokenExpired:
		return "connect with a valid token"
	case protocol.ErrorForbidden, protocol.CloseForbidden, protocol.ErrorRevoked:
		return "use a token whose capabilities cover it"
	case protocol.ErrorTooLarge, protocol.CloseTooLarge:
		return "send less, or raise the node's limit"
	case protocol.CloseSuperseded:
		return "let one client at a time have the session"
	case protocol.CloseTooMany:
		return "send fewer commands at a time"
	}
	return ""
}

// lossError says why there is no connection, and what follows from it.
type lossError struct {
	err        error
	fatal      bool // do not come back
	ours       bool // the node sent what this client cannot read: backoff must grow
	retryAfter time.Duration
}

func (e *lossError) Error() string { return e.err.Error() }
func (e *lossError) Unwrap() error { return e.err }
