package broker

import (
	"fmt"
	"slices"
	"time"
)

// GroupConfig bounds the durable groups of a namespace; a zero field is the default.
type GroupConfig struct {
	// AckWait is how long a member may take over a message before another gets it.
	AckWait time.Duration
	// MaxDeliver is how many attempts a message has before it becomes a dead letter.
	MaxDeliver int
	// Backoff is the wait before the second, third, … attempt of a message that was
	// given back without a delay; the last holds for all further ones.
	Backoff []time.Duration
	// MaxInFlight bounds the messages of one group that are not settled.
	MaxInFlight int
	// Expire removes a group that nobody was a member of for so long.
	Expire time.Duration
	// Max is how many groups one partition of the namespace may have.
	Max int
}

// Defaults of GroupConfig.
const (
	defaultAckWait       = 30 * time.Second
	defaultMaxDeliver    = 5
	defaultGroupInFlight = 1000
	defaultGroupExpire   = 7 * 24 * time.Hour
	defaultMaxGroups     = 100
)

// Bounds of GroupConfig.
const (
	leastAckWait     = 100 * time.Millisecond
	mostAckWait      = 24 * time.Hour
	mostDeliver      = 1000
	mostBackoffSteps = 32
	mostGroupFlight  = 100_000
	leastGroupExpire = time.Minute
	mostGroups       = 10_000
)

func defaultBackoff() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}
}

// WithDefaults fills in what is not set.
func (c GroupConfig) WithDefaults() GroupConfig {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.AckWait, defaultAckWait)
	def(&c.Expire, defaultGroupExpire)
	if c.MaxDeliver == 0 {
		c.MaxDeliver = defaultMaxDeliver
	}
	if c.Backoff == nil {
		c.Backoff = defaultBackoff()
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = defaultGroupInFlight
	}
	if c.Max == 0 {
		c.Max = defaultMaxGroups
	}
	return c
}

// Problems are all values out of bounds, each naming its key, with defaults filled in.
func (c GroupConfig) Problems() []error {
	c = c.WithDefaults()
	var errs []error
	check := func(ok bool, field string, value any, right string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %v must be %s", field, value, right))
		}
	}
	check(c.AckWait >= leastAckWait && c.AckWait <= mostAckWait, "group_ack_wait", c.AckWait, fmt.Sprintf("%v to %v", leastAckWait, mostAckWait))
	check(c.MaxDeliver >= 1 && c.MaxDeliver <= mostDeliver, "group_max_deliver", c.MaxDeliver, fmt.Sprintf("1 to %d", mostDeliver))
	check(len(c.Backoff) <= mostBackoffSteps, "group_backoff", len(c.Backoff), fmt.Sprintf("at most %d waits", mostBackoffSteps))
	check(!slices.ContainsFunc(c.Backoff, func(d time.Duration) bool { return d < 0 || d > mostAckWait }), "group_backoff", c.Backoff, fmt.Sprintf("waits from 0 to %v", mostAckWait))
	check(c.MaxInFlight >= 1 && c.MaxInFlight <= mostGroupFlight, "group_max_in_flight", c.MaxInFlight, fmt.Sprintf("1 to %d", mostGroupFlight))
	check(c.Expire >= leastGroupExpire, "group_expire", c.Expire, fmt.Sprintf("at least %v", leastGroupExpire))
	check(c.Max >= 1 && c.Max <= mostGroups, "max_groups", c.Max, fmt.Sprintf("1 to %d", mostGroups))
	return errs
}

// wait is the pause before the attempt after the given one.
func (c GroupConfig) wait(attempt int) time.Duration {
	if len(c.Backoff) == 0 {
		return 0
	}
	return c.Backoff[min(attempt, len(c.Backoff))-1]
}

func (c Config) groupConfig(namespace string) GroupConfig { return c.Groups[namespace].WithDefaults() }
