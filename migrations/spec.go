package migrations

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Defaults of a namespace.
const (
	DefaultPartitions      = 16
	DefaultReplicas        = 1
	DefaultMaxAge          = 24 * time.Hour
	DefaultMaxPerChannel   = 100_000
	DefaultMaxBytes        = 1 << 30
	DefaultMaxMessageBytes = 256 << 10
	DefaultDuplicateWindow = 2 * time.Minute
	DefaultMaxConsumers    = 10_000
)

// Bounds of a namespace.
const (
	maxPartitions   = 256
	maxMessageBytes = 4 << 20
	minAge          = time.Second
	minWindow       = 100 * time.Millisecond
	maxWindow       = 24 * time.Hour
	// HeaderRoom is what a stored message may need beside its data: the names of
	// its publisher, its headers and what the server adds.
	HeaderRoom = 32 << 10
)

// Spec is what the configuration says of a namespace. A zero field is the
// default; where unlimited is possible, it is written as a negative number.
type Spec struct {
	Name string `json:"name"`
	// Partitions of the log, 1 to 256. Fixed when the namespace is created.
	Partitions int `json:"partitions"`
	// Replicas of every stream: 1, 3 or 5.
	Replicas int `json:"replicas"`
	// MaxAge of a message; negative is unlimited.
	MaxAge time.Duration `json:"max_age"`
	// MaxPerChannel is how many messages of one channel are kept; negative is
	// unlimited.
	MaxPerChannel int64 `json:"max_per_channel"`
	// MaxBytes of the whole namespace, divided by its partitions. Reserved from the
	// disk budget. A namespace always has such a limit.
	MaxBytes int64 `json:"max_bytes"`
	// MaxMessageBytes is the largest data of one message.
	MaxMessageBytes int `json:"max_message_bytes"`
	// DuplicateWindow is how long an idempotency key is remembered; never longer
	// than MaxAge.
	DuplicateWindow time.Duration `json:"duplicate_window"`
	// MaxConsumers of one stream.
	MaxConsumers int `json:"max_consumers"`
}

// WithDefaults fills in what is not set.
func (s Spec) WithDefaults() Spec {
	setDefault(&s.Partitions, DefaultPartitions)
	setDefault(&s.Replicas, DefaultReplicas)
	setDefault(&s.MaxAge, DefaultMaxAge)
	setDefault(&s.MaxPerChannel, DefaultMaxPerChannel)
	setDefault(&s.MaxBytes, DefaultMaxBytes)
	setDefault(&s.MaxMessageBytes, DefaultMaxMessageBytes)
	setDefault(&s.DuplicateWindow, DefaultDuplicateWindow)
	setDefault(&s.MaxConsumers, DefaultMaxConsumers)
	s.MaxAge, s.MaxPerChannel = max(s.MaxAge, -1), max(s.MaxPerChannel, -1)
	if s.MaxAge > 0 {
		s.DuplicateWindow = min(s.DuplicateWindow, s.MaxAge)
	}
	return s
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// FieldError is what is wrong with one field of a Spec; it wraps ErrInvalidSpec.
type FieldError struct {
	Namespace string
	Field     string // as in JSON
	Problem   string // has the value, and what is right, in the units that people type
}

// Error implements error.
func (e *FieldError) Error() string {
	return fmt.Sprintf("%v %q: %s: %s", ErrInvalidSpec, e.Namespace, e.Field, e.Problem)
}

// Unwrap makes it ErrInvalidSpec.
func (e *FieldError) Unwrap() error { return ErrInvalidSpec }

// Validate checks a spec with its defaults filled in, and joins everything that is
// wrong, a FieldError each.
func (s Spec) Validate() error {
	var errs []error
	check := func(ok bool, field, problem string, args ...any) {
		if !ok {
			errs = append(errs, &FieldError{Namespace: s.Name, Field: field, Problem: fmt.Sprintf(problem, args...)})
		}
	}
	partitions := s.Partitions >= 1 && s.Partitions <= maxPartitions
	message := s.MaxMessageBytes >= 1 && s.MaxMessageBytes <= maxMessageBytes
	check(validName(s.Name), "name", "%.64q must have 1 to 32 characters of a-z, 0-9 and -", s.Name)
	check(partitions, "partitions", "%d must be from 1 to %d", s.Partitions, maxPartitions)
	check(s.Replicas == 1 || s.Replicas == 3 || s.Replicas == 5, "replicas", "%d is not one of 1, 3, 5", s.Replicas)
	check(s.MaxAge < 0 || s.MaxAge >= minAge, "max_age", "%v must be at least %v, or unlimited", span(s.MaxAge), span(minAge))
	check(s.MaxPerChannel != 0, "max_per_channel", "%d must be at least 1, or -1 for unlimited", s.MaxPerChannel)
	check(message, "max_message_bytes", "%v must be from 1 to %v", size(s.MaxMessageBytes), size(maxMessageBytes))
	if partitions && message { // else the bound would be as wrong as they are
		check(s.MaxBytes >= s.leastBytes(), "max_bytes", "%v must be at least %v: room for one largest message in each of %d partitions",
			size(s.MaxBytes), size(s.leastBytes()), s.Partitions)
	}
	check(s.DuplicateWindow >= minWindow && s.DuplicateWindow <= maxWindow, "duplicate_window", "%v must be from %v to %v",
		span(s.DuplicateWindow), span(minWindow), span(maxWindow))
	check(s.MaxConsumers >= 1, "max_consumers", "%d must be at least 1", s.MaxConsumers)
	return errors.Join(errs...)
}

// size is a number of bytes, written in the largest unit that it is a multiple of.
type size int64

func (n size) String() string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; n != 0 && n%1024 == 0 && i < len(units)-1; i++ {
		n /= 1024
	}
	return strconv.FormatInt(int64(n), 10) + units[i]
}

// span is a time, written without its zeros: 24h, not 24h0m0s.
type span time.Duration

func (d span) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (s Spec) leastBytes() int64 { return int64(s.Partitions) * int64(s.maxStored()) }

// maxStored is the largest stored message, with its headers.
func (s Spec) maxStored() int32 { return int32(s.MaxMessageBytes + HeaderRoom) }

func validName(name string) bool {
	for i := range len(name) {
		b := name[i]
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return false
		}
	}
	return name != "" && len(name) <= 32
}
