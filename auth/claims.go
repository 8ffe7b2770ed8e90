package auth

import (
	"strings"
	"time"
)

// Claims are what an authenticated caller is and may do. They are immutable and
// cheap to copy.
type Claims struct {
	// Subject is the user, "" for an anonymous caller or an API key; at most
	// MaxSubjectBytes of UTF-8 without control characters.
	Subject string
	// Key is the name of the API key that was used, "" otherwise.
	Key string
	// TokenID names the token ("jti"), so that it alone can be revoked; "" is none, at
	// most MaxTokenIDBytes.
	TokenID string
	// IssuedAt is when the token was made ("iat"); zero is not known, and counts as
	// before any time.
	IssuedAt time.Time
	// ExpiresAt is when the claims end, the verifier's leeway included; zero is never.
	ExpiresAt    time.Time
	Capabilities Capabilities
	// Info is what the token says of the user ("meta") to those who see the user in a
	// channel: any JSON value of at most MaxInfoBytes, compact; "" is none.
	Info string
	// Channels are subscribed to as soon as the caller is connected: canonical names and
	// patterns, at most MaxTokenChannels, each covered by Capabilities.
	Channels []string
	// Limits tighten those of the configuration.
	Limits Limits
	// Channel is the one channel or pattern, canonical, of a subscription token; "" for
	// all others.
	Channel string
}

// Limits are what one caller may do at most; 0 leaves it to the configuration, and no
// value can widen that.
type Limits struct {
	Subscriptions int   // of one connection
	Commands      int   // a second, of one connection
	Publishes     int   // a second
	OutboundBytes int64 // a second, to one connection
}

// IsZero reports whether there are none.
func (l Limits) IsZero() bool { return l == Limits{} }

// Tighten is the smaller of a limit of the configuration and one of Limits, where 0 is
// no limit.
func Tighten[N int | int64](configured, claimed N) N {
	if claimed <= 0 || configured > 0 && configured < claimed {
		return configured
	}
	return claimed
}

// Allows reports whether the claims cover action on channel: a canonical
// "namespace:name", or a pattern, all of whose channels must then be covered.
func (c Claims) Allows(action Action, channel string) bool {
	return c.Capabilities.Allows(action, channel, c.Subject)
}

// Expired reports whether the claims have ended at the time now.
func (c Claims) Expired(now time.Time) bool {
	return !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt)
}

// Publisher is the identity that idempotency keys belong to. A user and an API
// key never share one, whatever their names.
func (c Claims) Publisher() string {
	if c.Key != "" {
		return "key:" + c.Key
	}
	return "user:" + c.Subject
}

// Credential is what the caller is known by, as an answer to it says: "the token", "the API
// key" or "the certificate".
func (c Claims) Credential() string {
	switch {
	case strings.HasPrefix(c.Key, "certificate:"):
		return "the certificate"
	case c.Key != "":
		return "the API key"
	}
	return "the token"
}
