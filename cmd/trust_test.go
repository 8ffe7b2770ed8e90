package cmd_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

const testSecret = "an-hmac-secret-of-64-characters-for-tests-0123456789-abcdefghijk"

// guardedConfig is a node's that asks for tokens.
func guardedConfig(t testing.TB) cmd.Config {
	t.Helper()
	cfg := devConfig(t)
	cfg.Dev = false
	cfg.Auth.HMAC.Secret = auth.NewSecret(testSecret)
	cfg.Namespaces = map[string]cmd.NamespaceConfig{}
	for _, name := range []string{"chat", "other"} {
		cfg.Namespaces[name] = cmd.NamespaceConfig{Presence: true, MaxBytes: 64 << 20}
	}
	return cfg
}

func mint(t testing.TB, c auth.Claims, caps map[string][]auth.Action) string {
	t.Helper()
	var err error
	if c.Capabilities, err = auth.NewCapabilities(caps); err != nil {
		t.Fatal(err)
	}
	if c.ExpiresAt.IsZero() {
		c.ExpiresAt = time.Now().Add(time.Hour)
	}
	token, err := auth.Mint(auth.HMACConfig{Secret: auth.NewSecret(testSecret)}, c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func root(t testing.TB) string {
	t.Helper()
	return mint(t, auth.Claims{Subject: "root"}, map[string][]auth.Action{"*:>": auth.Actions()})
}

func withToken(n *cmd.Node, token string) []string { return append(at(n), "RIVULET_TOKEN="+token) }

// callAs asks as who has a token; the answer is held against the specification.
func callAs(t testing.TB, n *cmd.Node, method, target, token, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), method, n.URL()+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if target == "/v1/ws" {
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
		} {
			req.Header.Set(name, value)
		}
	}
	res, err := (&http.Client{Timeout: deadline}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		asSpecified(t, req, res, nil)
		return res.StatusCode, "" // it has no end
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res.StatusCode, "" // likewise
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	asSpecified(t, req, res, text)
	return res.StatusCode, string(text)
}

// line is a command line, in the environment of who gives it, and what becomes of it.
type line struct {
	as   []string
	args string // by words
	code int
	says string // on stderr
}

func follow(t *testing.T, lines ...line) {
	t.Helper()
	for _, l := range lines {
		if run(t, "", l.as, strings.Fields(l.args)...).check(t, l.code, l.says); t.Failed() {
			t.Fatalf("that was rivulet %s", l.args)
		}
	}
}

func TestKeyCommands(t *testing.T) {
	cfg := guardedConfig(t)
	n := startNode(t, cfg)
	env := withToken(n, root(t))
	r := run(t, "", env, "key", "create", "--name", "ci", "--allow", "chat:>=publish,subscribe", "--publishes", "100", "--expires", "90d").check(t, 0)
	key := strings.TrimSpace(r.out)
	if !strings.HasPrefix(key, "rvk_") {
		t.Fatalf("printed %q", r.out)
	}
	const publish, publishElsewhere = "publish chat:a 1", "publish other:a 1"
	follow(t,
		line{withToken(n, key), publish, 0, ""},
		line{withToken(n, key), publishElsewhere, 1, "4403"},
	)
	list := run(t, "", env, "key", "list").check(t, 0).out
	if !strings.Contains(list, "ci") || !strings.Contains(list, "chat:>=publish,subscribe") || !strings.Contains(list, "100/s") ||
		!strings.Contains(list, "user:root") || strings.Contains(list, key) {
		t.Errorf("list:\n%s", list)
	}
	follow(t,
		line{env, "key create --name ci --allow chat:>=publish", 1, "409"},
		line{env, "key create --allow chat:>=publish", 2, "--name"},
	)

	// It outlives the node.
	stopNode(t, n)
	n = startNode(t, cfg)
	env = withToken(n, root(t))
	follow(t, line{withToken(n, key), publish, 0, ""})

	// Revoked, it ends what uses it, and stays so.
	client, sub := connectWith(t, n, key, "chat:a")
	follow(t, line{env, "key revoke ci", 0, ""})
	endsRevoked(t, client, sub)
	follow(t,
		line{withToken(n, key), publish, 1, "4401"},
		line{env, "key revoke ci", 1, "404"},
	)
	// The name is free again, and the old key is not the new one.
	again := strings.TrimSpace(run(t, "", env, "key", "create", "--name", "ci", "--allow", "chat:>=publish").check(t, 0).out)
	for restarted := range 2 {
		if restarted == 1 {
			stopNode(t, n)
			n = startNode(t, cfg)
		}
		follow(t,
			line{withToken(n, key), publish, 1, "4401"},
			line{withToken(n, again), publish, 0, ""},
		)
	}
}

// connectWith is a client with a token, subscribed.
func connectWith(t testing.TB, n *cmd.Node, token, channel string) (*rivulet.Client, *rivulet.Subscription) {
	t.Helper()
	client, err := rivulet.New(n.URL(), rivulet.Options{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Connect(testContext(t)); err != nil {
		t.Fatal(err)
	}
	sub, err := client.Subscribe(testContext(t), channel, rivulet.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return client, sub
}

// endsRevoked waits for the subscription to end for good.
func endsRevoked(t testing.TB, _ *rivulet.Client, sub *rivulet.Subscription) {
	t.Helper()
	for _, err := range sub.Messages(testContext(t)) {
		if err == nil {
			continue
		}
		if !strings.Contains(err.Error(), fmt.Sprint(int(protocol.CloseRevoked))) {
			t.Errorf("ended with %v", err)
		}
		return
	}
	t.Error("ended without an error")
}

func TestRevokeCommands(t *testing.T) {
	cfg := guardedConfig(t)
	n := startNode(t, cfg)
	env := withToken(n, root(t))
	caps := map[string][]auth.Action{"chat:>": {auth.Subscribe, auth.Publish}}
	ann := mint(t, auth.Claims{Subject: "ann", TokenID: "a1"}, caps)
	bob := mint(t, auth.Claims{Subject: "bob", TokenID: "b1"}, caps)
	client, sub := connectWith(t, n, ann, "chat:a")
	_, bobs := connectWith(t, n, bob, "chat:a")
	out := run(t, "", env, "revoke", "--user", "ann", "--reason", "stolen").check(t, 0).out
	var done struct {
		Expires int64  `json:"expires"`
		By      string `json:"revoked_by"`
	}
	if err := json.Unmarshal([]byte(out), &done); err != nil || done.By != "user:root" ||
		time.Until(time.UnixMilli(done.Expires)) < time.Duration(cfg.Auth.MaxTokenLifetime) {
		t.Errorf("printed %s, %v", out, err)
	}
	// One that says less takes nothing of it back.
	var less struct {
		Expires int64 `json:"expires"`
		Before  int64 `json:"issued_before"`
	}
	out = run(t, "", env, "revoke", "--user", "ann", "--expires", "1h", "--issued-before", "2020-01-31T12:00:00Z").check(t, 0).out
	if err := json.Unmarshal([]byte(out), &less); err != nil || less.Expires != done.Expires || time.Since(time.Unix(less.Before, 0)) > time.Minute {
		t.Errorf("until %d, and then %s, %v", done.Expires, out, err)
	}
	endsRevoked(t, client, sub)
	const publish = "publish chat:a 1"
	follow(t,
		line{withToken(n, ann), publish, 1, "4401"},
		line{withToken(n, bob), publish, 0, ""},
	)
	if got := receive(t, bobs, 1); got[0] != "1" {
		t.Errorf("got %v", got)
	}
	follow(t,
		line{env, "revoke --token-id b1", 0, ""},
		line{withToken(n, bob), publish, 1, "4401"},
	)
	stopNode(t, n)
	n = startNode(t, cfg)
	env = withToken(n, root(t))
	follow(t, line{withToken(n, ann), publish, 1, "4401"})
	list := run(t, "", env, "revocations").check(t, 0).out
	if strings.Count(list, "\n") != 2 || !strings.Contains(list, `"ann"`) || !strings.Contains(list, `"b1"`) {
		t.Errorf("list:\n%s", list)
	}
	carl := mint(t, auth.Claims{Subject: "carl"}, caps)
	follow(t,
		line{env, "revoke --undo --user ann", 0, ""},
		line{withToken(n, ann), publish, 0, ""},
		line{env, "revoke --undo --user ann", 1, "404"},

		// It is forgotten in its time.
		line{env, "revoke --user carl --expires 2s --issued-before now", 0, ""},
		line{withToken(n, carl), publish, 1, "4401"},
	)
	for ctx := testContext(t); run(t, "", withToken(n, carl), "publish", "chat:a", "1").code != 0; {
		if ctx.Err() != nil {
			t.Fatal("it is still revoked")
		}
	}

	// Everybody, whoever revokes included.
	follow(t,
		line{env, "revoke --issued-before now", 0, ""},
		line{env, "revocations", 1, "401"},
		line{env, "revocations", 1, "revoked"},
		line{env, "revoke", 2, "--user"},
		line{env, "revoke --issued-before soon", 2, "--issued-before"},
		line{env, "revoke --token-id x --user y", 2, "--token-id"},
	)
}

// TestKeysRace: whatever creations and revocations of one name come together, the key
// that is listed in the end is the one that is accepted, and no other.
func TestKeysRace(t *testing.T) {
	n := startNode(t, guardedConfig(t))
	admin := root(t)
	var work sync.WaitGroup
	var mu sync.Mutex
	var made []string
	for range 4 {
		work.Go(func() {
			for range 15 {
				status, answer := callAs(t, n, "POST", "/v1/keys", admin, `{"name":"x","capabilities":{"chat:>":["publish"]}}`)
				var a struct{ Data struct{ Key string } }
				if err := json.Unmarshal([]byte(answer), &a); err != nil || status != 201 && status != 409 && status != 503 {
					t.Errorf("create: %d %s", status, answer)
				}
				if status == 201 {
					mu.Lock()
					made = append(made, a.Data.Key)
					mu.Unlock()
				}
				if status, answer := callAs(t, n, "DELETE", "/v1/keys/x", admin, ""); status != 200 && status != 404 && status != 503 {
					t.Errorf("revoke: %d %s", status, answer)
				}
			}
		})
	}
	work.Wait()
	_, listed := callAs(t, n, "GET", "/v1/keys", admin, "")
	good := 0
	for _, key := range made {
		if status, _ := callAs(t, n, "POST", "/v1/channels/chat:a/messages", key, `{"data":1}`); status == 201 {
			good++
		}
	}
	if want := strings.Count(listed, `"name":"x"`); good != want || len(made) == 0 {
		t.Errorf("of %d keys %d are accepted, %d listed", len(made), good, want)
	}
}
