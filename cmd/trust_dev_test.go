package cmd_test

import (
	"encoding/json"
	"net/http"
	"strings"
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

// TestRevocationsThatMeanSomething: those that would not are refused, or told about.
func TestRevocationsThatMeanSomething(t *testing.T) {
	n := startNode(t, guardedConfig(t))
	env := withToken(n, root(t))
	run(t, "", env, "key", "create", "--name", "ci", "--allow", "chat:>=publish").check(t, 0)
	run(t, "", env, "revoke", "--user", "key:ci").check(t, 1, "400", "rivulet key revoke NAME")
	run(t, "", env, "revoke", "--user", "key:nobody").check(t, 0) // may be a user of that name
	if out := run(t, "", env, "key", "revoke", "ci").check(t, 0).out; !strings.Contains(out, `"ci"`) {
		t.Errorf("printed %q", out)
	}
	run(t, "", env, "revoke", "--user", "carl", "--expires", "2s").check(t, 0, "in 2s these tokens are good again")
	run(t, "", env, "revoke", "--everybody", "--issued-before", "2020-01-31T12:00:00Z").check(t, 0)
	run(t, "", env, "revoke", "--undo", "--everybody").check(t, 0)
	run(t, "", env, "revoke", "--undo", "--everybody").check(t, 1, "404")
	run(t, "", env, "revoke", "--everybody", "--user", "y").check(t, 2, "exclude each other")
	run(t, "", env, "revoke", "--everybody").check(t, 0)
	run(t, "", env, "revocations").check(t, 1, "401", "revoked")
}
