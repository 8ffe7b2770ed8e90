package fanout

import (
	"errors"
	"fmt"
	"time"
)

// What publishing, subscribing and reading can answer. broker and fanout return
// them (wrapped); api and session translate them, each in one table.
var (
	// ErrUnknownNamespace: the namespace is not configured.
	ErrUnknownNamespace = errors.New("fanout: unknown namespace")
	// ErrUnavailable: the log cannot be reached or refuses writes. Nothing was stored.
	ErrUnavailable = errors.New("fanout: log unavailable, nothing was stored")
	// ErrTooBusy: the log's ingest is full. Nothing was stored.
	ErrTooBusy = errors.New("fanout: log too busy, nothing was stored")
	// ErrDiskFull: the log has no room. Nothing was stored.
	ErrDiskFull = errors.New("fanout: log out of disk space, nothing was stored")
	// ErrOutcomeUnknown: the acknowledgement was lost; the message may be stored.
	// It is always wrapped in an *OutcomeUnknownError.
	ErrOutcomeUnknown = errors.New("fanout: publish outcome unknown")
	// ErrKeyConflict: the idempotency key was used before, with other content.
	ErrKeyConflict = errors.New("fanout: idempotency key used with other content")
	// ErrTooLarge: the message is over the namespace's size limit.
	ErrTooLarge = errors.New("fanout: message too large")
	// ErrAlreadySubscribed: the client has a subscription to this channel or pattern.
	ErrAlreadySubscribed = errors.New("fanout: already subscribed")
	// ErrNotSubscribed: the client has no such subscription.
	ErrNotSubscribed = errors.New("fanout: not subscribed")
	// ErrNoPresence: the channel's namespace has no presence.
	ErrNoPresence = errors.New("fanout: the namespace has no presence")
	// ErrClosed: the hub or broker is stopping.
	ErrClosed = errors.New("fanout: closed")
)

// InputError is bad input: Field names the input at fault, Problem says what is
// wrong and what would be right. Its text is safe to show to the sender.
type InputError struct {
	Field   string
	Problem string
}

func (e *InputError) Error() string { return e.Field + ": " + e.Problem }

func badInput(field, format string, args ...any) *InputError {
	return &InputError{Field: field, Problem: fmt.Sprintf(format, args...)}
}

// OutcomeUnknownError wraps ErrOutcomeUnknown. A retry with the same
// idempotency key is stored once if it arrives before RetryUntil, which is zero
// where the message had no key and so no retry is safe.
type OutcomeUnknownError struct {
	RetryUntil time.Time
	Cause      error
}

func (e *OutcomeUnknownError) Error() string {
	return fmt.Sprintf("%v: %v", ErrOutcomeUnknown, e.Cause)
}

// Unwrap makes errors.Is match ErrOutcomeUnknown and the cause.
func (e *OutcomeUnknownError) Unwrap() []error { return []error{ErrOutcomeUnknown, e.Cause} }

// Why a repair reads again.
var (
	errEpochRaised = errors.New("fanout: the log changed, its epoch was raised")
	errMoved       = errors.New("fanout: the log moved while it was read")
)
