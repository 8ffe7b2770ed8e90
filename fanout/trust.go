package fanout

import "errors"

// TrustEntry is an API key or a revocation as the log keeps it.
type TrustEntry struct {
	Kind, Name string
	Value      []byte // empty: it is gone
}

// ErrTrustFull is the error where the log has no room for another API key or revocation.
var ErrTrustFull = errors.New("fanout: as many API keys or revocations as the log holds")
