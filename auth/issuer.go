package auth

import (
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// IssuerConfig is one issuer of tokens that are signed with its private key, as OIDC
// providers do. It has one source of public keys.
type IssuerConfig struct {
	Name     string // shown in logs and metrics; [A-Za-z0-9_-]{1,64}
	Issuer   string // "iss" must equal it; one issuer at most may go without
	Audience string // if set, "aud" must contain it
	// Algorithms that the issuer signs with, of one family: RS256, RS384 and RS512; the
	// same with PS; ES256, ES384 and ES512; or EdDSA.
	Algorithms []string
	// PublicKeys are PEM, up to 8 keys or certificates.
	PublicKeys []byte
	// JWKS is a key set as JSON (RFC 7517), JWKSURL where it is fetched.
	JWKS    []byte
	JWKSURL string
	// CA, if set, are PEM certificates that sign the server of JWKSURL, instead of the
	// system's.
	CA     []byte
	Leeway time.Duration // 0 to 5 minutes
	// Capabilities of the issuer's tokens without a claim "caps".
	Capabilities map[string][]Action
}

// Validate reports every problem, each beginning with its key.
func (c IssuerConfig) Validate() error {
	_, err := c.build(slog.New(slog.DiscardHandler), nil)
	return err
}

// build makes the issuer; without metrics it is only checked.
func (c IssuerConfig) build(log *slog.Logger, m *keyMetrics) (*issuer, error) {
	var errs []error
	if !ValidKeyName(c.Name) {
		errs = append(errs, fmt.Errorf("name: %q must have 1 to 64 of A-Z, a-z, 0-9, _ and -", clip(c.Name)))
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		errs = append(errs, fmt.Errorf("leeway: %v must be from 0 to %v", c.Leeway, maxLeeway))
	}
	i := &issuer{
		iss: c.Issuer, algorithms: c.Algorithms, leeway: c.Leeway,
		validator: newValidator(c.Issuer, c.Audience, c.Leeway),
	}
	if err := checkAlgorithms(c.Algorithms); err != nil {
		errs = append(errs, fmt.Errorf("algorithms: %w", err))
	} else if err := c.source(i, log, m); err != nil {
		errs = append(errs, err)
	}
	if len(c.Capabilities) > 0 {
		var err error
		if i.fallback, err = NewCapabilities(c.Capabilities); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				errs = append(errs, fmt.Errorf("capabilities: %s", line))
			}
		}
	}
	return i, errors.Join(errs...)
}

func checkAlgorithms(list []string) error {
	if len(list) == 0 {
		return errors.New("are missing; name what the issuer signs with, for example [RS256] or [ES256]")
	}
	for i, a := range list {
		switch {
		case strings.HasPrefix(a, "HS"):
			return fmt.Errorf("%q needs a shared secret, which belongs under auth.hmac", a)
		case family(a) == "":
			return fmt.Errorf("%q is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA", clip(a))
		case i > 0 && family(a) != family(list[0]):
			return fmt.Errorf("%s and %s are of different families; make them two issuers", list[0], a)
		}
	}
	return nil
}

func (c IssuerConfig) source(i *issuer, log *slog.Logger, m *keyMetrics) error {
	given := 0
	for _, set := range []bool{len(c.PublicKeys) > 0, len(c.JWKS) > 0, c.JWKSURL != ""} {
		if set {
			given++
		}
	}
	switch {
	case given != 1:
		return fmt.Errorf("public_key_file: give exactly one of public_key_file, jwks_file and jwks_url; there are %d", given)
	case len(c.PublicKeys) > 0:
		return static(i, "public_key_file", c.PublicKeys, parsePEM)
	case len(c.JWKS) > 0:
		return static(i, "jwks_file", c.JWKS, parseJWKS)
	}
	if err := checkURL(c.JWKSURL); err != nil {
		return fmt.Errorf("jwks_url: %w", err)
	}
	if m == nil {
		_, err := certificates(c.CA)
		if err != nil {
			return fmt.Errorf("jwks_ca_file: %w", err)
		}
		return nil
	}
	remote, err := newRemoteKeys(c, log, m)
	if err != nil {
		return fmt.Errorf("jwks_ca_file: %w", err)
	}
	i.keys = remote
	return nil
}

func static(i *issuer, key string, text []byte, parse func([]byte, []string) (*keySet, error)) error {
	if len(text) > maxKeyBytes {
		return fmt.Errorf("%s: has %d bytes, at most %d are allowed", key, len(text), maxKeyBytes)
	}
	set, err := parse(text, i.algorithms)
	if err != nil {
		return fmt.Errorf("%s: %s", key, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	i.keys = set
	return nil
}

func validateIssuers(list []IssuerConfig) error {
	var errs []error
	names, issuers := map[string]bool{}, map[string]bool{}
	for i, c := range list {
		if err := c.Validate(); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				errs = append(errs, fmt.Errorf("auth.tokens[%d].%s", i, line))
			}
		}
		if names[c.Name] {
			errs = append(errs, fmt.Errorf("auth.tokens[%d].name: %q is used twice", i, clip(c.Name)))
		}
		switch {
		case issuers[c.Issuer] && c.Issuer == "":
			errs = append(errs, fmt.Errorf("auth.tokens[%d].issuer: is missing, and another has none either; one at most takes tokens of any issuer", i))
		case issuers[c.Issuer]:
			errs = append(errs, fmt.Errorf("auth.tokens[%d].issuer: %q is used twice", i, clip(c.Issuer)))
		}
		names[c.Name], issuers[c.Issuer] = true, true
	}
	return errors.Join(errs...)
}

// hmacIssuer is the one that shares a secret with the node.
func (c HMACConfig) issuer() *issuer {
	keys := secrets{crypto.PublicKey([]byte(c.Secret.Reveal()))}
	if !c.PreviousSecret.IsZero() {
		keys = append(keys, []byte(c.PreviousSecret.Reveal()))
	}
	return &issuer{
		iss: c.Issuer, algorithms: []string{c.algorithm()}, leeway: c.Leeway, keys: keys,
		validator: newValidator(c.Issuer, c.Audience, c.Leeway),
	}
}
