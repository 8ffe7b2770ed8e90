package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// StoredKey is an API key that the log keeps. Of the key itself it has the hash alone.
type StoredKey struct {
	// ID tells it from an earlier key of the same name.
	ID           string
	Name         string // as KeyConfig's
	SHA256       string
	Capabilities map[string][]Action
	Publishes    int       // a second at most; 0 leaves it to the configuration
	Expires      time.Time // zero: never
	Created      time.Time
	By           string // who made it
	Dev          bool   // made while everybody could, so that it counts nowhere else
	// LastUsed is when a node has last seen it, to the minute; zero: not since the node
	// was started. It is not stored.
	LastUsed time.Time
}

// MaxPublishes bounds StoredKey.Publishes.
const MaxPublishes = 1_000_000

// NewStoredKey makes a key and what is stored of it. Its capabilities are copied. Errors
// begin with the name of the field.
func NewStoredKey(k StoredKey, now time.Time) (StoredKey, Secret, error) {
	secret := NewKey()
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, by its contract
	k.ID, k.SHA256, k.Created = hex.EncodeToString(id[:]), HashKey(secret), now
	k.Capabilities = maps.Clone(k.Capabilities)
	if err := k.validate(); err != nil {
		return k, Secret{}, err
	}
	if !k.Expires.IsZero() && !k.Expires.After(now) {
		return k, Secret{}, errors.New("expires: must be in the future")
	}
	return k, secret, nil
}

func (k StoredKey) validate() error {
	if err := (KeyConfig{Name: k.Name, SHA256: k.SHA256, Capabilities: k.Capabilities}).Validate(); err != nil {
		return err
	}
	if k.Publishes < 0 || k.Publishes > MaxPublishes {
		return fmt.Errorf("publishes: %d must be from 0 to %d a second", k.Publishes, MaxPublishes)
	}
	return nil
}

// Within reports whether whoever has the claims may do all that the key may; else the
// error says what not, beginning with the name of the field.
func (k StoredKey) Within(c Claims) error {
	for _, pattern := range slices.Sorted(maps.Keys(k.Capabilities)) {
		canonical := pattern
		if !strings.Contains(pattern, ":") {
			canonical = "default:" + pattern
		}
		for _, a := range k.Capabilities[pattern] {
			if !c.Allows(a, canonical) {
				return fmt.Errorf("capabilities: the token does not allow %s on %q itself, so it cannot grant it", a, clip(canonical))
			}
		}
	}
	if most := c.Limits.Publishes; most > 0 && (k.Publishes == 0 || k.Publishes > most) {
		return fmt.Errorf("publishes: must be from 1 to %d, which is the limit of the token itself", most)
	}
	return nil
}

type keyValue struct {
	ID           string              `json:"i"`
	SHA256       string              `json:"h"`
	Capabilities map[string][]Action `json:"c"`
	Publishes    int                 `json:"p,omitempty"`
	Expires      int64               `json:"x,omitempty"` // Unix milliseconds, as the following
	Created      int64               `json:"t"`
	By           string              `json:"y,omitempty"`
	Dev          bool                `json:"d,omitempty"`
}

// Encode is the key as the log keeps it, under KindKey and its name.
func (k StoredKey) Encode() ([]byte, error) {
	v := keyValue{ID: k.ID, SHA256: k.SHA256, Capabilities: k.Capabilities, Publishes: k.Publishes, Created: k.Created.UnixMilli(), By: k.By, Dev: k.Dev}
	if !k.Expires.IsZero() {
		v.Expires = k.Expires.UnixMilli()
	}
	return json.Marshal(v)
}

// DecodeStoredKey is the inverse of Encode.
func DecodeStoredKey(name string, value []byte) (StoredKey, error) {
	var v keyValue
	if err := json.Unmarshal(value, &v); err != nil {
		return StoredKey{}, fmt.Errorf("auth: stored key: %w", err)
	}
	k := StoredKey{
		ID: v.ID, Name: name, SHA256: v.SHA256, Capabilities: v.Capabilities, Publishes: v.Publishes,
		Created: time.UnixMilli(v.Created), By: v.By, Dev: v.Dev,
	}
	if v.Expires != 0 {
		k.Expires = time.UnixMilli(v.Expires)
	}
	if err := k.validate(); err != nil {
		return StoredKey{}, fmt.Errorf("auth: stored key: %w", err)
	}
	return k, nil
}

func (k StoredKey) claims() (Claims, error) {
	caps, err := NewCapabilities(k.Capabilities)
	return Claims{
		Key: k.Name, TokenID: k.ID, IssuedAt: k.Created, ExpiresAt: k.Expires,
		Capabilities: caps, Limits: Limits{Publishes: k.Publishes},
	}, err
}

func (k StoredKey) hash() (h [sha256.Size]byte, err error) {
	_, err = hex.Decode(h[:], []byte(k.SHA256))
	return h, err
}

// Expired reports whether the key has ended at the time now.
func (k StoredKey) Expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }
