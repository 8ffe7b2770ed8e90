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
	// ErrExpectedOffset: the channel's last message is not the one that Publication.
	// Expected names. Nothing was stored.
	ErrExpectedOffset = errors.New("fanout: the channel's last offset is not the expected one")
	// ErrNoMessage: the message that an offset names is not stored in the channel.
	ErrNoMessage = errors.New("fanout: no such message")
	// ErrSchedulesFull: as many messages are scheduled as the log holds. Nothing was
	// stored.
	ErrSchedulesFull = errors.New("fanout: too many messages are scheduled, nothing was stored")
	// ErrNotAtomic: the messages of an atomic batch are not of one stream. Nothing was
	// stored.
	ErrNotAtomic = errors.New("fanout: an atomic batch is of one channel, or of a namespace with one partition")
	// ErrNoSchedule: nothing waits under the ID.
	ErrNoSchedule = errors.New("fanout: no such schedule")
	// ErrScheduleDue: the message is due, and may be on its way already.
	ErrScheduleDue = errors.New("fanout: the scheduled message is due")
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

// SizeError is ErrTooLarge where it is known what is, and what the limit is. The text of
// Problem is safe to show to the sender.
type SizeError struct{ Problem string }

func (e *SizeError) Error() string { return ErrTooLarge.Error() + ": " + e.Problem }

// Unwrap makes it ErrTooLarge.
func (e *SizeError) Unwrap() error { return ErrTooLarge }

// RoomError is ErrUnknownNamespace on a node that makes namespaces at their first use,
// where the log has no room for another: asking again does not help. Problem says what
// does, and is safe to show to the sender.
type RoomError struct {
	Namespace string
	Problem   string
}

func (e *RoomError) Error() string { return ErrUnknownNamespace.Error() + ": " + e.Problem }

// Unwrap makes it ErrUnknownNamespace.
func (e *RoomError) Unwrap() error { return ErrUnknownNamespace }

// BatchError is why an atomic batch was not stored. Index is the message at fault, -1
// where it is not one of them, or not known which.
type BatchError struct {
	Index int
	Err   error
}

func (e *BatchError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("fanout: atomic batch: %v", e.Err)
	}
	return fmt.Sprintf("fanout: atomic batch, message %d: %v", e.Index, e.Err)
}

// Unwrap is what happened.
func (e *BatchError) Unwrap() error { return e.Err }

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
