package auth_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/auth"
)

func newStore(tb testing.TB) *auth.Store {
	tb.Helper()
	s, err := auth.NewStore(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func revoking(tb testing.TB, r auth.Revocation) auth.Change {
	tb.Helper()
	if r.Expires.IsZero() {
		r.Expires = time.Now().Add(time.Hour)
	}
	value, err := r.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	kind, name := r.Entry()
	return auth.Change{Kind: kind, Name: name, Value: value}
}

func TestRevoked(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	now := time.Now()
	for _, tc := range []struct {
		name    string
		revoked []auth.Revocation
		claims  auth.Claims
		want    bool
	}{
		{"nothing", nil, auth.Claims{Subject: "ann"}, false},
		{"the token", []auth.Revocation{{TokenID: "t"}}, auth.Claims{Subject: "ann", TokenID: "t"}, true},
		{"another token", []auth.Revocation{{TokenID: "t"}}, auth.Claims{Subject: "ann", TokenID: "u"}, false},
		{"a token without an ID", []auth.Revocation{{TokenID: "t"}}, auth.Claims{Subject: "t"}, false},
		{"a token of the user", []auth.Revocation{{User: "ann", IssuedBefore: at}}, auth.Claims{Subject: "ann", IssuedAt: at.Add(-time.Second)}, true},
		{"a later one", []auth.Revocation{{User: "ann", IssuedBefore: at}}, auth.Claims{Subject: "ann", IssuedAt: at}, false},
		{"one without a time", []auth.Revocation{{User: "ann", IssuedBefore: at}}, auth.Claims{Subject: "ann"}, true},
		{"another user's", []auth.Revocation{{User: "ann", IssuedBefore: at}}, auth.Claims{Subject: "bob"}, false},
		{"nobody's", []auth.Revocation{{User: "ann", IssuedBefore: at}}, auth.Claims{}, false},
		{"everybody's", []auth.Revocation{{IssuedBefore: at}}, auth.Claims{IssuedAt: at.Add(-time.Second)}, true},
		{"everybody's, later", []auth.Revocation{{IssuedBefore: at}}, auth.Claims{IssuedAt: at}, false},
		{"a subscription's", []auth.Revocation{{User: "ann", IssuedBefore: at}}, auth.Claims{Subject: "ann", Channel: "a:b"}, true},
		{"a key of the configuration", []auth.Revocation{{IssuedBefore: now.Add(time.Minute)}, {TokenID: "k"}}, auth.Claims{Key: "k"}, false},
		{"a key that is not there", []auth.Revocation{{TokenID: "x"}}, auth.Claims{Key: "k", TokenID: "1"}, true},
		{"expired", []auth.Revocation{{TokenID: "t", Expires: now.Add(-time.Second)}}, auth.Claims{TokenID: "t"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t)
			var list []auth.Change
			for _, r := range tc.revoked {
				list = append(list, revoking(t, r))
			}
			if revokes := s.Apply(list, true); revokes != (len(list) > 0) {
				t.Errorf("revokes: %v", revokes)
			}
			if got := s.Revoked(tc.claims); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			for i := range list {
				list[i].Value = nil
			}
			s.Apply(list, false)
			if tc.claims.Key == "" && s.Revoked(tc.claims) {
				t.Error("still revoked when all is taken back")
			}
		})
	}
}

func stored(tb testing.TB, k auth.StoredKey) (auth.StoredKey, auth.Secret, auth.Change) {
	tb.Helper()
	k, secret, err := auth.NewStoredKey(k, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	value, err := k.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return k, secret, auth.Change{Kind: auth.KindKey, Name: k.Name, Value: value}
}

func TestStoredKeys(t *testing.T) {
	s := newStore(t)
	v, err := auth.New(auth.Config{HMAC: auth.HMACConfig{Secret: auth.NewSecret(strings.Repeat("s", 64))}}, auth.Services{Keys: s, Revocations: s})
	if err != nil {
		t.Fatal(err)
	}
	spec := auth.StoredKey{Name: "ci", Capabilities: map[string][]auth.Action{"chat:>": {auth.Publish}}, Publishes: 7}
	_, secret, change := stored(t, spec)
	s.Apply([]auth.Change{change}, true)
	claims, err := v.Authenticate(t.Context(), secret.Reveal())
	if err != nil || claims.Key != "ci" || claims.Limits.Publishes != 7 || !claims.Allows(auth.Publish, "chat:a") || claims.Allows(auth.Publish, "chat2:a") {
		t.Fatalf("%+v, %v", claims, err)
	}
	if s.Revoked(claims) || s.Keys()[0].LastUsed.IsZero() {
		t.Errorf("revoked %v, keys %+v", s.Revoked(claims), s.Keys())
	}
	// One that takes its name does not take its place.
	_, again, next := stored(t, spec)
	if !s.Apply([]auth.Change{next}, false) || !s.Revoked(claims) {
		t.Error("the key that was replaced holds on")
	}
	if _, err := v.Authenticate(t.Context(), secret.Reveal()); err == nil {
		t.Error("the key that was replaced is accepted")
	}
	if _, err := v.Authenticate(t.Context(), again.Reveal()); err != nil {
		t.Error(err)
	}
	s.Apply(nil, true) // another log
	if _, err := v.Authenticate(t.Context(), again.Reveal()); err == nil {
		t.Error("a key of another log is accepted")
	}
	expired, secret, _ := stored(t, spec)
	expired.Expires = time.Now().Add(-time.Second)
	value, err := expired.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.Apply([]auth.Change{{Kind: auth.KindKey, Name: "ci", Value: value}}, false)
	if _, err := v.Authenticate(t.Context(), secret.Reveal()); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired key: %v", err)
	}
}

// What is not of our making is skipped and counted, and never lets anybody in, or out.
func TestStoreSkipsWhatIsMalformed(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s, err := auth.NewStore(reg)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, good := stored(t, auth.StoredKey{Name: "ci", Capabilities: map[string][]auth.Action{"chat:>": {auth.Publish}}})
	s.Apply([]auth.Change{good, revoking(t, auth.Revocation{User: "ann", IssuedBefore: time.Now()})}, true)
	bad := []auth.Change{
		{Kind: "user", Name: "ann", Value: []byte("{")},
		{Kind: "user", Name: "", Value: []byte(`{"b":1,"x":1}`)},
		{Kind: "user", Name: "bob", Value: []byte(`{"x":1}`)},
		{Kind: "token", Name: "t", Value: []byte(`{}`)},
		{Kind: "all", Value: []byte(`[]`)},
		{Kind: "key", Name: "b c", Value: good.Value},
		{Kind: "key", Name: "x", Value: []byte(`{"h":"00","c":{"*:>":["manage"]}}`)},
		{Kind: "key", Name: "y", Value: []byte(`{"h":"` + strings.Repeat("0", 64) + `"}`)},
		{Kind: "thing", Name: "z", Value: []byte(`{"x":1}`)},
	}
	s.Apply(bad, false)
	if n := count(t, reg, "rivulet_auth_store_malformed_total"); n != float64(len(bad)) {
		t.Errorf("%v counted, want %d", n, len(bad))
	}
	if !s.Revoked(auth.Claims{Subject: "ann"}) || s.Revoked(auth.Claims{Subject: "bob"}) || len(s.Keys()) != 1 {
		t.Errorf("keys %+v, revocations %+v", s.Keys(), s.Revocations())
	}
	if _, ok := s.Lookup(sha256.Sum256([]byte(secret.Reveal()))); !ok {
		t.Error("the good key is gone")
	}
	// A key that cannot be read any more is none.
	s.Apply([]auth.Change{{Kind: "key", Name: "ci", Value: []byte("{")}}, false)
	if _, ok := s.Lookup(sha256.Sum256([]byte(secret.Reveal()))); ok {
		t.Error("a key that was spoilt is accepted")
	}
}

// count is the value of a registry's one counter of the name.
func count(tb testing.TB, reg *prometheus.Registry, name string) float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	tb.Fatalf("there is no %s", name)
	return 0
}

// TestWiden: of two revocations of one entry the later of each end holds, whichever came
// last; what is said of it is the last one's.
func TestWiden(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	a := auth.Revocation{User: "ann", IssuedBefore: at, Expires: at.Add(time.Hour), Reason: "a"}
	b := auth.Revocation{User: "ann", IssuedBefore: at.Add(time.Minute), Expires: at, Reason: "b"}
	for _, c := range []struct{ last, before auth.Revocation }{{a, b}, {b, a}} {
		want := auth.Revocation{User: "ann", IssuedBefore: b.IssuedBefore, Expires: a.Expires, Reason: c.last.Reason}
		if got := c.last.Widen(c.before); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func FuzzDecodeTrust(f *testing.F) {
	f.Add("user", "ann", []byte(`{"b":1,"x":1}`))
	f.Add("key", "ci", []byte(`{"i":"1","h":"`+strings.Repeat("0", 64)+`","c":{"a:>":["publish"]},"t":1}`))
	f.Fuzz(func(t *testing.T, kind, name string, value []byte) {
		s := newStore(t)
		s.Apply([]auth.Change{{Kind: kind, Name: name, Value: value}}, true)
		for _, r := range s.Revocations() {
			if again, err := r.Encode(); err != nil || !json.Valid(again) {
				t.Errorf("%q: %v", again, err)
			}
		}
		for _, k := range s.Keys() {
			if k.Name != name || len(k.SHA256) != 64 {
				t.Errorf("%+v", k)
			}
		}
		s.Revoked(auth.Claims{Subject: name, TokenID: name})
	})
}

// What authentication pays for revocations: nothing to speak of while there are none,
// and no memory ever.
func BenchmarkRevoked(b *testing.B) {
	claims := auth.Claims{Subject: "ann", TokenID: "t", IssuedAt: time.Now()}
	for _, n := range []int{0, 1, 30_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newStore(b)
			list := make([]auth.Change, n)
			for i := range list {
				list[i] = revoking(b, auth.Revocation{TokenID: fmt.Sprint(i)})
			}
			s.Apply(list, true)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if s.Revoked(claims) {
						b.Error("revoked")
					}
				}
			})
		})
	}
}

func TestRevokedAllocatesNothing(t *testing.T) {
	s := newStore(t)
	claims := auth.Claims{Subject: "ann", TokenID: "t", IssuedAt: time.Now()}
	check := func(what string) {
		t.Helper()
		if n := testing.AllocsPerRun(100, func() { s.Revoked(claims) }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	check("none")
	s.Apply([]auth.Change{revoking(t, auth.Revocation{TokenID: "t"}), revoking(t, auth.Revocation{User: "ann", IssuedBefore: time.Now()})}, true)
	check("some")
}
