package auth

import (
	"errors"
	"fmt"
)

// What Authenticate answers. They come wrapped with a reason that is safe to show
// to the caller.
var (
	// ErrMissing: no token was given and one is needed.
	ErrMissing = errors.New("auth: token missing")
	// ErrInvalid: the token is malformed, not signed by us, or not acceptable.
	ErrInvalid = errors.New("auth: token invalid")
	// ErrExpired: the token was good once; a fresh one is needed.
	ErrExpired = errors.New("auth: token expired")
	// ErrRevoked: the token was good once, and has been revoked since.
	ErrRevoked = errors.New("auth: token revoked")
	// ErrUnavailable: whether the token is good cannot be told at the moment, since the
	// keys of its issuer cannot be had. It may be tried again later.
	ErrUnavailable = errors.New("auth: the keys to verify the token cannot be had at the moment")
	// ErrNotConfigured: a Config names no way to authenticate.
	ErrNotConfigured = errors.New("auth: no way to authenticate is configured: set auth.hmac.secret, auth.tokens or auth.keys")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
