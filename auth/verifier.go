package auth

import (
	"context"
	"strings"
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
	open bool
	hmac *HMAC
	keys *Keys
}

// New builds the verifier; the errors are those of Config.Validate.
func New(cfg Config) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	v := &Verifier{open: cfg.Open}
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
// claims. Errors wrap ErrMissing, ErrInvalid or ErrExpired.
func (v *Verifier) Authenticate(ctx context.Context, token string) (Claims, error) {
	if v.open {
		return Open{}.Authenticate(ctx, token)
	}
	// A key may be any text, so it is tried first; hashing it costs a microsecond.
	if v.keys != nil {
		claims, err := v.keys.Authenticate(ctx, token)
		if err == nil || v.hmac == nil || strings.Count(token, ".") != 2 {
			return claims, err
		}
	}
	return v.hmac.Authenticate(ctx, token)
}
