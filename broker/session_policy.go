package broker

import (
	"fmt"
	"time"
)

// SessionStore is how a namespace keeps the positions of durable sessions.
type SessionStore string

// The stores.
const (
	// SessionsInKV keeps them in the session's own record: a few hundred bytes for each
	// session, in a key-value bucket.
	SessionsInKV SessionStore = "kv"
	// SessionsInConsumers keeps each in a JetStream consumer, whose lag every NATS tool
	// shows: 40 KB for each channel of each session.
	SessionsInConsumers SessionStore = "consumer"
	// SessionsOff keeps none.
	SessionsOff SessionStore = "off"
)

// SessionPolicy says how a namespace keeps durable sessions. A zero field is the
// default.
type SessionPolicy struct {
	// Store; the default is consumers with the embedded server, else key-value.
	Store SessionStore
	// TTL is how long a session lives without a connection; 24 hours by default.
	TTL time.Duration
	// MaxSessions that have a channel of the namespace; 10,000 by default with
	// consumers, else 100,000. Each node counts anew every few seconds, so that many
	// that come at once may exceed it a little.
	MaxSessions int
	// MaxChannels of one session, of all namespaces together; 8 by default with
	// consumers, else 64.
	MaxChannels int
}

// SessionsConfig says how durable sessions are kept.
type SessionsConfig struct {
	// Default is for namespaces that are not in Namespaces.
	Default    SessionPolicy
	Namespaces map[string]SessionPolicy
}

// Bounds and defaults of durable sessions.
const (
	// DefaultSessionTTL is how long a session lives without a connection.
	DefaultSessionTTL = 24 * time.Hour
	leastSessionTTL   = time.Second
	mostSessionTTL    = 365 * 24 * time.Hour
	// emptySessionTTL is that of a session without channels: there is nothing to keep.
	emptySessionTTL = 5 * time.Minute
	// userSessions is how many durable sessions one user may have; nobody bounds those
	// of a node that lets everybody in as the same.
	userSessions = 1000

	mostSessions = 10_000_000
	mostChannels = 256
	// remoteSessionBytes is what the bucket may hold on a remote server: about a
	// million sessions of one channel.
	remoteSessionBytes = 256 << 20
)

// WithDefaults fills in what is not set; embedded is whether the log is.
func (p SessionPolicy) WithDefaults(embedded bool) SessionPolicy {
	if p.Store == "" {
		p.Store = SessionsInKV
		if embedded {
			p.Store = SessionsInConsumers
		}
	}
	sessions, channels := 100_000, 64
	if p.Store == SessionsInConsumers {
		sessions, channels = 10_000, 8
	}
	if p.TTL == 0 {
		p.TTL = DefaultSessionTTL
	}
	if p.MaxSessions == 0 {
		p.MaxSessions = sessions
	}
	if p.MaxChannels == 0 {
		p.MaxChannels = channels
	}
	return p
}

// Validate lists what is wrong, each with the key, its value and what is right.
func (p SessionPolicy) Validate() (errs []error) {
	p = p.WithDefaults(true)
	check := func(ok bool, key string, value any, right string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %v must be %s", key, value, right))
		}
	}
	check(p.Store == SessionsInConsumers || p.Store == SessionsInKV || p.Store == SessionsOff,
		"session_store", fmt.Sprintf("%q", string(p.Store)), "consumer, kv or off")
	check(p.TTL >= leastSessionTTL && p.TTL <= mostSessionTTL, "session_ttl", p.TTL, fmt.Sprintf("%v to %v", leastSessionTTL, mostSessionTTL))
	check(p.MaxSessions >= 1 && p.MaxSessions <= mostSessions, "max_sessions", p.MaxSessions, fmt.Sprintf("1 to %d", mostSessions))
	check(p.MaxChannels >= 1 && p.MaxChannels <= mostChannels, "max_session_channels", p.MaxChannels, fmt.Sprintf("1 to %d", mostChannels))
	return errs
}

// policy of a namespace, with its defaults.
func (s *Sessions) policy(namespace string) SessionPolicy {
	p, ok := s.b.cfg.Sessions.Namespaces[namespace]
	if !ok {
		p = s.b.cfg.Sessions.Default
	}
	return p.WithDefaults(s.b.srv != nil)
}

// shortest is the least time to live of any session.
func (c SessionsConfig) shortest() time.Duration {
	least := min(c.Default.WithDefaults(true).TTL, emptySessionTTL)
	for _, p := range c.Namespaces {
		least = min(least, p.WithDefaults(true).TTL)
	}
	return least
}
