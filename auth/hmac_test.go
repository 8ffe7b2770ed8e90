package auth_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rivulet-rt/rivulet/auth"
)

const hmacSecret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func hmacConfig() auth.HMACConfig {
	return auth.HMACConfig{Secret: auth.NewSecret(hmacSecret), Leeway: 10 * time.Second}
}

func newHMAC(tb testing.TB, cfg auth.HMACConfig) *auth.Verifier {
	tb.Helper()
	h, err := auth.New(auth.Config{HMAC: cfg}, auth.Services{})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// sign makes a token of raw JSON parts, so that tests can say what no library would.
func sign(tb testing.TB, alg, header, payload, secret string) string {
	tb.Helper()
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(payload))
	sig, err := jwt.GetSigningMethod(alg).Sign(text, []byte(secret))
	if err != nil {
		tb.Fatal(err)
	}
	return text + "." + enc.EncodeToString(sig)
}

func hs256(tb testing.TB, payload string) string {
	tb.Helper()
	return sign(tb, "HS256", `{"alg":"HS256","typ":"JWT"}`, payload, hmacSecret)
}

// future is one time for all tests: a token is changed by the text of its claims.
func future() int64 { return inAnHour() }

// issued is when those tokens are made.
func issued() int64 { return future() - 3600 }

var inAnHour = sync.OnceValue(func() int64 { return time.Now().Add(time.Hour).Unix() })

func TestMintAndAuthenticate(t *testing.T) {
	for _, alg := range []string{"", "HS256", "HS384", "HS512"} {
		t.Run("algorithm "+alg, func(t *testing.T) {
			cfg := hmacConfig()
			cfg.Algorithm, cfg.Issuer, cfg.Audience = alg, "me", "rivulet"
			exp := time.Now().Add(time.Hour).Truncate(time.Second)
			token, err := auth.Mint(cfg, auth.Claims{
				Subject: "ann", ExpiresAt: exp,
				Capabilities: mustCaps(t, map[string][]auth.Action{"user:${sub}": {auth.Subscribe}}),
			})
			if err != nil {
				t.Fatal(err)
			}
			c, err := newHMAC(t, cfg).Authenticate(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if c.Subject != "ann" || c.Key != "" || c.Publisher() != "user:ann" {
				t.Errorf("claims %+v", c)
			}
			if want := exp.Add(cfg.Leeway); !c.ExpiresAt.Equal(want) {
				t.Errorf("expires %v, want %v", c.ExpiresAt, want)
			}
			if !c.Allows(auth.Subscribe, "user:ann") || c.Allows(auth.Subscribe, "user:bob") || c.Allows(auth.Publish, "user:ann") {
				t.Error("capabilities differ from those minted")
			}
		})
	}
}

func TestHMACRefuses(t *testing.T) {
	exp := future()
	ok := fmt.Sprintf(`{"sub":"ann","exp":%d,"iss":"me","aud":["rivulet"],"caps":{"chat:>":["subscribe"]}}`, exp)
	cfg := hmacConfig()
	cfg.Issuer, cfg.Audience = "me", "rivulet"
	h := newHMAC(t, cfg)
	if _, err := h.Authenticate(t.Context(), hs256(t, ok)); err != nil {
		t.Fatalf("the good token: %v", err)
	}
	parts := strings.Split(hs256(t, ok), ".")
	for _, tc := range []struct {
		name, token string
		want        error
		says        string
	}{
		{"no token", "", auth.ErrMissing, ""},
		{"not a JWT", "hello", auth.ErrInvalid, "not a JWT"},
		{"too long", strings.Repeat("a", auth.MaxTokenBytes+1), auth.ErrInvalid, "over 8192 bytes"},
		{"four parts", hs256(t, ok) + ".x", auth.ErrInvalid, "not a JWT"},
		{"other secret", sign(t, "HS256", `{"alg":"HS256"}`, ok, strings.Repeat("x", 64)), auth.ErrInvalid, "signature"},
		{"other algorithm", sign(t, "HS512", `{"alg":"HS512"}`, ok, hmacSecret), auth.ErrInvalid, "algorithm"},
		{"header names another", sign(t, "HS256", `{"alg":"HS384"}`, ok, hmacSecret), auth.ErrInvalid, "algorithm"},
		{"none", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", auth.ErrInvalid, "algorithm"},
		{"RS256 with the secret", sign(t, "HS256", `{"alg":"RS256"}`, ok, hmacSecret), auth.ErrInvalid, "algorithm"},
		{"no algorithm", sign(t, "HS256", `{}`, ok, hmacSecret), auth.ErrInvalid, "algorithm"},
		{"critical extension", sign(t, "HS256", `{"alg":"HS256","crit":["b64"],"b64":false}`, ok, hmacSecret), auth.ErrInvalid, "crit"},
		{"empty signature", parts[0] + "." + parts[1] + ".", auth.ErrInvalid, "signature"},
		{"changed payload", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(ok, "ann", "bob", 1))) + "." + parts[2], auth.ErrInvalid, "signature"},
		{"no exp", hs256(t, `{"iss":"me","aud":"rivulet"}`), auth.ErrInvalid, "exp"},
		{"exp null", hs256(t, `{"iss":"me","aud":"rivulet","exp":null}`), auth.ErrInvalid, "exp"},
		{"Exp is not exp", hs256(t, fmt.Sprintf(`{"iss":"me","aud":"rivulet","Exp":%d}`, exp)), auth.ErrInvalid, "exp"},
		{"exp huge", hs256(t, `{"iss":"me","aud":"rivulet","exp":1e300}`), auth.ErrInvalid, "not a JWT"},
		{"expired", hs256(t, `{"iss":"me","aud":"rivulet","exp":1000}`), auth.ErrExpired, ""},
		{"not yet", hs256(t, fmt.Sprintf(`{"iss":"me","aud":"rivulet","exp":%d,"nbf":%d}`, exp, exp-60)), auth.ErrInvalid, "nbf"},
		{"other issuer", hs256(t, strings.Replace(ok, `"me"`, `"you"`, 1)), auth.ErrInvalid, "iss"},
		{"no issuer", hs256(t, strings.Replace(ok, `"iss"`, `"ISS"`, 1)), auth.ErrInvalid, "iss"},
		{"other audience", hs256(t, strings.Replace(ok, `"rivulet"`, `"other"`, 1)), auth.ErrInvalid, "aud"},
		{"sub is a number", hs256(t, strings.Replace(ok, `"ann"`, `7`, 1)), auth.ErrInvalid, "not a JWT"},
		{"sub with a control character", hs256(t, strings.Replace(ok, `ann`, `a\nn`, 1)), auth.ErrInvalid, "sub"},
		{"sub too long", hs256(t, strings.Replace(ok, `ann`, strings.Repeat("a", 256), 1)), auth.ErrInvalid, "sub"},
		{"payload not UTF-8", hs256(t, strings.Replace(ok, `ann`, "a\xff", 1)), auth.ErrInvalid, "not a JWT"},
		{"payload not an object", hs256(t, `[]`), auth.ErrInvalid, "not a JWT"},
		{"payload null", hs256(t, `null`), auth.ErrInvalid, "exp"},
		{"caps is a list", hs256(t, strings.Replace(ok, `{"chat:>":["subscribe"]}`, `["chat:>"]`, 1)), auth.ErrInvalid, "caps"},
		{"caps with a bad pattern", hs256(t, strings.Replace(ok, `chat:>`, `chat:>.a`, 1)), auth.ErrInvalid, "must be the last"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := h.Authenticate(t.Context(), tc.token)
			if !errors.Is(err, tc.want) || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("error %v, want %v with %q", err, tc.want, tc.says)
			}
			if c.Subject != "" || !c.Capabilities.IsZero() {
				t.Errorf("claims %+v along with an error", c)
			}
			if err != nil && len(tc.token) > 20 && strings.Contains(err.Error(), tc.token[:20]) {
				t.Error("the error repeats the token")
			}
		})
	}
}

func TestTokenCapabilities(t *testing.T) {
	h := newHMAC(t, hmacConfig())
	for _, tc := range []struct {
		name, caps string
		allowed    bool
	}{
		{"given", `,"caps":{"chat:>":["publish"]}`, true},
		{"unknown actions grant nothing and break nothing", `,"caps":{"chat:>":["publish","teleport"]}`, true},
		{"only unknown actions", `,"caps":{"chat:>":["teleport"]}`, false},
		{"none", ``, false},
		{"null", `,"caps":null`, false},
		{"empty", `,"caps":{}`, false},
		{"another spelling is another claim", `,"Caps":{"chat:>":["publish"]}`, false},
		{"another spelling does not override", `,"caps":{"chat:>":["publish"]},"CAPS":{}`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token := hs256(t, fmt.Sprintf(`{"exp":%d%s}`, future(), tc.caps))
			for range 2 { // the second is answered from what the first left
				c, err := h.Authenticate(t.Context(), token)
				if err != nil {
					t.Fatal(err)
				}
				if got := c.Allows(auth.Publish, "chat:a"); got != tc.allowed {
					t.Errorf("allowed = %v, want %v", got, tc.allowed)
				}
			}
		})
	}
}

func TestExpiryAndLeeway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := hmacConfig()
		h := newHMAC(t, cfg)
		token, err := auth.Mint(cfg, auth.Claims{ExpiresAt: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		clock := time.NewTimer(time.Minute + cfg.Leeway - time.Second)
		<-clock.C
		c, err := h.Authenticate(t.Context(), token)
		if err != nil || c.Expired(time.Now()) {
			t.Errorf("within the leeway: %v, expired %v", err, c.Expired(time.Now()))
		}
		clock.Reset(time.Second)
		<-clock.C
		if _, err := h.Authenticate(t.Context(), token); !errors.Is(err, auth.ErrExpired) {
			t.Errorf("after the leeway: %v", err)
		}
		if !c.Expired(time.Now()) {
			t.Error("the claims outlive the token")
		}
	})
}

func TestManyCapabilitySets(t *testing.T) {
	h := newHMAC(t, hmacConfig())
	exp := future()
	for i := range 3000 { // more than are shared at once
		c, err := h.Authenticate(t.Context(), hs256(t, fmt.Sprintf(`{"exp":%d,"caps":{"user:%d":["subscribe"]}}`, exp, i)))
		if err != nil {
			t.Fatal(err)
		}
		if !c.Allows(auth.Subscribe, fmt.Sprintf("user:%d", i)) || c.Allows(auth.Subscribe, fmt.Sprintf("user:%d", i+1)) {
			t.Fatalf("token %d has another's capabilities", i)
		}
	}
}

func TestMintRefuses(t *testing.T) {
	exp := time.Now().Add(time.Hour)
	many := map[string][]auth.Action{}
	for i := range auth.MaxPatterns {
		many[fmt.Sprintf("n:%s%d", strings.Repeat("a", 100), i)] = auth.Actions()
	}
	short := hmacConfig()
	short.Secret = auth.NewSecret("short")
	for _, tc := range []struct {
		name   string
		cfg    auth.HMACConfig
		claims auth.Claims
		says   string
	}{
		{"no expiry", hmacConfig(), auth.Claims{}, "ExpiresAt"},
		{"bad subject", hmacConfig(), auth.Claims{Subject: "a\x00", ExpiresAt: exp}, "subject"},
		{"bad configuration", short, auth.Claims{ExpiresAt: exp}, "auth.hmac.secret"},
		{"too large", hmacConfig(), auth.Claims{ExpiresAt: exp, Capabilities: mustCaps(t, many)}, "fewer patterns"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := auth.Mint(tc.cfg, tc.claims); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want one with %q", err, tc.says)
			}
		})
	}
}

func FuzzHMACPayload(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"a","exp":4102444800,"caps":{"chat:>":["subscribe"]}}`, `{"exp":1e300}`, `{"exp":"1"}`, `{"aud":[1]}`, `null`, `{"nbf":-1,"exp":9e18}`, `{"caps":{"":null},"exp":4102444800}`,
	} {
		f.Add(seed)
	}
	h := newHMAC(f, hmacConfig())
	f.Fuzz(func(t *testing.T, payload string) {
		c, err := h.Authenticate(t.Context(), hs256(t, payload))
		switch {
		case err == nil && (c.ExpiresAt.IsZero() || c.Expired(time.Now())):
			t.Errorf("accepted with expiry %v: %s", c.ExpiresAt, payload)
		case err != nil && !errors.Is(err, auth.ErrInvalid) && !errors.Is(err, auth.ErrExpired):
			t.Errorf("error %v is none of ours", err)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("a.b.c")
	f.Add(hs256(f, `{"exp":4102444800}`))
	h := newHMAC(f, auth.HMACConfig{Secret: auth.NewSecret(strings.Repeat("another secret", 4))})
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := h.Authenticate(t.Context(), token); err == nil {
			t.Errorf("%q was accepted without the secret", token)
		}
	})
}
