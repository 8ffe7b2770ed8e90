package cmd_test

import (
	"encoding/json"
	"net/http"
	"testing"
)

// TestKeysOfDevelopment: what anybody could make under --dev opens nothing later.
func TestKeysOfDevelopment(t *testing.T) {
	const ask = `{"name":"ci","capabilities":{"chat:>":["publish"]}}`
	cfg := devConfig(t)
	dev := startNode(t, cfg)
	var made struct{ Data struct{ Key string } }
	if _, text := callAs(t, dev, http.MethodPost, "/v1/keys", "", ask); json.Unmarshal([]byte(text), &made) != nil || made.Data.Key == "" {
		t.Fatalf("made no key: %s", text)
	}
	stopNode(t, dev)

	guarded := guardedConfig(t)
	guarded.Broker = cfg.Broker
	n, log := loggedNode(t, guarded)
	log.waitFor(t, "made under --dev are refused")
	const publish = "/v1/channels/chat:a/messages"
	if status, text := callAs(t, n, http.MethodPost, publish, made.Data.Key, `{"data":1}`); status != http.StatusUnauthorized {
		t.Errorf("the key of development: %d %s", status, text)
	}
	// Its name is free.
	if status, text := callAs(t, n, http.MethodPost, "/v1/keys", root(t), ask); status != http.StatusCreated || json.Unmarshal([]byte(text), &made) != nil {
		t.Fatalf("a key in its place: %d %s", status, text)
	}
	if status, text := callAs(t, n, http.MethodPost, publish, made.Data.Key, `{"data":1}`); status != http.StatusCreated {
		t.Errorf("the key in its place: %d %s", status, text)
	}
}
