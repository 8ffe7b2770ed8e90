package auth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
)

func publishTo(pattern string) map[string][]auth.Action {
	return map[string][]auth.Action{pattern: {auth.Publish}}
}

func TestKeys(t *testing.T) {
	ci, shop := auth.NewKey(), auth.NewKey()
	if ci.Reveal() == shop.Reveal() || !strings.HasPrefix(ci.Reveal(), "rvk_") || len(ci.Reveal()) != 47 {
		t.Fatalf("keys of %d and %d bytes", len(ci.Reveal()), len(shop.Reveal()))
	}
	k, err := auth.NewKeys([]auth.KeyConfig{
		{Name: "ci", SHA256: auth.HashKey(ci), Capabilities: publishTo("build:>")},
		{Name: "shop", SHA256: strings.ToUpper(auth.HashKey(shop)), Capabilities: publishTo("orders:>")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		key    auth.Secret
		allows string
		not    string
	}{
		{"ci", ci, "build:1", "orders:1"},
		{"shop", shop, "orders:1", "build:1"},
	} {
		c, err := k.Authenticate(t.Context(), tc.key.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if c.Key != tc.name || c.Subject != "" || c.Publisher() != "key:"+tc.name || !c.ExpiresAt.IsZero() || c.Expired(time.Now()) {
			t.Errorf("claims %+v", c)
		}
		if !c.Allows(auth.Publish, tc.allows) || c.Allows(auth.Publish, tc.not) || c.Allows(auth.Subscribe, tc.allows) {
			t.Errorf("%s has not exactly its own scope", tc.name)
		}
	}
	for name, token := range map[string]string{
		"unknown": auth.NewKey().Reveal(), "the hash itself": auth.HashKey(ci), "a prefix": ci.Reveal()[:20],
		"more": ci.Reveal() + "x", "too long": strings.Repeat("x", 1<<20),
	} {
		if _, err := k.Authenticate(t.Context(), token); !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := k.Authenticate(t.Context(), ""); !errors.Is(err, auth.ErrMissing) {
		t.Errorf("no key: %v", err)
	}
}

func TestVerifier(t *testing.T) {
	key := auth.NewKey()
	keys := []auth.KeyConfig{{Name: "ci", SHA256: auth.HashKey(key), Capabilities: publishTo("a:>")}}
	token, err := auth.Mint(hmacConfig(), auth.Claims{Subject: "ann", ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	expired := hs256(t, `{"exp":1000}`)
	for _, tc := range []struct {
		name, token string
		cfg         auth.Config
		want        error
		publisher   string
	}{
		{"open", "", auth.Config{Open: true}, nil, "user:"},
		{"open ignores the token", "x", auth.Config{Open: true}, nil, "user:"},
		{"both, JWT", token, auth.Config{HMAC: hmacConfig(), Keys: keys}, nil, "user:ann"},
		{"both, key", key.Reveal(), auth.Config{HMAC: hmacConfig(), Keys: keys}, nil, "key:ci"},
		{"both, nothing", "", auth.Config{HMAC: hmacConfig(), Keys: keys}, auth.ErrMissing, ""},
		{"both, unknown", "x", auth.Config{HMAC: hmacConfig(), Keys: keys}, auth.ErrInvalid, ""},
		{"both, expired", expired, auth.Config{HMAC: hmacConfig(), Keys: keys}, auth.ErrExpired, ""},
		{"keys alone, JWT", token, auth.Config{Keys: keys}, auth.ErrInvalid, ""},
		{"keys alone, key", key.Reveal(), auth.Config{Keys: keys}, nil, "key:ci"},
		{"HMAC alone, key", key.Reveal(), auth.Config{HMAC: hmacConfig()}, auth.ErrInvalid, ""},
		{"HMAC alone, nothing", "", auth.Config{HMAC: hmacConfig()}, auth.ErrMissing, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := auth.New(tc.cfg, auth.Services{})
			if err != nil {
				t.Fatal(err)
			}
			if v.IsOpen() != tc.cfg.Open {
				t.Errorf("IsOpen = %v", v.IsOpen())
			}
			c, err := v.Authenticate(t.Context(), tc.token)
			if !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if err == nil && c.Publisher() != tc.publisher {
				t.Errorf("publisher %q, want %q", c.Publisher(), tc.publisher)
			}
		})
	}
}

// A token that is refused is called what it looks like: nobody has sent an API key who has
// sent a page of HTML.
func TestVerifierSaysWhatItLookedFor(t *testing.T) {
	keys := []auth.KeyConfig{{Name: "ci", SHA256: auth.HashKey(auth.NewKey()), Capabilities: publishTo("build:>")}}
	for _, tc := range []struct {
		name  string
		cfg   auth.Config
		token string
		want  string
	}{
		{"a page", auth.Config{HMAC: hmacConfig(), Keys: keys}, "<!doctype html>", "neither a JWT nor a known API key"},
		{"a key of long ago", auth.Config{HMAC: hmacConfig(), Keys: keys}, auth.NewKey().Reveal(), "unknown API key"},
		{"a page, of tokens alone", auth.Config{HMAC: hmacConfig()}, "<!doctype html>", "not a JWT"},
		{"a page, of keys alone", auth.Config{Keys: keys}, "<!doctype html>", "unknown API key"},
	} {
		v, err := auth.New(tc.cfg, auth.Services{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Authenticate(t.Context(), tc.token); !errors.Is(err, auth.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	hash := auth.HashKey(auth.NewSecret("x"))
	with := func(change func(*auth.Config)) auth.Config {
		c := auth.DefaultConfig()
		change(&c)
		return c
	}
	hmacWith := func(secret, alg string) auth.Config {
		return with(func(c *auth.Config) { c.HMAC.Secret, c.HMAC.Algorithm = auth.NewSecret(secret), alg })
	}
	key := func(k auth.KeyConfig) auth.Config { return with(func(c *auth.Config) { c.Keys = []auth.KeyConfig{k} }) }
	good := auth.KeyConfig{Name: "ci", SHA256: hash, Capabilities: publishTo("a:>")}
	for _, tc := range []struct {
		name string
		cfg  auth.Config
		says []string // none: valid
	}{
		{"open", auth.Config{Open: true}, nil},
		{"HMAC", hmacWith(hmacSecret, "HS512"), nil},
		{"key", key(good), nil},
		{"nothing", auth.DefaultConfig(), []string{"no way to authenticate", "auth.hmac.secret"}},
		{"open and keys", auth.Config{Open: true, Keys: []auth.KeyConfig{good}}, []string{"auth.open"}},
		{"short secret", hmacWith("hunter2", "HS256"), []string{"auth.hmac.secret", "has 7 bytes", "at least 32"}},
		{"secret short for HS384", hmacWith(hmacSecret[:47], "HS384"), []string{"at least 48"}},
		{"algorithm", hmacWith(hmacSecret, "RS256"), []string{"auth.hmac.algorithm", `"RS256"`, "HS512"}},
		{"leeway", with(func(c *auth.Config) { c.HMAC.Secret, c.HMAC.Leeway = auth.NewSecret(hmacSecret), time.Hour }), []string{"auth.hmac.leeway", "1h0m0s"}},
		{"key name", key(auth.KeyConfig{Name: "a b", SHA256: hash, Capabilities: publishTo("a:>")}), []string{"auth.keys[0].name", `"a b"`}},
		{"key hash", key(auth.KeyConfig{Name: "a", SHA256: "rvk_thekey", Capabilities: publishTo("a:>")}), []string{"auth.keys[0].sha256"}},
		{"key without scope", key(auth.KeyConfig{Name: "a", SHA256: hash}), []string{"auth.keys[0].capabilities"}},
		{"key with a bad scope", key(auth.KeyConfig{Name: "a", SHA256: hash, Capabilities: publishTo("a:b..c")}), []string{"auth.keys[0].capabilities", "a:b..c"}},
		{"key with a subject", key(auth.KeyConfig{Name: "a", SHA256: hash, Capabilities: publishTo("a:${sub}")}), []string{"${sub}"}},
		{"everything at once", with(func(c *auth.Config) {
			c.HMAC.Secret, c.HMAC.Algorithm = auth.NewSecret("x"), "none"
			c.Keys = []auth.KeyConfig{good, good, {}}
		}), []string{
			"auth.hmac.algorithm", "auth.keys[1].name", "auth.keys[1].sha256", "auth.keys[2].name", "auth.keys[2].sha256", "auth.keys[2].capabilities",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.cfg.Validate()
			if _, newErr := auth.New(tc.cfg, auth.Services{}); (newErr == nil) != (err == nil) {
				t.Errorf("New says %v, Validate %v", newErr, err)
			}
			if (err == nil) != (len(tc.says) == 0) {
				t.Fatalf("error %v", err)
			}
			for _, want := range tc.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error lacks %q:\n%v", want, err)
				}
			}
			for _, secret := range []string{"hunter2", "rvk_thekey"} {
				if strings.Contains(fmt.Sprint(err), secret) {
					t.Errorf("error reveals %q:\n%v", secret, err)
				}
			}
		})
	}
}
