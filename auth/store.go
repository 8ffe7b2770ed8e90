package auth

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Change is an entry of the log, or that it is gone where Value is empty.
type Change struct {
	Kind, Name string
	Value      []byte
}

// Store has the API keys and revocations of the log in memory: it is the KeyStore and
// the Revocations of a Verifier. What the log may hold of them bounds it. It runs
// nothing, and is safe for concurrent use.
type Store struct {
	malformed prometheus.Counter
	// some is how many revocations there are and keys were removed: while it is 0,
	// nothing is revoked, and nobody takes the lock.
	some atomic.Int64

	mu      sync.RWMutex // guards the following
	hashes  map[[sha256.Size]byte]*storedKey
	keys    map[string]*storedKey // by name
	tokens  map[string]Revocation
	users   map[string]Revocation
	all     Revocation
	pruned  time.Time
	removed bool // a key was, since the start
}

type storedKey struct {
	StoredKey

	hash   [sha256.Size]byte
	claims Claims
	used   atomic.Int64 // Unix seconds
}

var (
	_ KeyStore    = (*Store)(nil)
	_ Revocations = (*Store)(nil)
)

// pruneEvery is how often what has expired is looked for, where the log has not told.
const pruneEvery = time.Minute

// usedEvery is how exact StoredKey.LastUsed is.
const usedEvery = int64(time.Minute / time.Second)

// NewStore is empty. reg may be nil; the errors are those of registering metrics.
func NewStore(reg prometheus.Registerer) (*Store, error) {
	s := &Store{malformed: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "rivulet_auth_store_malformed_total", Help: "Entries of the log that are no API key or revocation, and were skipped.",
	})}
	s.clear()
	if reg == nil {
		return s, nil
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s.mu.RLock()
			defer s.mu.RUnlock()
			return float64(value())
		})
	}
	for _, c := range []prometheus.Collector{
		s.malformed,
		gauge("rivulet_auth_stored_keys", "API keys that the log keeps.", func() int { return len(s.keys) }),
		gauge("rivulet_auth_revocations", "Revocations in force.", s.revocationsLocked),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Store) clear() {
	s.hashes, s.keys = map[[sha256.Size]byte]*storedKey{}, map[string]*storedKey{}
	s.tokens, s.users, s.all = map[string]Revocation{}, map[string]Revocation{}, Revocation{}
}

func (s *Store) revocationsLocked() int {
	n := len(s.tokens) + len(s.users)
	if !s.all.Expires.IsZero() {
		n++
	}
	return n
}

// Apply takes changes in their order; whole says that they are all there is. It reports
// whether something may be revoked now that was not before. What is malformed is skipped
// and counted.
func (s *Store) Apply(list []Change, whole bool) (revokes bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if whole {
		revokes = len(s.keys) > 0
		s.removed = s.removed || revokes
		s.clear()
	}
	for _, c := range list {
		more, err := s.applyLocked(c)
		if err != nil {
			s.malformed.Inc()
		}
		revokes = revokes || more
	}
	if now.Sub(s.pruned) >= pruneEvery {
		s.pruned = now
		s.pruneLocked(now)
	}
	some := s.revocationsLocked()
	if s.removed {
		some++
	}
	s.some.Store(int64(some))
	return revokes
}

func (s *Store) applyLocked(c Change) (revokes bool, err error) {
	gone := len(c.Value) == 0
	if c.Kind == KindKey {
		return s.applyKeyLocked(c, gone)
	}
	var r Revocation
	if !gone {
		if r, err = DecodeRevocation(c.Kind, c.Name, c.Value); err != nil {
			return false, err // one that was there before holds on
		}
	}
	switch c.Kind {
	case KindToken:
		put(s.tokens, c.Name, r, gone)
	case KindUser:
		put(s.users, c.Name, r, gone)
	case KindAll:
		s.all = r
	default:
		return false, invalid("entry of an unknown kind")
	}
	return !gone, nil
}

func put(m map[string]Revocation, name string, r Revocation, gone bool) {
	if gone {
		delete(m, name)
		return
	}
	m[name] = r
}

// applyKeyLocked takes a key; one that cannot be read is none, also where there was one
// before: what it may do is not known.
func (s *Store) applyKeyLocked(c Change, gone bool) (revokes bool, err error) {
	if old := s.keys[c.Name]; old != nil {
		delete(s.keys, c.Name)
		delete(s.hashes, old.hash)
		s.removed, revokes = true, true
	}
	if gone {
		return revokes, nil
	}
	k := &storedKey{}
	if k.StoredKey, err = DecodeStoredKey(c.Name, c.Value); err == nil {
		if k.hash, err = k.StoredKey.hash(); err == nil {
			k.claims, err = k.StoredKey.claims()
		}
	}
	if err != nil {
		return revokes, err
	}
	s.keys[c.Name], s.hashes[k.hash] = k, k
	return revokes, nil
}

func (s *Store) pruneLocked(now time.Time) {
	for _, m := range []map[string]Revocation{s.tokens, s.users} {
		for name, r := range m {
			if !now.Before(r.Expires) {
				delete(m, name)
			}
		}
	}
	if !now.Before(s.all.Expires) {
		s.all = Revocation{}
	}
}

// Lookup implements KeyStore.
func (s *Store) Lookup(hash [sha256.Size]byte) (Claims, bool) {
	s.mu.RLock()
	k := s.hashes[hash]
	s.mu.RUnlock()
	if k == nil {
		return Claims{}, false
	}
	if now := time.Now().Unix(); now-k.used.Load() >= usedEvery {
		k.used.Store(now)
	}
	return k.claims, true
}

// Revoked implements Revocations. Claims of a key of the log are revoked when it is no
// longer there; revocations are of tokens alone.
func (s *Store) Revoked(c Claims) bool {
	if s.some.Load() == 0 {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c.Key != "" {
		if c.TokenID == "" {
			return false // of the configuration
		}
		k := s.keys[c.Key]
		return k == nil || k.ID != c.TokenID
	}
	var now time.Time
	in := func(r Revocation) bool {
		if now.IsZero() {
			now = time.Now()
		}
		return now.Before(r.Expires)
	}
	if r, ok := s.tokens[c.TokenID]; ok && c.TokenID != "" && in(r) {
		return true
	}
	if r, ok := s.users[c.Subject]; ok && c.Subject != "" && c.IssuedAt.Before(r.IssuedBefore) && in(r) {
		return true
	}
	return c.IssuedAt.Before(s.all.IssuedBefore) && in(s.all)
}

// Keys are the keys, by name.
func (s *Store) Keys() []StoredKey {
	s.mu.RLock()
	list := make([]StoredKey, 0, len(s.keys))
	for _, k := range s.keys {
		key := k.StoredKey
		if used := k.used.Load(); used != 0 {
			key.LastUsed = time.Unix(used, 0)
		}
		list = append(list, key)
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b StoredKey) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// HasKey reports whether there is a key of the name.
func (s *Store) HasKey(name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.keys[name] != nil
}

// Revocations are those in force, that of everybody first, then by user and token ID.
func (s *Store) Revocations() []Revocation {
	now := time.Now()
	s.mu.RLock()
	list := make([]Revocation, 0, s.revocationsLocked())
	for _, r := range s.tokens {
		list = append(list, r)
	}
	for _, r := range s.users {
		list = append(list, r)
	}
	list = append(list, s.all)
	s.mu.RUnlock()
	list = slices.DeleteFunc(list, func(r Revocation) bool { return !now.Before(r.Expires) })
	slices.SortFunc(list, func(a, b Revocation) int {
		if a.TokenID != b.TokenID {
			return strings.Compare(a.TokenID, b.TokenID)
		}
		return strings.Compare(a.User, b.User)
	})
	return list
}

// Count is how many keys and revocations there are.
func (s *Store) Count() (keys, revocations int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.keys), s.revocationsLocked()
}
