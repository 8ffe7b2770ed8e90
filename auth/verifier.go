package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Open lets everybody in, anonymously, and allows everything. For development only.
type Open struct{}

// Authenticate never fails; the token is ignored.
func (Open) Authenticate(context.Context, string) (Claims, error) {
	return Claims{Capabilities: Everything()}, nil
}

// AuthenticateSubscription never fails; the token is ignored.
func (Open) AuthenticateSubscription(_ context.Context, _, channel string) (Claims, error) {
	return Claims{Capabilities: Everything(), Channel: channel}, nil
}

// Verifier authenticates as a Config says. Between Start and Stop it keeps the key sets
// fresh that have a URL.
type Verifier struct {
	// Static after New; nil is off.
	open        bool
	tokens      *tokens
	keys        *Keys
	store       KeyStore
	revocations Revocations
	remote      []*remoteKeys
	metrics     *keyMetrics

	cancel context.CancelFunc // set by Start, before Stop
	wg     sync.WaitGroup     // one fetcher for each of remote
}

// New builds the verifier; the errors are those of Config.Validate and of registering
// metrics. It fetches nothing before Start.
func New(cfg Config, s Services) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	v := &Verifier{open: cfg.Open, store: s.Keys, revocations: s.Revocations, cancel: func() {}}
	var err error
	if v.metrics, err = newMetrics(s.Metrics); err != nil {
		return nil, err
	}
	var issuers []*issuer
	if !cfg.HMAC.Secret.IsZero() {
		issuers = append(issuers, cfg.HMAC.issuer())
	}
	for _, c := range cfg.Tokens {
		i, err := c.build(s.Log, v.metrics)
		if err != nil {
			return nil, err
		}
		if r, ok := i.keys.(*remoteKeys); ok {
			v.remote = append(v.remote, r)
		}
		issuers = append(issuers, i)
	}
	if len(issuers) > 0 {
		v.tokens = newTokens(issuers, cfg.MaxTokenLifetime, cfg.IATOptional)
	}
	if len(cfg.Keys) > 0 {
		if v.keys, err = NewKeys(cfg.Keys); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Start begins to fetch the key sets that have a URL, and does not wait for them: tokens
// that need them do, for a moment, and are then answered with ErrUnavailable. The
// fetching outlives ctx, and ends with Stop. Call it once.
func (v *Verifier) Start(ctx context.Context) {
	ctx, v.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, r := range v.remote {
		v.wg.Go(func() { r.run(ctx) })
	}
}

// Stop ends what Start began, and waits for it. It never fails, and may be called again.
func (v *Verifier) Stop(context.Context) error {
	v.cancel()
	v.wg.Wait()
	return nil
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
	if err == nil && claims.Channel != "" {
		err = invalid("channel: it is a token for one subscription; give it with subscribe, and one with caps here")
	}
	return v.conclude(claims, err)
}

// AuthenticateSubscription turns a subscription token into claims that hold on channel
// alone, a canonical name or pattern: the token must be for exactly that. Whether its
// Subject is the caller's is left to the caller. Errors are those of Authenticate.
func (v *Verifier) AuthenticateSubscription(ctx context.Context, token, channel string) (Claims, error) {
	if v.open {
		return Open{}.AuthenticateSubscription(ctx, token, channel)
	}
	claims, err := v.identify(ctx, token)
	switch {
	case err != nil:
	case claims.Channel == "":
		err = invalid("channel: is missing, so it is no token for a subscription; connect with it instead")
	case claims.Channel != channel:
		err = invalid("channel: it is for another channel")
	}
	return v.conclude(claims, err)
}

// conclude looks at what holds for all that is otherwise good.
func (v *Verifier) conclude(claims Claims, err error) (Claims, error) {
	switch {
	case err != nil:
	case claims.Expired(time.Now()):
		err = ErrExpired
	case v.revocations != nil && v.revocations.Revoked(claims):
		err = ErrRevoked
	}
	if v.metrics.count(err) != nil {
		return Claims{}, err
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
		if claims, err := v.keys.Authenticate(ctx, token); err == nil {
			return claims, nil
		}
	}
	if v.store != nil {
		// Its index is by hash, so a guess learns nothing from how long this takes.
		if claims, ok := v.store.Lookup(sha256.Sum256([]byte(token))); ok {
			return claims, nil
		}
	}
	keys := v.keys != nil || v.store != nil
	switch jwt := strings.Count(token, ".") == 2; {
	case v.tokens != nil && (jwt || !keys):
		return v.tokens.authenticate(ctx, token)
	case v.tokens == nil || strings.HasPrefix(token, KeyPrefix):
		return Claims{}, invalid("unknown API key")
	}
	return Claims{}, invalid("neither a JWT nor a known API key")
}
