package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Signer makes tokens, as an application does for its users.
type Signer struct {
	Algorithm string // HS256, …, RS256, …, PS256, …, ES256, …, EdDSA
	// Key is a []byte for HS, else the private key: *rsa.PrivateKey, *ecdsa.PrivateKey
	// or ed25519.PrivateKey.
	Key      any
	KeyID    string // "kid"; "" is none
	Issuer   string // "iss"; "" is none
	Audience string // "aud"; "" is none
}

// Mint signs a token for claims with the secret of cfg; see Signer.Mint.
func Mint(cfg HMACConfig, c Claims) (string, error) {
	if err := cfg.Validate(); err != nil {
		return "", err
	}
	return Signer{
		Algorithm: cfg.algorithm(), Key: []byte(cfg.Secret.Reveal()), Issuer: cfg.Issuer, Audience: cfg.Audience,
	}.Mint(c)
}

// Mint signs a token for claims, which need an ExpiresAt. Capabilities must have
// been made by this package. With a Channel it is a subscription token: it has those of
// subscribe, history and presence that Capabilities allow on the channel, and neither
// Channels nor Limits. Key is not looked at, and IssuedAt is now where it is zero.
func (s Signer) Mint(c Claims) (string, error) {
	method := jwt.GetSigningMethod(s.Algorithm)
	if method == nil || method == jwt.SigningMethodNone {
		return "", fmt.Errorf("auth: mint: %q is not an algorithm; use for example HS256, RS256, ES256 or EdDSA", s.Algorithm)
	}
	if err := fits(s.Algorithm, s.Key); err != nil {
		return "", fmt.Errorf("auth: mint: the key is not one for %s: %w", s.Algorithm, err)
	}
	m, err := s.payload(&c)
	if err != nil {
		return "", fmt.Errorf("auth: mint: %w", err)
	}
	t := jwt.NewWithClaims(method, m)
	if s.KeyID != "" {
		t.Header["kid"] = s.KeyID
	}
	token, err := t.SignedString(s.Key)
	if err != nil {
		return "", fmt.Errorf("auth: mint: the key is not one for %s: %w", s.Algorithm, err)
	}
	if len(token) > MaxTokenBytes {
		return "", fmt.Errorf("auth: mint: the token has %d bytes, at most %d are accepted; use fewer patterns", len(token), MaxTokenBytes)
	}
	return token, nil
}

// fits reports whether key is of the kind that an algorithm signs with, and one that a
// node takes the public key of.
func fits(algorithm string, key any) error {
	kind := family(algorithm)
	switch k := key.(type) {
	case []byte:
		if leastSecret(algorithm) == 0 {
			return fmt.Errorf("a shared secret signs with HS256, HS384 or HS512, not %s", algorithm)
		}
	case *rsa.PrivateKey:
		switch bits := k.N.BitLen(); {
		case kind != "RS" && kind != "PS":
			return fmt.Errorf("an RSA key signs with RS256, RS384, RS512, PS256, PS384 or PS512, not %s", algorithm)
		case bits < minRSABits || bits > maxRSABits:
			return fmt.Errorf("it has %d bits, and nodes take %d to %d; make one with: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:%d",
				bits, minRSABits, maxRSABits, minRSABits)
		}
	case *ecdsa.PrivateKey:
		switch only := AlgorithmOf(k); {
		case only == "":
			return fmt.Errorf("it is of %s, and nodes take P-256, P-384 and P-521", k.Curve.Params().Name)
		case only != algorithm:
			return fmt.Errorf("an EC %s key signs with %s, not %s", k.Curve.Params().Name, only, algorithm)
		}
	case ed25519.PrivateKey:
		if algorithm != AlgorithmOf(k) {
			return fmt.Errorf("an Ed25519 key signs with EdDSA, not %s", algorithm)
		}
	default:
		return fmt.Errorf("a %T is no key that signs", key)
	}
	return nil
}

func (s Signer) payload(c *Claims) (jwt.MapClaims, error) {
	if err := checkText(c.Subject); err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	if err := checkText(c.TokenID); err != nil {
		return nil, fmt.Errorf("token id: %w", err)
	}
	if c.ExpiresAt.IsZero() {
		return nil, errors.New("ExpiresAt is missing; every token must expire")
	}
	issued := c.IssuedAt
	if issued.IsZero() {
		issued = time.Now()
	}
	m := jwt.MapClaims{"iat": issued.Unix(), "exp": c.ExpiresAt.Unix()}
	for name, value := range map[string]string{"sub": c.Subject, "iss": s.Issuer, "aud": s.Audience, "jti": c.TokenID} {
		if value != "" {
			m[name] = value
		}
	}
	if c.Channel != "" {
		return m, c.mintSubscription(m)
	}
	m["caps"] = c.Capabilities
	if len(c.Channels) > 0 {
		checked := Claims{Subject: c.Subject, Capabilities: c.Capabilities}
		if err := checked.subscribeTo(c.Channels); err != nil {
			return nil, fmt.Errorf("channels: %w", err)
		}
		m["channels"] = c.Channels
	}
	if c.Info != "" {
		info, err := compactInfo([]byte(c.Info))
		if err != nil {
			return nil, fmt.Errorf("meta: %w", err)
		}
		m["meta"] = json.RawMessage(info)
	}
	if l := c.Limits; !l.IsZero() {
		m["limits"] = limitClaims{some(l.Subscriptions), some(l.Commands), some(l.Publishes), some(l.OutboundBytes)}
	}
	return m, nil
}

func some[N int | int64](n N) *N {
	if n == 0 {
		return nil
	}
	return &n
}

func (c *Claims) mintSubscription(m jwt.MapClaims) error {
	var actions []Action
	for _, a := range []Action{Subscribe, History, Presence} {
		if c.Allows(a, c.Channel) {
			actions = append(actions, a)
		}
	}
	var checked Claims
	if err := checked.onlyOn(c.Channel, actions); err != nil {
		return fmt.Errorf("channel: %w", err)
	}
	m["channel"], m["actions"] = checked.Channel, actions
	return nil
}

// ParsePrivateKey reads a private key as PEM, for Signer.Key.
func ParsePrivateKey(text []byte) (crypto.PrivateKey, error) {
	block, rest := pem.Decode(text)
	for block != nil && block.Type == "EC PARAMETERS" { // openssl ecparam writes them before the key
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("auth: not a private key; it must be PEM, which begins with -----BEGIN PRIVATE KEY-----")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("auth: is %.32q; a private key is needed, without a passphrase", block.Type)
	}
	if err != nil {
		return nil, errors.New("auth: not a private key that can be read") // the cause may show parts of it
	}
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("auth: is a private key of another kind than RSA, EC and Ed25519")
}

// AlgorithmOf is the one algorithm that a private key signs with, "" for a key that has
// several.
func AlgorithmOf(key crypto.PrivateKey) string {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return "EdDSA"
	case *ecdsa.PrivateKey:
		return map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[k.Curve.Params().Name]
	}
	return ""
}
