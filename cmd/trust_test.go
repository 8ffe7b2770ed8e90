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

	"github.com/getkin/kin-openapi/openapi3"

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
		return res.StatusCode, "" // it has no end
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// access is what an operation of the specification needs.
type access struct {
	action auth.Action // "" is nothing at all
	body   string
	query  string
	// late is an operation whose rights are looked at after the handshake, by its own
	// means: it refuses bad tokens like the others.
	late bool
	// anonymous is let in without a token, which comes later.
	anonymous bool
}

// TestEveryRouteRefuses walks the specification: no operation is served to who shows no
// credentials, or wrong, expired, revoked or insufficient ones, unless it is listed as
// public here.
func TestEveryRouteRefuses(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const message = `{"channel":"chat:a","data":1}`
	table := map[string]access{
		"POST /v1/channels/{channel}/messages":            {action: auth.Publish, body: `{"data":1}`},
		"GET /v1/channels/{channel}/messages":             {action: auth.History},
		"DELETE /v1/channels/{channel}/messages":          {action: auth.Manage},
		"DELETE /v1/channels/{channel}/messages/{offset}": {action: auth.Manage},
		"GET /v1/channels/{channel}/presence":             {action: auth.Presence},
		"GET /v1/channels/{channel}":                      {action: auth.Presence},
		"GET /v1/channels":                                {action: auth.Presence},
		"GET /v1/channels/{channel}/groups":               {action: auth.Manage},
		"GET /v1/channels/{channel}/groups/{group}":       {action: auth.Manage},
		"DELETE /v1/channels/{channel}/groups/{group}":    {action: auth.Manage},
		"POST /v1/messages":                               {action: auth.Publish, body: `{"messages":[` + message + `]}`},
		"POST /v1/broadcast":                              {action: auth.Publish, body: `{"channels":["chat:a"],"data":1}`},
		"GET /v1/schedules":                               {action: auth.Manage},
		"GET /v1/schedules/{schedule}":                    {action: auth.Manage},
		"DELETE /v1/schedules/{schedule}":                 {action: auth.Manage},
		"GET /v1/users/{user}/connections":                {action: auth.Manage},
		"DELETE /v1/users/{user}/connections":             {action: auth.Manage},
		"GET /v1/sessions":                                {action: auth.Manage},
		"GET /v1/users/{user}/sessions":                   {action: auth.Manage},
		"GET /v1/users/{user}/sessions/{session}":         {action: auth.Manage},
		"DELETE /v1/users/{user}/sessions/{session}":      {action: auth.Manage},
		"POST /v1/users/{user}/sessions/{session}/reset":  {action: auth.Manage, body: `{"to":"now"}`},
		"GET /v1/keys":                                    {action: auth.Manage},
		"POST /v1/keys":                                   {action: auth.Manage, body: `{"name":"x","capabilities":{"chat:>":["publish"]}}`},
		"DELETE /v1/keys/{key}":                           {action: auth.Manage},
		"GET /v1/revocations":                             {action: auth.Manage},
		"POST /v1/revocations":                            {action: auth.Manage, body: `{"user":"nobody"}`},
		"DELETE /v1/revocations":                          {action: auth.Manage, query: "?user=nobody"},
		"GET /v1/webhooks":                                {action: auth.Manage},
		"POST /v1/webhooks/{webhook}/test":                {action: auth.Manage},
		"GET /v1/events":                                  {action: auth.Subscribe, query: "?channel=chat:a"},
		"GET /v1/poll":                                    {action: auth.Subscribe, query: "?channel=chat:a&timeout=0"},
		"GET /v1/ws":                                      {action: auth.Subscribe, late: true, anonymous: true},
		"GET /healthz":                                    {},
		"GET /readyz":                                     {},
		"GET /metrics":                                    {},
		"GET /openapi.yaml":                               {},
	}
	n := startNode(t, guardedConfig(t))
	everything := map[string][]auth.Action{"*:>": auth.Actions()}
	revoked := mint(t, auth.Claims{Subject: "ann", TokenID: "gone"}, everything)
	if status, answer := callAs(t, n, "POST", "/v1/revocations", root(t), `{"token_id":"gone"}`); status != 201 {
		t.Fatalf("revoke: %d %s", status, answer)
	}
	other, err := auth.Mint(auth.HMACConfig{Secret: auth.NewSecret(strings.Repeat("another secret ", 5))},
		auth.Claims{Capabilities: auth.Everything(), ExpiresAt: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	credentials := map[string]string{
		"no": "", "wrong": "nonsense", "wrongly signed": other, "revoked": revoked,
		"expired":        mint(t, auth.Claims{IssuedAt: time.Now().Add(-2 * time.Hour), ExpiresAt: time.Now().Add(-time.Hour)}, everything),
		"subscription's": mint(t, auth.Claims{Channel: "chat:a"}, everything),
	}
	path := strings.NewReplacer("{channel}", "chat:a", "{offset}", "1", "{group}", "g", "{schedule}", "s", "{user}", "u",
		"{session}", "s", "{key}", "k", "{webhook}", "w")
	walked := 0
	for name, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			need, known := table[method+" "+name]
			if !known {
				t.Errorf("%s %s is in no table of who may do it", method, name)
				continue
			}
			walked++
			target := path.Replace(name) + need.query
			public := op.Security != nil && len(*op.Security) == 0
			if public != (need.action == "") {
				t.Errorf("%s %s: public in the specification: %v", method, name, public)
			}
			if need.action == "" {
				if status, _ := callAs(t, n, method, target, "", ""); status != 200 {
					t.Errorf("%s %s is public, and answers %d", method, name, status)
				}
				continue
			}
			for which, token := range credentials {
				if which == "no" && need.anonymous {
					continue
				}
				if status, answer := callAs(t, n, method, target, token, need.body); status != 401 {
					t.Errorf("%s %s with %s credentials: %d %s", method, name, which, status, answer)
				}
			}
			if need.late {
				continue
			}
			var rest []auth.Action
			for _, a := range auth.Actions() {
				if a != need.action {
					rest = append(rest, a)
				}
			}
			for which, caps := range map[string]map[string][]auth.Action{
				"none": {}, "all others": {"*:>": rest}, "elsewhere": {"other:>": auth.Actions()},
			} {
				if which == "elsewhere" && (name == "/v1/channels" || strings.HasPrefix(name, "/v1/schedules")) {
					continue // what is not the caller's is not shown, which tests of api prove
				}
				status, answer := callAs(t, n, method, target, mint(t, auth.Claims{Subject: "bob"}, caps), need.body)
				if status != 403 {
					t.Errorf("%s %s with the actions %q: %d %s", method, name, which, status, answer)
				}
			}
			if status, answer := callAs(t, n, method, target, root(t), need.body); status == 401 || status == 403 {
				t.Errorf("%s %s with every right: %d %s", method, name, status, answer)
			}
		}
	}
	if walked != len(table) {
		t.Errorf("%d operations of the specification, %d in the table", walked, len(table))
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
	publish := func(n *cmd.Node) result { t.Helper(); return run(t, "", withToken(n, key), "publish", "chat:a", "1") }
	publish(n).check(t, 0)
	run(t, "", withToken(n, key), "publish", "other:a", "1").check(t, 1, "4403")
	list := run(t, "", env, "key", "list").check(t, 0).out
	if !strings.Contains(list, "ci") || !strings.Contains(list, "chat:>=publish,subscribe") || !strings.Contains(list, "100/s") ||
		!strings.Contains(list, "user:root") || strings.Contains(list, key) {
		t.Errorf("list:\n%s", list)
	}
	run(t, "", env, "key", "create", "--name", "ci", "--allow", "chat:>=publish").check(t, 1, "409")
	run(t, "", env, "key", "create", "--allow", "chat:>=publish").check(t, 2, "--name")

	// It outlives the node.
	stopNode(t, n)
	n = startNode(t, cfg)
	env = withToken(n, root(t))
	publish(n).check(t, 0)

	// Revoked, it ends what uses it, and stays so.
	client, sub := connectWith(t, n, key, "chat:a")
	run(t, "", env, "key", "revoke", "ci").check(t, 0)
	endsRevoked(t, client, sub)
	publish(n).check(t, 1, "4401")
	run(t, "", env, "key", "revoke", "ci").check(t, 1, "404")
	// The name is free again, and the old key is not the new one.
	again := strings.TrimSpace(run(t, "", env, "key", "create", "--name", "ci", "--allow", "chat:>=publish").check(t, 0).out)
	publish(n).check(t, 1, "4401")
	run(t, "", withToken(n, again), "publish", "chat:a", "1").check(t, 0)
	stopNode(t, n)
	n = startNode(t, cfg)
	publish(n).check(t, 1, "4401")
	run(t, "", withToken(n, again), "publish", "chat:a", "1").check(t, 0)
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
	endsRevoked(t, client, sub)
	run(t, "", withToken(n, ann), "publish", "chat:a", "1").check(t, 1, "4401")
	run(t, "", withToken(n, bob), "publish", "chat:a", "1").check(t, 0)
	if got := receive(t, bobs, 1); got[0] != "1" {
		t.Errorf("got %v", got)
	}
	run(t, "", env, "revoke", "--token-id", "b1").check(t, 0)
	run(t, "", withToken(n, bob), "publish", "chat:a", "1").check(t, 1, "4401")
	stopNode(t, n)
	n = startNode(t, cfg)
	env = withToken(n, root(t))
	run(t, "", withToken(n, ann), "publish", "chat:a", "1").check(t, 1, "4401")
	list := run(t, "", env, "revocations").check(t, 0).out
	if strings.Count(list, "\n") != 2 || !strings.Contains(list, `"ann"`) || !strings.Contains(list, `"b1"`) {
		t.Errorf("list:\n%s", list)
	}
	run(t, "", env, "revoke", "--undo", "--user", "ann").check(t, 0)
	run(t, "", withToken(n, ann), "publish", "chat:a", "1").check(t, 0)
	run(t, "", env, "revoke", "--undo", "--user", "ann").check(t, 1, "404")

	// It is forgotten in its time.
	carl := mint(t, auth.Claims{Subject: "carl"}, caps)
	run(t, "", env, "revoke", "--user", "carl", "--expires", "2s", "--issued-before", "now").check(t, 0)
	run(t, "", withToken(n, carl), "publish", "chat:a", "1").check(t, 1, "4401")
	for ctx := testContext(t); run(t, "", withToken(n, carl), "publish", "chat:a", "1").code != 0; {
		if ctx.Err() != nil {
			t.Fatal("it is still revoked")
		}
	}

	// Everybody, whoever revokes included.
	run(t, "", env, "revoke", "--issued-before", "now").check(t, 0)
	run(t, "", env, "revocations").check(t, 1, "401", "revoked")
	run(t, "", env, "revoke").check(t, 2, "--user")
	run(t, "", env, "revoke", "--issued-before", "soon").check(t, 2, "--issued-before")
	run(t, "", env, "revoke", "--token-id", "x", "--user", "y").check(t, 2, "--token-id")
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
