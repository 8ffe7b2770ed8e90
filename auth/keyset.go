package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Bounds of the keys of one issuer.
const (
	maxKeys     = 32 // of a key set, or a file of keys
	maxTried    = 8  // of those that a token's signature may be checked with
	maxKeyID    = 255
	minRSABits  = 2048
	maxRSABits  = 8192 // more makes a signature costly to check
	maxKeyBytes = 256 << 10
)

// publicKey verifies signatures of the algorithms that it was made for, and of no other:
// which one a token's header names cannot change what a key means.
type publicKey struct {
	id         string // "kid", "" where it has none
	algorithms []string
	key        crypto.PublicKey
}

// keySet is a set of keys. It does not change.
type keySet struct {
	keys  []publicKey
	named bool // one of them at least has an ID
	// left says why keys of the source are not in the set.
	left []error
}

// candidates are the keys that a token with this key ID and algorithm may be signed
// with. An ID only compares: it is no path, no URL, and never leaves this function.
func (s *keySet) candidates(id, algorithm string) []crypto.PublicKey {
	var found []crypto.PublicKey
	for i := range s.keys {
		k := &s.keys[i]
		if s.named && id != "" && k.id != id || !slices.Contains(k.algorithms, algorithm) {
			continue
		}
		if found = append(found, k.key); len(found) == maxTried {
			break
		}
	}
	return found
}

// family is the kind of key that an algorithm needs, "" for an unknown one. HMAC has
// none: no secret is ever a public key, nor the other way round.
func family(algorithm string) string {
	switch algorithm {
	case "RS256", "RS384", "RS512":
		return "RS"
	case "PS256", "PS384", "PS512":
		return "PS"
	case "ES256", "ES384", "ES512":
		return "ES"
	case "EdDSA":
		return "EdDSA"
	}
	return ""
}

// fitting returns those of the algorithms that a key is good for, or says what is wrong
// with it.
func fitting(key crypto.PublicKey, algorithms []string) ([]string, error) {
	kind, only := "", ""
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return nil, fmt.Errorf("is an RSA key of %d bits, which must have %d to %d", n, minRSABits, maxRSABits)
		}
		kind = "RSA"
	case *ecdsa.PublicKey:
		kind = "EC"
		// The library does not check that the curve is the algorithm's.
		only = map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[k.Curve.Params().Name]
	case ed25519.PublicKey:
		kind = "Ed25519"
	}
	var fit []string
	for _, a := range algorithms {
		needs := map[string]string{"RS": "RSA", "PS": "RSA", "ES": "EC", "EdDSA": "Ed25519"}[family(a)]
		if kind != "" && needs == kind && (kind != "EC" || a == only) {
			fit = append(fit, a)
		}
	}
	if len(fit) == 0 {
		return nil, fmt.Errorf("is not a key for %q", algorithms)
	}
	return fit, nil
}

// parsePEM reads a file of public keys or certificates, one after the other. Each must be
// good for one of the algorithms.
func parsePEM(text []byte, algorithms []string) (*keySet, error) {
	set := &keySet{}
	for n := 1; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if text = rest; n > maxTried {
			return nil, fmt.Errorf("has more than %d keys", maxTried)
		}
		key, err := parseBlock(block)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", n, err)
		}
		fit, err := fitting(key, algorithms)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", n, err)
		}
		set.keys = append(set.keys, publicKey{algorithms: fit, key: key})
	}
	if len(set.keys) == 0 {
		return nil, errors.New("has no key; it must be PEM, which begins with -----BEGIN PUBLIC KEY-----")
	}
	return set, nil
}

func parseBlock(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE": // for its key alone; the token is what expires
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		return nil, errors.New("is a private key, which belongs to the issuer alone; give the public one: openssl pkey -in FILE -pubout")
	}
	return nil, fmt.Errorf("is %.32q; a public key or a certificate is needed", block.Type)
}

// parseJWKS reads a key set (RFC 7517). Keys of other uses or algorithms are left out, as
// are those that are too weak; there must be one that is good.
func parseJWKS(text []byte, algorithms []string) (*keySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, errors.New(`is not a key set; it must be like {"keys":[{"kty":"RSA",…}]}`)
	}
	if len(raw.Keys) > maxKeys {
		return nil, fmt.Errorf("has %d keys, at most %d are allowed", len(raw.Keys), maxKeys)
	}
	set := &keySet{}
	for i, text := range raw.Keys {
		k, err := parseJWK(text, algorithms)
		if err != nil {
			set.left = append(set.left, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		set.keys = append(set.keys, k)
		set.named = set.named || k.id != ""
	}
	if len(set.keys) == 0 {
		return nil, errors.Join(append([]error{fmt.Errorf("has no key for %q", algorithms)}, set.left...)...)
	}
	return set, nil
}

func parseJWK(text json.RawMessage, algorithms []string) (publicKey, error) {
	var none publicKey
	var jwk jose.JSONWebKey
	var ops struct {
		List []string `json:"key_ops"`
	}
	if jwk.UnmarshalJSON(text) != nil || json.Unmarshal(text, &ops) != nil {
		return none, errors.New("is malformed or of a kind that is not known") // the library's text may repeat it
	}
	switch {
	case !jwk.IsPublic():
		return none, errors.New("is a secret or a private key, which does not belong in a key set that is given away")
	case !jwk.Valid():
		return none, errors.New("is not valid")
	case jwk.Use != "" && jwk.Use != "sig" || len(ops.List) > 0 && !slices.Contains(ops.List, "verify"):
		return none, errors.New("is for another use than signatures")
	case len(jwk.KeyID) > maxKeyID:
		return none, fmt.Errorf("has a kid of %d bytes, at most %d are allowed", len(jwk.KeyID), maxKeyID)
	}
	fit, err := fitting(jwk.Key, algorithms)
	if err != nil {
		return none, err
	}
	if jwk.Algorithm != "" {
		if !slices.Contains(fit, jwk.Algorithm) {
			return none, fmt.Errorf("is for %.16q alone", jwk.Algorithm)
		}
		fit = []string{jwk.Algorithm}
	}
	return publicKey{id: jwk.KeyID, algorithms: fit, key: jwk.Key}, nil
}

// sameKeys reports whether two sets verify the same tokens.
func sameKeys(a, b *keySet) bool {
	return a != nil && b != nil && slices.EqualFunc(a.keys, b.keys, func(x, y publicKey) bool {
		kx, errX := x509.MarshalPKIXPublicKey(x.key)
		ky, errY := x509.MarshalPKIXPublicKey(y.key)
		return errX == nil && errY == nil && x.id == y.id && slices.Equal(x.algorithms, y.algorithms) && bytes.Equal(kx, ky)
	})
}
