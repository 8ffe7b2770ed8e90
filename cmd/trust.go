package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/broker"
	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/session"
)

// trust puts the API keys and revocations of the log into the memory of auth, and what
// the API asks for into the log.
type trust struct {
	// Static after startTrust.
	log      *broker.Trust
	store    *auth.Store
	taken    map[string]bool // names of the configuration's keys, and of its certificates
	lifetime time.Duration   // the longest that a token lives
	changed  chan struct{}   // size 1: something is revoked that was not
	dev      bool            // everybody may make keys, which then are marked so
	node     *slog.Logger
}

// startAuth begins to verify tokens and keys.
func (n *Node) startAuth(ctx context.Context, b *broker.Broker) (*trust, *auth.Verifier, error) {
	t, err := n.startTrust(ctx, b)
	if err != nil {
		return nil, nil, err
	}
	verifier, err := auth.New(n.auth, auth.Services{Revocations: t.store, Keys: t.store, Log: n.log, Metrics: n.reg})
	if err != nil {
		return nil, nil, fmt.Errorf("prepare authentication: %w", err)
	}
	verifier.Start(ctx)
	n.undo.push("keys of issuers", verifier.Stop)
	return t, verifier, nil
}

// startTrust returns when all keys and revocations are known.
func (n *Node) startTrust(ctx context.Context, b *broker.Broker) (*trust, error) {
	store, err := auth.NewStore(n.reg)
	if err != nil {
		return nil, fmt.Errorf("prepare authentication: %w", err)
	}
	t := &trust{
		log: b.Trust(), store: store, taken: map[string]bool{}, changed: make(chan struct{}, 1), dev: n.cfg.Dev, node: n.log,
		// Leeways and clocks that differ are allowed for.
		lifetime: time.Duration(n.cfg.Auth.MaxTokenLifetime) + 10*time.Minute,
	}
	for _, k := range n.auth.Keys {
		t.taken[k.Name] = true
	}
	for _, c := range n.cfg.Auth.Certificates {
		t.taken["certificate:"+c.Subject] = true // as its publisher is named
	}
	return t, t.log.Start(ctx, t)
}

// Trusted implements broker.TrustListener.
func (t *trust) Trusted(list []fanout.TrustEntry, whole bool) {
	changes := make([]auth.Change, len(list))
	var refused []string
	for i, e := range list {
		changes[i] = auth.Change(e)
		if t.refuses(changes[i]) {
			changes[i].Value = nil // as if it were gone
			refused = append(refused, e.Name)
		}
	}
	if n := len(refused); n > 0 {
		t.node.Warn("API keys that were made under --dev are refused; revoke those that are not needed: rivulet key revoke NAME",
			slog.Int("keys", n), slog.String("names", strings.Join(refused[:min(n, mostNamed)], ", ")))
	}
	if !t.store.Apply(changes, whole) {
		return
	}
	select {
	case t.changed <- struct{}{}:
	default: // one pass is for all changes until then
	}
}

// mostNamed bounds the names in one line of the log.
const mostNamed = 10

// refuses reports whether a change is a key that anybody could make: under --dev on the
// same log.
func (t *trust) refuses(c auth.Change) bool {
	if t.dev || c.Kind != auth.KindKey || len(c.Value) == 0 {
		return false
	}
	k, err := auth.DecodeStoredKey(c.Name, c.Value)
	return err == nil && k.Dev
}

// enforce ends the connections whose tokens are revoked, until the returned function is
// called.
func (t *trust) enforce(ctx context.Context, registry *session.Registry) (stop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.changed:
				registry.Revoke(t.store.Revoked)
			}
		}
	}()
	return func(context.Context) error {
		cancel()
		<-done
		return nil
	}
}

// Keys implements api.Trust.
func (t *trust) Keys() []auth.StoredKey { return t.store.Keys() }

// Revocations implements api.Trust.
func (t *trust) Revocations() []auth.Revocation { return t.store.Revocations() }

// keptPastExpiry is how long a key is kept that has expired, so that who uses it is told
// so.
const keptPastExpiry = 24 * time.Hour

// CreateKey implements api.Trust.
func (t *trust) CreateKey(ctx context.Context, k auth.StoredKey) error {
	if t.taken[k.Name] {
		return api.ErrKeyConfigured
	}
	if keys, _ := t.store.Count(); keys >= auth.MaxStoredKeys {
		return fanout.ErrTrustFull
	}
	k.Dev = t.dev
	value, err := k.Encode()
	if err != nil {
		return err
	}
	return t.log.Change(ctx, auth.KindKey, k.Name, func(have []byte) ([]byte, time.Duration, error) {
		if old, err := auth.DecodeStoredKey(k.Name, have); len(have) > 0 && err == nil && old.ID != k.ID && !old.Expired(time.Now()) && (t.dev || !old.Dev) {
			return nil, 0, api.ErrKeyExists
		}
		if k.Expires.IsZero() {
			return value, 0, nil
		}
		return value, time.Until(k.Expires) + keptPastExpiry, nil
	})
}

// RevokeKey implements api.Trust.
func (t *trust) RevokeKey(ctx context.Context, name string) error {
	return t.log.Change(ctx, auth.KindKey, name, func(have []byte) ([]byte, time.Duration, error) {
		if len(have) == 0 {
			return nil, 0, api.ErrNoKey
		}
		return nil, 0, nil
	})
}

// Revoke implements api.Trust.
func (t *trust) Revoke(ctx context.Context, r auth.Revocation) (auth.Revocation, error) {
	if name, ok := strings.CutPrefix(r.User, "key:"); ok && (t.taken[name] || t.store.HasKey(name)) {
		return r, api.ErrUserIsKey
	}
	now := time.Now()
	r.Created = now
	if r.Expires.IsZero() {
		// No token that is about to be revoked lives longer.
		r.Expires = now.Add(t.lifetime)
		if least := r.IssuedBefore.Add(t.lifetime); r.Expires.Before(least) {
			r.Expires = least
		}
	}
	if err := r.Validate(now); err != nil {
		return r, err
	}
	if _, n := t.store.Count(); n >= auth.MaxRevocations {
		return r, fanout.ErrTrustFull
	}
	kind, name := r.Entry()
	err := t.log.Change(ctx, kind, name, func(have []byte) ([]byte, time.Duration, error) {
		if old, err := auth.DecodeRevocation(kind, name, have); err == nil && old.Expires.After(now) {
			r = r.Widen(old)
		}
		value, err := r.Encode()
		return value, time.Until(r.Expires), err
	})
	return r, err
}

// Restore implements api.Trust.
func (t *trust) Restore(ctx context.Context, r auth.Revocation) error {
	kind, name := r.Entry()
	return t.log.Change(ctx, kind, name, func(have []byte) ([]byte, time.Duration, error) {
		if len(have) == 0 {
			return nil, 0, api.ErrNoRevocation
		}
		return nil, 0, nil
	})
}

var (
	_ api.Trust            = (*trust)(nil)
	_ broker.TrustListener = (*trust)(nil)
)
