package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
)

// KeyPrefix marks our API keys for people and secret scanners. No name of one begins so.
const KeyPrefix = "rvk_"

// Keys verifies static API keys of publishers, of which it knows only the hash.
// The hash is plain SHA-256, so keys must be random, as NewKey makes them.
type Keys struct {
	keys []staticKey // static after NewKeys
}

type staticKey struct {
	hash   [sha256.Size]byte
	claims Claims
}

// NewKeys builds the verifier; the errors are those of KeyConfig.Validate.
func NewKeys(configs []KeyConfig) (*Keys, error) {
	if err := validateKeys(configs); err != nil {
		return nil, err
	}
	k := &Keys{}
	for _, c := range configs {
		caps, err := NewCapabilities(c.Capabilities)
		if err != nil {
			return nil, err
		}
		key := staticKey{claims: Claims{Key: c.Name, Capabilities: caps}}
		if _, err := hex.Decode(key.hash[:], []byte(c.SHA256)); err != nil {
			return nil, err
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}

// Authenticate finds the key. It compares with every hash, in constant time.
// Errors wrap ErrMissing or ErrInvalid.
func (k *Keys) Authenticate(_ context.Context, token string) (Claims, error) {
	switch {
	case token == "":
		return Claims{}, ErrMissing
	case len(token) > MaxTokenBytes:
		return Claims{}, invalid("over %d bytes", MaxTokenBytes)
	}
	hash := sha256.Sum256([]byte(token))
	found := -1
	for i := range k.keys {
		equal := subtle.ConstantTimeCompare(hash[:], k.keys[i].hash[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return Claims{}, invalid("unknown API key")
	}
	return k.keys[found].claims, nil
}

// NewKey makes a random API key of 256 bits.
func NewKey() Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, by its contract
	return NewSecret(KeyPrefix + base64.RawURLEncoding.EncodeToString(b[:]))
}

// HashKey is the hash of an API key as KeyConfig takes it.
func HashKey(key Secret) string {
	hash := sha256.Sum256([]byte(key.Reveal()))
	return hex.EncodeToString(hash[:])
}
