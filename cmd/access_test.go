package cmd_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
)

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

// operations are those of the specification, each with what it needs.
func operations() map[string]access {
	const message = `{"channel":"chat:a","data":1}`
	table := map[string]access{
		"POST /v1/channels/{channel}/messages":           {action: auth.Publish, body: `{"data":1}`},
		"POST /v1/messages":                              {action: auth.Publish, body: `{"messages":[` + message + `]}`},
		"POST /v1/broadcast":                             {action: auth.Publish, body: `{"channels":["chat:a"],"data":1}`},
		"GET /v1/channels/{channel}/messages":            {action: auth.History},
		"POST /v1/users/{user}/sessions/{session}/reset": {action: auth.Manage, body: `{"to":"now"}`},
		"POST /v1/keys":                                  {action: auth.Manage, body: `{"name":"x","capabilities":{"chat:>":["publish"]}}`},
		"POST /v1/revocations":                           {action: auth.Manage, body: `{"user":"nobody"}`},
		"DELETE /v1/revocations":                         {action: auth.Manage, query: "?user=nobody"},
		"GET /v1/events":                                 {action: auth.Subscribe, query: "?channel=chat:a"},
		"GET /v1/poll":                                   {action: auth.Subscribe, query: "?channel=chat:a&timeout=0"},
		"GET /v1/ws":                                     {action: auth.Subscribe, late: true, anonymous: true},
	}
	for action, names := range map[auth.Action][]string{
		auth.Presence: {"GET /v1/channels/{channel}/presence", "GET /v1/channels/{channel}", "GET /v1/channels"},
		auth.Manage: {
			"DELETE /v1/channels/{channel}/messages", "DELETE /v1/channels/{channel}/messages/{offset}",
			"GET /v1/channels/{channel}/groups", "GET /v1/channels/{channel}/groups/{group}", "DELETE /v1/channels/{channel}/groups/{group}",
			"GET /v1/schedules", "GET /v1/schedules/{schedule}", "DELETE /v1/schedules/{schedule}",
			"GET /v1/users/{user}/connections", "DELETE /v1/users/{user}/connections",
			"GET /v1/sessions", "GET /v1/users/{user}/sessions",
			"GET /v1/users/{user}/sessions/{session}", "DELETE /v1/users/{user}/sessions/{session}",
			"GET /v1/keys", "DELETE /v1/keys/{key}", "GET /v1/revocations",
			"GET /v1/webhooks", "POST /v1/webhooks/{webhook}/test",
		},
		"": {"GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.yaml", "POST /v1/telemetry"}, // anybody
	} {
		for _, name := range names {
			table[name] = access{action: action}
		}
	}
	return table
}

// inPath fills in the parameters of a path.
func inPath() *strings.Replacer {
	return strings.NewReplacer("{channel}", "chat:a", "{offset}", "1", "{group}", "g", "{schedule}", "s", "{user}", "u",
		"{session}", "s", "{key}", "k", "{webhook}", "w")
}

// TestEveryRouteRefuses walks the specification: no operation is served to who shows no
// credentials, or wrong, expired, revoked or insufficient ones, unless it is listed as
// public here.
func TestEveryRouteRefuses(t *testing.T) {
	doc := specification(t)
	table := operations()
	cfg := guardedConfig(t)
	cfg.Server.Telemetry = true
	n := startNode(t, cfg)
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
	path := inPath()
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
				if status, _ := callAs(t, n, method, target, "", map[string]string{http.MethodPost: "{}"}[method]); status != 200 {
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
