package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
)

// HMACConfig is about JWT signed with a shared secret.
type HMACConfig struct {
	Secret auth.Secret `yaml:"secret"`
	// SecretFile holds the secret instead; a newline at its end does not count.
	SecretFile string `yaml:"secret_file"`
	// PreviousSecret, or its file, verifies tokens too, while the secret is rotated.
	PreviousSecret     auth.Secret `yaml:"previous_secret"`
	PreviousSecretFile string      `yaml:"previous_secret_file"`
	Algorithm          string      `yaml:"algorithm"`
	Issuer             string      `yaml:"issuer"`
	Audience           string      `yaml:"audience"`
	Leeway             Duration    `yaml:"leeway"`
}

// IssuerConfig is one issuer of tokens that signs them with a private key; a zero Leeway
// is the default.
type IssuerConfig struct {
	Name          string                   `yaml:"name"`
	Issuer        string                   `yaml:"issuer"`
	Audience      string                   `yaml:"audience"`
	Algorithms    []string                 `yaml:"algorithms"`
	PublicKeyFile string                   `yaml:"public_key_file"`
	JWKSFile      string                   `yaml:"jwks_file"`
	JWKSURL       string                   `yaml:"jwks_url"`
	JWKSCAFile    string                   `yaml:"jwks_ca_file"`
	Leeway        Duration                 `yaml:"leeway"`
	Capabilities  map[string][]auth.Action `yaml:"capabilities"`
}

// defaultTokenLifetime is how long a token may live, and its revocation with it.
const defaultTokenLifetime = 24 * time.Hour

// Sizes of files that hold secrets and public keys.
const (
	maxSecretFile = 4 << 10
	maxKeyFile    = 256 << 10
)

// readSecrets puts the secrets in place that are in files.
func (c HMACConfig) readSecrets(into *auth.HMACConfig) error {
	var errs []error
	for _, s := range []struct {
		key, file string
		into      *auth.Secret
	}{
		{"auth.hmac.secret_file", c.SecretFile, &into.Secret},
		{"auth.hmac.previous_secret_file", c.PreviousSecretFile, &into.PreviousSecret},
	} {
		if s.file == "" || !s.into.IsZero() {
			continue
		}
		secret, err := readSecret(s.key, s.file)
		if err == nil && secret.IsZero() {
			err = fmt.Errorf("%s: %s is empty", s.key, s.file)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		*s.into = secret
	}
	return errors.Join(errs...)
}

// ofFile says of a problem of a secret which file has it, where one does.
func (c HMACConfig) ofFile(problem error) error {
	for _, s := range []struct {
		key, file string
		inline    auth.Secret
	}{
		{"auth.hmac.secret", c.SecretFile, c.Secret}, {"auth.hmac.previous_secret", c.PreviousSecretFile, c.PreviousSecret},
	} {
		if rest, ok := strings.CutPrefix(problem.Error(), s.key+": has "); ok && s.file != "" && s.inline.IsZero() {
			return fmt.Errorf("%s_file: %s has %s", s.key, s.file, rest)
		}
	}
	return problem
}

// readSecret reads the file that a key names. A newline at its end does not count.
func readSecret(key, file string) (auth.Secret, error) {
	text, err := readFile(key, file, maxSecretFile)
	if err != nil {
		return auth.Secret{}, err
	}
	return auth.NewSecret(string(bytes.TrimRight(text, "\r\n"))), nil
}

// issuers reads the files of the issuers' keys. A file that cannot be read is a problem
// of its own; unread are the issuers that have one, by their place in the list: what
// else is said of their keys' source means nothing.
func (a AuthConfig) issuers() (list []auth.IssuerConfig, unread map[int]bool, err error) {
	unread = map[int]bool{}
	var errs []error
	for i, c := range a.Tokens {
		issuer := auth.IssuerConfig{
			Name: c.Name, Issuer: c.Issuer, Audience: c.Audience, Algorithms: c.Algorithms,
			JWKSURL: c.JWKSURL, Leeway: time.Duration(c.Leeway), Capabilities: c.Capabilities,
		}
		if c.Leeway == 0 {
			issuer.Leeway = auth.DefaultConfig().HMAC.Leeway
		}
		sources := 0
		for _, source := range []string{c.PublicKeyFile, c.JWKSFile, c.JWKSURL} {
			if source != "" {
				sources++
			}
		}
		for _, f := range []struct {
			key, file string
			into      *[]byte
		}{
			{"public_key_file", c.PublicKeyFile, &issuer.PublicKeys},
			{"jwks_file", c.JWKSFile, &issuer.JWKS},
			{"jwks_ca_file", c.JWKSCAFile, &issuer.CA},
		} {
			if f.file == "" {
				continue
			}
			key := fmt.Sprintf("auth.tokens[%d].%s", i, f.key)
			text, err := readFile(key, f.file, maxKeyFile)
			if err == nil && len(text) == 0 {
				err = fmt.Errorf("%s: %s is empty", key, f.file)
			}
			if err != nil {
				errs = append(errs, err)
				unread[i] = true
			}
			*f.into = text
		}
		if unread[i] && sources > 1 {
			errs = append(errs, fmt.Errorf("auth.tokens[%d].public_key_file: give exactly one of public_key_file, jwks_file and jwks_url; there are %d", i, sources))
		}
		list = append(list, issuer)
	}
	return list, unread, errors.Join(errs...)
}

// ofSource reports whether a problem is of where the keys of an unread issuer are.
func ofSource(problem error, unread map[int]bool) bool {
	for i := range unread {
		for _, key := range []string{"public_key_file", "jwks_file", "jwks_ca_file", "jwks_url"} {
			if strings.HasPrefix(problem.Error(), fmt.Sprintf("auth.tokens[%d].%s:", i, key)) {
				return true
			}
		}
	}
	return false
}

// readFile reads a file that the configuration names under key.
func readFile(key, file string, most int) ([]byte, error) {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", key, err)
	case len(text) > most:
		return nil, fmt.Errorf("%s: %s has more than %d bytes", key, file, most)
	}
	return text, nil
}

// tokenWarnings says what is allowed of tokens and yet should be known.
func tokenWarnings(c AuthConfig, a auth.Config) []string {
	var list []string
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, f := range []struct{ key, file string }{
		{"secret_file", c.HMAC.SecretFile}, {"previous_secret_file", c.HMAC.PreviousSecretFile},
	} {
		if readableByOthers(f.file) {
			warn("auth.hmac.%s: %s can be read by other users; chmod 600 it", f.key, f.file)
		}
	}
	if h := a.HMAC; !h.Secret.IsZero() {
		if why := guessable(h.Secret.Reveal()); why != "" {
			warn("auth.hmac.secret: %s, and whoever has one token can try out secrets at leisure; make one with: openssl rand -hex 32", why)
		}
		if !h.PreviousSecret.IsZero() {
			warn("auth.hmac.previous_secret: still lets in whoever knows it; remove it when the last token signed with it has expired")
		}
		if h.Issuer == "" && h.Audience == "" {
			warn("auth.hmac.issuer: with neither issuer nor audience, a token that was made for another service with the same secret is taken here too")
		}
	}
	for i, t := range a.Tokens {
		if t.Issuer == "" {
			warn("auth.tokens[%d].issuer: is not set, so a token is taken whatever its iss says", i)
		}
		if t.Audience == "" {
			warn("auth.tokens[%d].audience: is not set, so a token that the issuer made for another service is taken here too", i)
		}
		if strings.HasPrefix(t.JWKSURL, "http:") {
			warn("auth.tokens[%d].jwks_url: is not encrypted; what runs on this machine can answer in the issuer's place", i)
		}
	}
	if a.IATOptional {
		warn("auth.iat_optional: a token without iat outlives its revocation if it was made for longer than auth.max_token_lifetime, which nobody can know; have the issuers set iat")
	}
	if a.MaxTokenLifetime > 7*defaultTokenLifetime {
		warn("auth.max_token_lifetime: a token that is stolen is good for up to %v; short tokens that are refreshed are safer", Duration(a.MaxTokenLifetime))
	}
	return list
}

// guessable says why a secret may be guessed, "" if nothing speaks for it.
func guessable(secret string) string {
	different := map[rune]bool{}
	for _, r := range secret {
		different[r] = true
	}
	lower := strings.ToLower(secret)
	switch {
	case len(different) < 8:
		return fmt.Sprintf("has only %d different characters", len(different))
	case strings.Contains(strings.Repeat("0123456789abcdef", 8), lower), strings.Contains(strings.Repeat("abcdefghijklmnopqrstuvwxyz", 4), lower):
		return "is a sequence of characters"
	}
	for n := 1; n <= len(secret)/2; n++ {
		if strings.Repeat(secret[:n], len(secret)/n+1)[:len(secret)] == secret {
			return "repeats one short text"
		}
	}
	for _, word := range []string{"secret", "password", "changeme", "change-me", "rivulet", "example", "qwerty"} {
		if strings.Contains(lower, word) {
			return "has the word " + word + " in it"
		}
	}
	return ""
}
