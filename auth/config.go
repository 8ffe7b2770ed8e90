package auth

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config says how callers authenticate. HMAC, Tokens and Keys may be used together.
type Config struct {
	// Open lets everybody do everything, for development. It excludes the others.
	Open bool
	HMAC HMACConfig
	// Tokens are issuers that sign with private keys.
	Tokens []IssuerConfig
	Keys   []KeyConfig
	// MaxTokenLifetime refuses tokens that live longer, from "iat" to "exp", so that a
	// revocation need not be kept longer either; 0 takes any.
	MaxTokenLifetime time.Duration
	// IATOptional takes tokens without "iat" where there is a MaxTokenLifetime, although
	// nobody knows then how long they live: such a token is good in its last
	// MaxTokenLifetime, and so may outlive its revocation, unless the issuers see to it
	// that none lives longer.
	IATOptional bool
}

// HMACConfig is about JWT signed with a shared secret; without a Secret it is off.
type HMACConfig struct {
	// Secret must have at least as many bytes as the algorithm's hash: 32, 48 or 64.
	Secret Secret
	// PreviousSecret verifies tokens too, while they change over to another Secret.
	PreviousSecret Secret
	// Algorithm is HS256 (also if empty), HS384 or HS512.
	Algorithm string
	Issuer    string // if set, "iss" must equal it
	Audience  string // if set, "aud" must contain it
	// Leeway allows for clocks that differ, 0 to 5 minutes.
	Leeway time.Duration
}

// KeyConfig is one API key.
type KeyConfig struct {
	Name         string // shown in logs, and the identity of its idempotency keys; [A-Za-z0-9_-]{1,64}
	SHA256       string // of the key, 64 hexadecimal digits
	Capabilities map[string][]Action
}

const (
	maxLeeway        = 5 * time.Minute
	minTokenLifetime = time.Minute
	maxTokenLifetime = 400 * 24 * time.Hour
)

// DefaultConfig has a leeway of 30 seconds and no way to authenticate yet.
func DefaultConfig() Config {
	return Config{HMAC: HMACConfig{Algorithm: "HS256", Leeway: 30 * time.Second}}
}

// Validate reports every problem, each naming its key.
func (c Config) Validate() error {
	var errs []error
	hmac := !c.HMAC.Secret.IsZero()
	if some := hmac || len(c.Tokens) > 0 || len(c.Keys) > 0; c.Open && some {
		errs = append(errs, errors.New("auth.open: cannot be combined with auth.hmac, auth.tokens or auth.keys; it would let everybody in"))
	} else if !c.Open && !some {
		errs = append(errs, ErrNotConfigured)
	}
	if d := c.MaxTokenLifetime; d != 0 && (d < minTokenLifetime || d > maxTokenLifetime) {
		errs = append(errs, fmt.Errorf("auth.max_token_lifetime: %v must be from %v to %v", d, minTokenLifetime, maxTokenLifetime))
	}
	if hmac {
		errs = append(errs, c.HMAC.Validate())
	} else if !c.Open { // what is not in use yet may be wrong already
		errs = append(errs, c.HMAC.problems()...)
	}
	return errors.Join(append(errs, validateIssuers(c.Tokens), validateKeys(c.Keys))...)
}

func (c HMACConfig) algorithm() string {
	if c.Algorithm == "" {
		return "HS256"
	}
	return c.Algorithm
}

// Validate reports every problem, each naming its key.
func (c HMACConfig) Validate() error {
	errs := c.problems()
	least, algorithm := leastSecret(c.algorithm()), c.algorithm()
	if least == 0 {
		least, algorithm = leastSecret("HS256"), "any algorithm"
	}
	if n := len(c.Secret.Reveal()); n < least {
		errs = append(errs, fmt.Errorf("auth.hmac.secret: has %d bytes, %s needs at least %d; make one with: openssl rand -hex %d",
			n, algorithm, least, least))
	}
	if n := len(c.PreviousSecret.Reveal()); n > 0 && n < least {
		errs = append(errs, fmt.Errorf("auth.hmac.previous_secret: has %d bytes, %s needs at least %d", n, algorithm, least))
	}
	return errors.Join(errs...)
}

// leastSecret is how many bytes an algorithm's secret has at least, 0 for an unknown one.
func leastSecret(algorithm string) int {
	return map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}[algorithm]
}

// problems are those of everything but the secret.
func (c HMACConfig) problems() []error {
	var errs []error
	if leastSecret(c.algorithm()) == 0 {
		errs = append(errs, fmt.Errorf("auth.hmac.algorithm: %q is not one of HS256, HS384, HS512", c.Algorithm))
	}
	if !c.PreviousSecret.IsZero() && c.Secret.IsZero() {
		errs = append(errs, errors.New("auth.hmac.previous_secret: auth.hmac.secret is not set; set the secret that tokens are signed with now"))
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		errs = append(errs, fmt.Errorf("auth.hmac.leeway: %v must be from 0 to %v", c.Leeway, maxLeeway))
	}
	return errs
}

// Validate reports every problem.
func (c KeyConfig) Validate() error {
	var errs []error
	switch {
	case strings.HasPrefix(c.Name, KeyPrefix):
		errs = append(errs, errors.New("name: must not begin with "+KeyPrefix+": it looks like the key itself, which must not be shown"))
	case !ValidKeyName(c.Name):
		errs = append(errs, fmt.Errorf("name: %q must have 1 to 64 of A-Z, a-z, 0-9, _ and -", clip(c.Name)))
	}
	// The bad value is not repeated: it may be the key itself, put there by mistake.
	if b, err := hex.DecodeString(c.SHA256); err != nil || len(b) != 32 {
		errs = append(errs, errors.New("sha256: must be the 64 hexadecimal digits of the key's SHA-256"))
	}
	caps, err := NewCapabilities(c.Capabilities)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			errs = append(errs, fmt.Errorf("capabilities: %s", line))
		}
	} else if caps.IsZero() {
		errs = append(errs, errors.New(`capabilities: missing; write for example {"chat:>": ["publish"]}`))
	}
	for pattern := range c.Capabilities {
		if strings.Contains(pattern, subVariable) {
			errs = append(errs, fmt.Errorf("capabilities: %q: a key has no subject, so ${sub} would match nothing", clip(pattern)))
		}
	}
	return errors.Join(errs...)
}

func validateKeys(keys []KeyConfig) error {
	var errs []error
	names, hashes := map[string]bool{}, map[string]bool{}
	for i, k := range keys {
		if err := k.Validate(); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				errs = append(errs, fmt.Errorf("auth.keys[%d].%s", i, line))
			}
		}
		hash := strings.ToLower(k.SHA256)
		if names[k.Name] {
			errs = append(errs, fmt.Errorf("auth.keys[%d].name: %q is used twice", i, clip(k.Name)))
		}
		if hashes[hash] {
			errs = append(errs, fmt.Errorf("auth.keys[%d].sha256: the key of another entry", i))
		}
		names[k.Name], hashes[hash] = true, true
	}
	return errors.Join(errs...)
}

// ValidKeyName reports whether s may be the name of an API key. A key itself may not: names
// are shown and logged.
func ValidKeyName(s string) bool {
	ok := s != "" && len(s) <= 64 && !strings.HasPrefix(s, KeyPrefix)
	for i := range len(s) {
		b := s[i]
		ok = ok && (b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-')
	}
	return ok
}
