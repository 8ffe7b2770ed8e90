package auth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
)

// TestTokenWithoutIssueTime: a token that was made for longer than is allowed, and does not
// say so, is good at no time: not in its last day either, when its revocation is forgotten.
func TestTokenWithoutIssueTime(t *testing.T) {
	const lifetime = 24 * time.Hour
	for _, optional := range []bool{false, true} {
		t.Run(fmt.Sprintf("optional %v", optional), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newStore(t)
				v, err := auth.New(auth.Config{HMAC: hmacConfig(), MaxTokenLifetime: lifetime, IATOptional: optional},
					auth.Services{Keys: store, Revocations: store})
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				stolen := hs256(t, fmt.Sprintf(`{"sub":"ann","jti":"x","exp":%d}`, begin.Add(40*time.Hour).Unix()))
				refused := func(want error, says string) {
					t.Helper()
					if _, err := v.Authenticate(t.Context(), stolen); !errors.Is(err, want) || err != nil && !strings.Contains(err.Error(), says) {
						t.Errorf("after %v: %v, want %v with %q", time.Since(begin), err, want, says)
					}
				}
				says := map[bool]string{false: "iat: is missing", true: "exp: the token lives for"}[optional]
				refused(auth.ErrInvalid, says)
				expires := begin.Add(lifetime + 10*time.Minute) // as a node has it
				store.Apply([]auth.Change{
					revoking(t, auth.Revocation{User: "ann", IssuedBefore: begin, Expires: expires}),
					revoking(t, auth.Revocation{TokenID: "x", Expires: expires}),
				}, true)
				<-time.After(20 * time.Hour)
				if optional { // revoked as long as that is known, and good after it: as documented
					refused(auth.ErrRevoked, "")
					<-time.After(5 * time.Hour)
					refused(nil, "")
					return
				}
				refused(auth.ErrInvalid, says)
				<-time.After(5 * time.Hour)
				refused(auth.ErrInvalid, says)
			})
		})
	}
}

// TestRevocationOutlivesTokens: whatever "iat" and "exp" a token has, at no time is it good
// that was issued before the revocation of its user was made, as a node keeps those.
func TestRevocationOutlivesTokens(t *testing.T) {
	const lifetime, step = time.Hour, 5 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		cfg := hmacConfig()
		cfg.Leeway = 5 * time.Minute // the most that can be configured
		v, err := auth.New(auth.Config{HMAC: cfg, MaxTokenLifetime: lifetime}, auth.Services{Keys: store, Revocations: store})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		var tokens []string
		for age := time.Duration(0); age <= 2*lifetime; age += step {
			for life := step; life <= 3*lifetime; life += step {
				issued := begin.Add(-age - time.Second)
				tokens = append(tokens, hs256(t, fmt.Sprintf(`{"sub":"ann","iat":%d,"exp":%d}`, issued.Unix(), issued.Add(life).Unix())))
			}
		}
		good := 0
		for _, token := range tokens {
			if _, err := v.Authenticate(t.Context(), token); err == nil {
				good++
			}
		}
		store.Apply([]auth.Change{revoking(t, auth.Revocation{User: "ann", IssuedBefore: begin, Expires: begin.Add(lifetime + 10*time.Minute)})}, true)
		for time.Since(begin) < 4*lifetime {
			for i, token := range tokens {
				if _, err := v.Authenticate(t.Context(), token); err == nil {
					t.Fatalf("token %d is good %v after it was revoked", i, time.Since(begin))
				}
			}
			<-time.After(step)
		}
		if good == 0 {
			t.Error("no token was good before: the test proves nothing")
		}
	})
}
