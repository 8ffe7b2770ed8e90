package auth

import (
	"crypto/sha256"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// Revocations knows which tokens hold no longer although they have not expired. It
// answers from memory, without I/O, and is safe for concurrent use.
type Revocations interface {
	// Revoked is asked of every token that is otherwise good, also of subscription
	// tokens; it may look at TokenID, Subject, Key, IssuedAt and ExpiresAt.
	Revoked(c Claims) bool
}

// KeyStore knows the API keys that are not in the configuration. It answers from
// memory, without I/O, and is safe for concurrent use.
type KeyStore interface {
	// Lookup returns what the key whose SHA-256 is hash may do; false if there is none.
	// Claims.Key must be set. A key that has expired is still there, with its ExpiresAt.
	Lookup(hash [sha256.Size]byte) (Claims, bool)
}

// Services are what a Verifier works with; all are optional.
type Services struct {
	Revocations Revocations
	Keys        KeyStore
	Log         *slog.Logger          // nil discards
	Metrics     prometheus.Registerer // nil registers nothing
}
