package auth

import "time"

// Claims are what an authenticated caller is and may do. They are immutable and
// cheap to copy.
type Claims struct {
	// Subject is the user, "" for an anonymous caller or an API key; at most
	// MaxSubjectBytes of UTF-8 without control characters.
	Subject string
	// Key is the name of the API key that was used, "" otherwise.
	Key string
	// ExpiresAt is when the claims end, the verifier's leeway included; zero is never.
	ExpiresAt    time.Time
	Capabilities Capabilities
	// Info is what the token says of the user to those who see the user in a channel: any
	// JSON value of at most MaxInfoBytes, compact; "" is none.
	Info string
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
