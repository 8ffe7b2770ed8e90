package test_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/rivulet-rt/rivulet/cmd"
)

var redirects = []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect}

// lured serves what a node asks, and leads it elsewhere by a redirect, of the status that the
// path has; what is there would let everybody in. asked is how many of its URLs were asked for; visits counts
// who was led.
func lured(t *testing.T, keys []byte) (url string, asked func() int, visits *atomic.Int64) {
	t.Helper()
	visits = &atomic.Int64{}
	var mu sync.Mutex
	paths := map[string]bool{} // that were asked for
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visits.Add(1)
		if strings.HasPrefix(r.URL.Path, "/keys") {
			_, _ = w.Write(keys)
			return
		}
		_, _ = io.WriteString(w, `{"allow":true}`)
	}))
	t.Cleanup(inside.Close)
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths[r.URL.Path] = true
		mu.Unlock()
		var status int
		kind := "/" + strings.Split(r.URL.Path, "/")[1]
		if _, err := fmt.Sscanf(strings.TrimPrefix(r.URL.Path, kind), "/%d", &status); err != nil {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Refresh", "0; url="+inside.URL+kind)
		http.Redirect(w, r, inside.URL+kind, status) // to a port of this machine, as an attacker's would
	}))
	t.Cleanup(outside.Close)
	return outside.URL, func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(paths)
	}, visits
}

// TestAttackRedirects: whoever answers for a hook, a webhook or a key set cannot send the node
// elsewhere (SSRF): the answer is none, which lets nobody in.
func TestAttackRedirects(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "k"}}})
	if err != nil {
		t.Fatal(err)
	}
	base, asked, visits := lured(t, keys)
	var namespaces, issuers, webhooks strings.Builder
	for _, status := range redirects {
		hook := func(kind string) string {
			return fmt.Sprintf("{url: %s/%s/%d, secret: 0123456789abcdef, retries: -1}", base, kind, status)
		}
		fmt.Fprintf(&namespaces, "  n%d: {max_bytes: 64MiB, hooks: {publish: %s, subscribe: %s}}\n", status, hook("publish"), hook("subscribe"))
		fmt.Fprintf(&issuers, "    - {name: i%d, issuer: i%d, algorithms: [ES256], jwks_url: %s/keys/%d}\n", status, status, base, status)
		fmt.Fprintf(&webhooks, "  - {name: w%d, url: %s/webhook/%d, secret: 0123456789abcdef, events: [message.published], channels: ['told:>']}\n", status, base, status)
	}
	f := besiege(t, fmt.Sprintf("namespaces:\n  told: {max_bytes: 64MiB}\n  default: {max_bytes: 64MiB}\n%sauth:\n  hmac: {secret: %s, issuer: app}\n  tokens:\n%swebhooks:\n%s",
		&namespaces, attackSecret, &issuers, &webhooks))
	defer f.stands(t, 64<<20)
	v := visit(t, f.node)
	token := func(issuer, alg string, key any) string {
		return forged(t, alg, fmt.Sprintf(`{"alg":%q,"kid":"k"}`, alg), fmt.Sprintf(`{"iss":%q,"sub":"ann","iat":%d,"exp":%d,"caps":{"*:>":["publish","subscribe"]}}`,
			issuer, time.Now().Unix(), time.Now().Add(time.Hour).Unix()), key)
	}
	good := http.Header{"Authorization": {"Bearer " + token("app", "HS256", []byte(attackSecret))}}
	if status, _, text := v.request(http.MethodPost, messagesPath("told:x"), `{"data":1}`, good); status != http.StatusCreated {
		t.Fatalf("%d %s", status, text)
	}
	for _, redirect := range redirects {
		channel := fmt.Sprintf("n%d:x", redirect)
		if status, head, _ := v.request(http.MethodPost, messagesPath(channel), `{"data":1}`, good); status != http.StatusServiceUnavailable || head.Get("Location") != "" {
			t.Errorf("a publish hook that answers %d: %d", redirect, status)
		}
		if status, _, _ := v.request(http.MethodGet, "/v1/events?channel="+channel, "", good); status != http.StatusServiceUnavailable {
			t.Errorf("a subscribe hook that answers %d: %d", redirect, status)
		}
		bad := http.Header{"Authorization": {"Bearer " + token(fmt.Sprint("i", redirect), "ES256", private)}}
		if status, _, _ := v.request(http.MethodPost, messagesPath("told:x"), `{"data":1}`, bad); status != http.StatusServiceUnavailable {
			t.Errorf("a key set that answers %d: %d", redirect, status)
		}
	}
	eventually(t, "every hook, key set and webhook to be asked", func() bool { // a webhook is told of what comes after it has begun
		v.request(http.MethodPost, messagesPath("told:x"), `{"data":1}`, good)
		return asked() == 4*len(redirects)
	})
	if n := visits.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// TestAttackConnectRedirects: the same of the hook that is asked about every connection.
func TestAttackConnectRedirects(t *testing.T) {
	t.Parallel()
	base, asked, visits := lured(t, nil)
	for i, redirect := range redirects {
		f := besiege(t, fmt.Sprintf("namespaces: {t: {max_bytes: 64MiB}}\nauth:\n  hmac: {secret: %s}\n"+
			"  connect_hook: {instead_of_token: %v, grants: {'*:>': [subscribe]}, hook: {url: '%s/connect/%d', secret: 0123456789abcdef, retries: -1}}\n", attackSecret, i%2 == 0, base, redirect))
		v := visit(t, f.node)
		token := forged(t, "HS256", `{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"ann","iat":%d,"exp":%d,"caps":{"*:>":["subscribe"]}}`,
			time.Now().Unix(), time.Now().Add(time.Hour).Unix()), []byte(attackSecret))
		header := http.Header{"Authorization": {"Bearer " + token}}
		if status, _ := v.handshake(header); status != http.StatusServiceUnavailable {
			t.Errorf("a connect hook that answers %d: a handshake is answered %d", redirect, status)
		}
		for _, target := range []string{"/v1/events?channel=t:x", "/v1/poll?channel=t:x&timeout=0"} {
			if status, head, _ := v.request(http.MethodGet, target, "", header); status != http.StatusServiceUnavailable || head.Get("Location") != "" {
				t.Errorf("a connect hook that answers %d: %s is answered %d", redirect, target, status)
			}
		}
		f.stands(t, 64<<20)
		f.kill(t)
	}
	if asked() != len(redirects) || visits.Load() != 0 {
		t.Errorf("%d of %d hooks were asked, %d redirects followed", asked(), len(redirects), visits.Load())
	}
}

// TestAttackURLs: what a URL in the configuration may lead to is said before a node starts.
func TestAttackURLs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, address := range []string{
		"http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://localhost.evil.example/", "http://127.0.0.1.evil.example/",
		"http://127.0.0.1@evil.example/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "ftp://127.0.0.1/", "unix:///var/run/docker.sock",
		"//evil.example/", "javascript:alert(1)", "127.0.0.1:80", "https://", "http://0.0.0.0/", "http://[::]/", "http://2130706433/",
	} {
		for key, config := range map[string]string{
			"hooks.publish.url": "namespaces: {t: {hooks: {publish: {url: %q, secret: 0123456789abcdef}}}}\nauth: {hmac: {secret: " + attackSecret + "}}\n",
			"jwks_url":          "auth: {tokens: [{name: idp, issuer: idp, algorithms: [ES256], jwks_url: %q}]}\n",
			"url":               "webhooks: [{name: w, url: %q, secret: 0123456789abcdef, events: [message.published], channels: ['default:>']}]\nauth: {hmac: {secret: " + attackSecret + "}}\n",
		} {
			file := filepath.Join(dir, "rivulet.yaml")
			if err := os.WriteFile(file, fmt.Appendf(nil, config, address), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, said strings.Builder
			code := cmd.Main(bounded(t), []string{"check", "--config", file}, cmd.Streams{In: strings.NewReader(""), Out: &out, Err: &said})
			if code == 0 || !strings.Contains(said.String(), key) {
				t.Errorf("%s: %q: exit code %d\n%s%s", key, address, code, &out, &said)
			}
		}
	}
}
