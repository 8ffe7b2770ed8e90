package migrations

import (
	"errors"
	"fmt"
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

// Validate checks a spec with its defaults filled in, and joins everything that is
// wrong. Errors wrap ErrInvalidSpec and name the field, its value and what is right.
func (s Spec) Validate() error {
	var errs []error
	check := func(ok bool, field string, value any, right string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w %q: %s is %v, must be %s", ErrInvalidSpec, s.Name, field, value, right))
		}
	}
	partitions := s.Partitions >= 1 && s.Partitions <= maxPartitions
	message := s.MaxMessageBytes >= 1 && s.MaxMessageBytes <= maxMessageBytes
	check(validName(s.Name), "name", s.Name, "1 to 32 characters of a-z, 0-9 and -")
	check(partitions, "partitions", s.Partitions, fmt.Sprintf("1 to %d", maxPartitions))
	check(s.Replicas == 1 || s.Replicas == 3 || s.Replicas == 5, "replicas", s.Replicas, "1, 3 or 5")
	check(s.MaxAge < 0 || s.MaxAge >= minAge, "max_age", s.MaxAge, fmt.Sprintf("at least %v, or negative for unlimited", minAge))
	check(s.MaxPerChannel != 0, "max_per_channel", s.MaxPerChannel, "at least 1, or negative for unlimited")
	check(message, "max_message_bytes", s.MaxMessageBytes, fmt.Sprintf("1 to %d", maxMessageBytes))
	if partitions && message { // else the bound would be as wrong as they are
		check(s.MaxBytes >= s.leastBytes(), "max_bytes", s.MaxBytes,
			fmt.Sprintf("at least %d: room for one largest message in each of %d partitions", s.leastBytes(), s.Partitions))
	}
	check(s.DuplicateWindow >= minWindow && s.DuplicateWindow <= maxWindow, "duplicate_window", s.DuplicateWindow, fmt.Sprintf("%v to %v", minWindow, maxWindow))
	check(s.MaxConsumers >= 1, "max_consumers", s.MaxConsumers, "at least 1")
	return errors.Join(errs...)
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
