package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

// fakeTrust keeps keys and revocations in memory.
type fakeTrust struct {
	mu      sync.Mutex
	keys    []auth.StoredKey
	revoked []auth.Revocation
	err     error
}

func (f *fakeTrust) Keys() []auth.StoredKey { return f.keys }

func (f *fakeTrust) CreateKey(_ context.Context, k auth.StoredKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, other := range f.keys {
		if other.Name == k.Name {
			return api.ErrKeyExists
		}
	}
	if f.err == nil {
		f.keys = append(f.keys, k)
	}
	return f.err
}

func (f *fakeTrust) RevokeKey(_ context.Context, name string) error {
	for i, k := range f.keys {
		if k.Name == name {
			f.keys = append(f.keys[:i], f.keys[i+1:]...)
			return f.err
		}
	}
	return api.ErrNoKey
}

func (f *fakeTrust) Revocations() []auth.Revocation { return f.revoked }

func (f *fakeTrust) Revoke(_ context.Context, r auth.Revocation) (auth.Revocation, error) {
	r.Created = time.Now()
	if r.Expires.IsZero() {
		r.Expires = r.Created.Add(time.Hour)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.revoked = append(f.revoked, r)
	}
	return r, f.err
}

func (f *fakeTrust) Restore(_ context.Context, r auth.Revocation) error {
	for _, other := range f.revoked {
		if other.TokenID == r.TokenID && other.User == r.User {
			return f.err
		}
	}
	return api.ErrNoRevocation
}

func TestKeys(t *testing.T) {
	h := newHarness(t)
	res := h.do(t, "POST", "/v1/keys", `{"name":"shop","capabilities":{"orders:>":["publish"]},"publishes":5}`)
	var made struct {
		Data struct{ Key, Name string }
	}
	if err := json.Unmarshal(res.body, &made); err != nil || res.status != 201 || !strings.HasPrefix(made.Data.Key, "rvk_") {
		t.Fatalf("%d %s, %v", res.status, res.body, err)
	}
	if len(h.trust.keys) != 1 || h.trust.keys[0].SHA256 != auth.HashKey(auth.NewSecret(made.Data.Key)) {
		t.Errorf("stored: %+v", h.trust.keys)
	}
	if res := h.do(t, "GET", "/v1/keys", ""); res.status != 200 || strings.Contains(string(res.body), made.Data.Key) ||
		strings.Contains(string(res.body), h.trust.keys[0].SHA256) || !strings.Contains(string(res.body), `"shop"`) {
		t.Errorf("list: %d %s", res.status, res.body)
	}
	if strings.Contains(h.logged.String(), made.Data.Key) {
		t.Error("the key was logged")
	}
	for body, want := range map[string]int{
		`{"name":"shop","capabilities":{"orders:>":["publish"]}}`: 409,
		`{"name":"a b","capabilities":{"orders:>":["publish"]}}`:  400,
		`{"name":"b","capabilities":{"orders:>":["fly"]}}`:        400,
		`{"name":"b","capabilities":{"orders:>":[]}}`:             400,
		`{"name":"b"}`: 400,
		`{"name":"b","capabilities":{"user:${sub}":["publish"]}}`:             400,
		`{"name":"b","capabilities":{"orders:>":["publish"]},"publishes":-1}`: 400,
		`{"name":"b","capabilities":{"orders:>":["publish"]},"expires":1}`:    400,
		`{"name":"b","capabilities":{"orders:>":["publish"]},"admin":true}`:   400,
		`{"name":"b","capabilities":{"orders:>":["publish"]}} {}`:             400,
		`{"name":7,"capabilities":{"orders:>":["publish"]}}`:                  400,
		`[]`: 400,
	} {
		if res := h.do(t, "POST", "/v1/keys", body); res.status != want {
			t.Errorf("%s: %d %s, want %d", body, res.status, res.body, want)
		}
	}
	for path, want := range map[string]int{"/v1/keys/shop": 200, "/v1/keys/none": 404, "/v1/keys/a%2Fb": 404, "/v1/keys/shop?x=1": 400} {
		if res := h.do(t, "DELETE", path, ""); res.status != want {
			t.Errorf("%s: %d %s, want %d", path, res.status, res.body, want)
		}
	}
}

// Nobody makes a key that can do more than they can themselves.
func TestKeysGrantNoMoreThanTheirMakersHave(t *testing.T) {
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"*:>": {auth.Manage}, "chat:>": {auth.Publish}})
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, func(h *harness) {
		h.auth = fixedAuth{auth.Claims{Subject: "root", Capabilities: caps, Limits: auth.Limits{Publishes: 10}}}
	})
	for body, want := range map[string]int{
		`{"name":"a","capabilities":{"chat:>":["publish"]},"publishes":10}`:           201,
		`{"name":"b","capabilities":{"chat:a.*":["publish","manage"]},"publishes":1}`: 201,
		`{"name":"c","capabilities":{"chat:>":["publish"]},"publishes":11}`:           403,
		`{"name":"d","capabilities":{"chat:>":["publish"]}}`:                          403,
		`{"name":"e","capabilities":{"chat:>":["history"]},"publishes":1}`:            403,
		`{"name":"f","capabilities":{"*:>":["publish"]},"publishes":1}`:               403,
		`{"name":"g","capabilities":{"chat2:>":["publish"]},"publishes":1}`:           403,
		`{"name":"h","capabilities":{"chat":["publish"]},"publishes":1}`:              403,
	} {
		if res := h.do(t, "POST", "/v1/keys", body); res.status != want {
			t.Errorf("%s: %d %s, want %d", body, res.status, res.body, want)
		}
	}
}

type fixedAuth struct{ claims auth.Claims }

func (f fixedAuth) Authenticate(context.Context, string) (auth.Claims, error) { return f.claims, nil }

func TestRevocations(t *testing.T) {
	h := newHarness(t)
	for body, want := range map[string]int{
		`{"user":"ann","reason":"stolen"}`: 201,
		`{"token_id":"t1"}`:                201,
		`{"issued_before":1767225600}`:     201,
		fmt.Sprintf(`{"user":"ann","issued_before":%d}`, time.Now().Add(time.Hour).Unix()): 201,
		`{}`:                                          400,
		`{"user":"ann","token_id":"t1"}`:              400,
		`{"issued_before":5,"token_id":"t1"}`:         400,
		`{"issued_before":-5}`:                        400,
		`{"issued_before":1.5}`:                       400,
		`{"user":"ann","expires":1}`:                  400,
		`{"user":"ann","expires":99999999999999}`:     400,
		`{"user":"a\u0001"}`:                          400,
		`{"user":"` + strings.Repeat("x", 256) + `"}`: 400,
		`{"user":"ann","everything":true}`:            400,
	} {
		if res := h.do(t, "POST", "/v1/revocations", body); res.status != want {
			t.Errorf("%s: %d %s, want %d", body, res.status, res.body, want)
		}
	}
	for _, r := range h.trust.revoked {
		if r.User == "ann" && r.Reason == "stolen" && time.Until(r.IssuedBefore) > time.Second {
			t.Errorf("without issued_before: %v", r.IssuedBefore)
		}
	}
	res := h.do(t, "GET", "/v1/revocations?limit=3", "")
	if res.status != 200 || !strings.Contains(string(res.body), `"next":3`) {
		t.Errorf("first page: %d %s", res.status, res.body)
	}
	if res := h.do(t, "GET", "/v1/revocations?after=3", ""); res.status != 200 || !strings.Contains(string(res.body), `"next":0`) {
		t.Errorf("last page: %d %s", res.status, res.body)
	}
	for query, want := range map[string]int{
		"?user=ann": 200, "?token_id=t1": 200, "?everybody=true": 200, "?user=bob": 404, "": 400, "?user=": 400,
		"?user=ann&token_id=t1": 400, "?everybody=false": 400, "?all=1": 400,
	} {
		if res := h.do(t, "DELETE", "/v1/revocations"+query, ""); res.status != want {
			t.Errorf("%s: %d %s, want %d", query, res.status, res.body, want)
		}
	}
	h.trust.err = fanout.ErrTrustFull
	if res := h.do(t, "POST", "/v1/revocations", `{"user":"ann"}`); res.status != 503 || res.header.Get("Retry-After") == "" {
		t.Errorf("full: %d %s", res.status, res.body)
	}
}
