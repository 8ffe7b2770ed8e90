package cmd_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/cmd/demo"
)

// fetch asks the node.
func fetch(t testing.TB, n *cmd.Node, method, path, body string) (status int, header http.Header, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(testContext(t), method, n.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: deadline}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(text)
}

func TestDemoIsServedWithDev(t *testing.T) {
	n := startNode(t, devConfig(t))
	status, header, body := fetch(t, n, http.MethodGet, "/", "")
	if status != http.StatusOK || !strings.Contains(body, `<div id="root">`) {
		t.Fatalf("status %d: %.200s", status, body)
	}
	if csp := header.Values("Content-Security-Policy"); len(csp) != 1 || !strings.Contains(csp[0], "script-src 'self'") {
		t.Errorf("the policy is %q", csp)
	}
	if status, _, body := fetch(t, n, http.MethodGet, "/assets/none.js", ""); status != http.StatusNotFound || !strings.Contains(body, `"code":404`) {
		t.Errorf("a path that is not there: status %d: %s", status, body)
	}
	if status, _, _ := fetch(t, n, http.MethodGet, "/healthz", ""); status != http.StatusOK {
		t.Errorf("/healthz: status %d", status)
	}
}

func TestDemoIsNotServedWithoutDev(t *testing.T) {
	cfg := devConfig(t)
	cfg.Dev = false
	cfg.Auth.HMAC.Secret = auth.NewSecret(strings.Repeat("0123456789abcdef", 2))
	n := startNode(t, cfg)
	for _, path := range []string{"/", "/theme.js", "/favicon.svg"} {
		if status, _, body := fetch(t, n, http.MethodGet, path, ""); status != http.StatusNotFound {
			t.Errorf("%s: status %d: %.100s", path, status, body)
		}
	}
	if status, _, _ := fetch(t, n, http.MethodPost, demo.TokenPath, `{"user":"ann","name":"Ann"}`); status != http.StatusNotFound {
		t.Errorf("a token: status %d", status)
	}
}

// A page has its user's name in presence, and a client without a token is let in as ever.
func TestDemoUserHasAName(t *testing.T) {
	n := startNode(t, devConfig(t))
	_, _, body := fetch(t, n, http.MethodPost, demo.TokenPath, `{"user":"ann","name":"Ann"}`)
	var answer struct{ Data struct{ Token string } }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Data.Token == "" {
		t.Fatalf("%v: %s", err, body)
	}
	client, err := rivulet.New(n.URL(), rivulet.Options{Token: answer.Data.Token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Connect(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Subscribe(testContext(t), "chat:lobby", rivulet.SubscribeOptions{}); err != nil {
		t.Fatal(err)
	}
	subscribe(t, n, "chat:lobby", rivulet.SubscribeOptions{})
	began := time.Now()
	for look := range time.Tick(20 * time.Millisecond) {
		_, _, body := fetch(t, n, http.MethodGet, "/v1/channels/chat:lobby/presence", "")
		if strings.Contains(body, `"user":"ann","info":{"name":"Ann"}`) && strings.Contains(body, `"clients":2,"users":1`) {
			break
		}
		if look.Sub(began) > deadline {
			t.Fatalf("who is there: %s", body)
		}
	}
}

func TestDemoFeedIsPlayed(t *testing.T) {
	n := startNode(t, devConfig(t))
	_, sub := subscribe(t, n, demo.FeedChannel, rivulet.SubscribeOptions{})
	for i, data := range receive(t, sub, 5) {
		if want := fmt.Sprintf(`"n":%d,`, i+1); !strings.Contains(data, want) {
			t.Errorf("event %d has no %s: %s", i+1, want, data)
		}
	}
}
