package auth

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"
)

// Open lets everybody in, anonymously, and allows everything. For development only.
type Open struct{}

// Authenticate never fails; the token is ignored.
func (Open) Authenticate(context.Context, string) (Claims, error) {
	return Claims{Capabilities: Everything()}, nil
}

// Verifier authenticates as a Config says.
type Verifier struct {
	// Static after New; nil is off.
	open        bool
	hmac        *HMAC
	keys        *Keys
	store       KeyStore
	revocations Revocations
}

// New builds the verifier; the errors are those of Config.Validate.
func New(cfg Config, s Services) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	v := &Verifier{open: cfg.Open, store: s.Keys, revocations: s.Revocations}
	var err error
	if !cfg.HMAC.Secret.IsZero() {
		if v.hmac, err = NewHMAC(cfg.HMAC); err != nil {
			return nil, err
		}
	}
	if len(cfg.Keys) > 0 {
		if v.keys, err = NewKeys(cfg.Keys); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// IsOpen reports whether everybody may do everything.
func (v *Verifier) IsOpen() bool { return v.open }

// Authenticate turns a JWT or an API key, without any "Bearer" before it, into
// claims. Errors wrap ErrMissing, ErrInvalid, ErrExpired, ErrRevoked or ErrUnavailable.
func (v *Verifier) Authenticate(ctx context.Context, token string) (Claims, error) {
	if v.open {
		return Open{}.Authenticate(ctx, token)
	}
	claims, err := v.identify(ctx, token)
	switch {
	case err != nil:
		return Claims{}, err
	case claims.Expired(time.Now()):
		return Claims{}, ErrExpired
	case v.revocations != nil && v.revocations.Revoked(claims):
		return Claims{}, ErrRevoked
	}
	return claims, nil
}

// identify finds out whose a token is, revoked or not.
func (v *Verifier) identify(ctx context.Context, token string) (Claims, error) {
	switch {
	case token == "":
		return Claims{}, ErrMissing
	case len(token) > MaxTokenBytes:
		return Claims{}, invalid("over %d bytes", MaxTokenBytes)
	}
	// A key may be any text, so it is tried first; hashing it costs a microsecond.
	if v.keys != nil {
		claims, err := v.keys.Authenticate(ctx, token)
		if err == nil || v.store == nil && (v.hmac == nil || strings.Count(token, ".") != 2) {
			return claims, err
		}
	}
	if v.store != nil {
		// Its index is by hash, so a guess learns nothing from how long this takes.
		if claims, ok := v.store.Lookup(sha256.Sum256([]byte(token))); ok {
			return claims, nil
		}
	}
	if v.hmac == nil || strings.HasPrefix(token, keyPrefix) {
		return Claims{}, invalid("unknown API key")
	}
	return v.hmac.Authenticate(ctx, token)
}
