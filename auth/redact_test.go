package auth_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
)

// lockedLog is a log that a test reads while it is written.
type lockedLog struct {
	mu  sync.Mutex // guards the following
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestFetchesAreLoggedWithoutTheQuery: it may hold a secret.
func TestFetchesAreLoggedWithoutTheQuery(t *testing.T) {
	cfg := issuer("ES256")
	cfg.JWKSURL = "http://127.0.0.1:1/jwks?key=hunter2" // nobody listens there
	log := &lockedLog{}
	v, err := auth.New(auth.Config{Tokens: []auth.IssuerConfig{cfg}}, auth.Services{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	v.Start(t.Context())
	defer func() { _ = v.Stop(t.Context()) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "keys cannot be fetched"); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it was not logged")
		}
	}
	if text := log.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "127.0.0.1:1: ") || !strings.Contains(text, "url=http://127.0.0.1:1/jwks?redacted ") {
		t.Errorf("logged %s", text)
	}
}

func TestRedactURL(t *testing.T) {
	for raw, want := range map[string]string{
		"https://issuer.example/keys":             "https://issuer.example/keys",
		"https://ann:hunter2@issuer.example/keys": "https://redacted@issuer.example/keys",
		"https://issuer.example/keys?key=hunter2": "https://issuer.example/keys?redacted",
		"https://hunter2@[":                       "[redacted]",
	} {
		if got := auth.RedactURL(raw); got != want {
			t.Errorf("%s: got %s, want %s", raw, got, want)
		}
	}
}

// TestKeysAreNoNames: a key in place of a name would be shown and logged.
func TestKeysAreNoNames(t *testing.T) {
	key := auth.NewKey()
	for name, ok := range map[string]bool{"ci": true, "rvk": true, "my_rvk_1": true, "rvk_": false, key.Reveal(): false} {
		if auth.ValidKeyName(name) != ok {
			t.Errorf("%.4s… is a name: %v", name, !ok)
		}
	}
	err := auth.KeyConfig{Name: key.Reveal(), SHA256: auth.HashKey(key), Capabilities: map[string][]auth.Action{"a:b": {auth.Publish}}}.Validate()
	if err == nil || strings.Contains(err.Error(), key.Reveal()) || !strings.Contains(err.Error(), "the key itself") {
		t.Errorf("got %v", err)
	}
}
