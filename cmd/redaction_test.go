//go:build !windows

package cmd_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
)

// secrets are each told apart in whatever they come up in.
const (
	hmacSecret    = "hush-hmac-secret-0123456789abcdef0123456789abcdef"
	webhookSecret = "hush-webhook-secret-0123456789abcdef0123456789"
	natsUser      = "hush-nats-user"
	natsPassword  = "hush-nats-password"
	badToken      = "hush-token-in-a-header"
	queryToken    = "hush-token-in-a-query"
	commandToken  = "hush-token-in-a-command"
)

// reveals reports every secret that the text has.
func reveals(t *testing.T, where, text string, more ...string) {
	t.Helper()
	for _, secret := range append(more, "hush-") {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s reveals a secret: …%s…", where, text[max(0, i-60):min(len(text), i+60)])
		}
	}
}

// TestNothingRevealsSecrets runs a node that logs everything through what it does right
// and wrong, and looks everywhere.
func TestNothingRevealsSecrets(t *testing.T) {
	key := auth.NewKey()
	cfg := devConfig(t)
	cfg.Dev = false
	cfg.Namespaces = map[string]cmd.NamespaceConfig{"default": {MaxBytes: 64 << 20}}
	cfg.Server.AdminListen = "127.0.0.1:0"
	cfg.Auth.HMAC.Secret = auth.NewSecret(hmacSecret)
	cfg.Auth.Keys = []cmd.KeyConfig{{Name: "ops", SHA256: auth.HashKey(key), Capabilities: map[string][]auth.Action{"*:>": {auth.Publish, auth.History, auth.Manage}}}}
	cfg.Webhooks = []cmd.WebhookConfig{{
		Name: "gone", URL: "http://127.0.0.1:1/hook?token=hush-webhook-query", Secret: auth.NewSecret(webhookSecret),
		Events: []string{"message.published"}, Channels: []string{"default:>"},
	}}
	n, log := loggedNode(t, cfg)
	mint := run(t, "", []string{"RIVULET_AUTH_HMAC_SECRET=" + hmacSecret}, "token", "--sub", "alice", "--allow", "default:>=publish,subscribe").check(t, 0)
	token := strings.TrimSpace(mint.out)
	signature := token[strings.LastIndex(token, ".")+1:]
	hidden := []string{key.Reveal(), token, signature}
	look := func(where, text string) { t.Helper(); reveals(t, where, text, hidden...) }

	messages := n.URL() + "/v1/channels/default:x/messages"
	for _, r := range []struct{ method, url, body, token string }{
		{http.MethodPost, messages, `{"data":1}`, key.Reveal()},
		{http.MethodPost, messages, `{"data":1}`, token},
		{http.MethodPost, messages, `{"data":`, token},
		{http.MethodPost, messages, `{"data":1}`, badToken},
		{http.MethodPost, messages, `{"data":1}`, token + "x"},
		{http.MethodPost, messages + "?token=" + queryToken, `{"data":1}`, token},
		{http.MethodDelete, messages + "?token=" + queryToken, "", key.Reveal()},
		{http.MethodDelete, messages, "", token},
		{http.MethodGet, messages + "?token=" + queryToken, "", ""},
		{http.MethodGet, n.URL() + "/nowhere?token=" + queryToken, "", badToken},
		{http.MethodGet, n.URL() + "/v1/events?channel=default:x&token=" + queryToken, "", ""},
		{http.MethodGet, n.URL() + "/v1/poll?channel=default:x&timeout=0&token=" + token, "", ""},
		{http.MethodGet, n.URL() + "/v1/ws?token=" + queryToken, "", ""},
	} {
		header := []string{"X-Request-Id", "bad\tid " + badToken}
		if r.token != "" {
			header = append(header, "Authorization", "Bearer "+r.token)
		}
		got := request(t, &http.Transport{}, r.method, r.url, r.body, header...)
		look(r.method+" "+r.url, got.body)
		for name, values := range got.header {
			look(r.method+" "+r.url+" in "+name, strings.Join(values, " "))
		}
	}
	ws := "ws" + strings.TrimPrefix(n.URL(), "http") + "/v1/ws"
	for _, query := range []string{"?token=" + queryToken, "?token=" + token, ""} {
		conn, resp, err := gorilla.DefaultDialer.DialContext(testContext(t), ws+query, nil)
		if resp != nil {
			resp.Body.Close()
		}
		if err != nil {
			continue // refused, as it should be with the first
		}
		_ = conn.SetReadDeadline(time.Now().Add(deadline))
		_ = conn.WriteMessage(gorilla.TextMessage, []byte(`{"id":1,"connect":{"token":"`+commandToken+`"}}`))
		for range 2 {
			_, text, err := conn.ReadMessage()
			look("a WebSocket", string(text))
			if err != nil {
				look("a WebSocket's end", err.Error())
				break
			}
		}
		_ = conn.Close()
	}
	admin := "http://" + n.AdminAddr().String()
	failed := request(t, &http.Transport{}, http.MethodPost, admin+"/v1/webhooks/gone/test", "", "Authorization", "Bearer "+key.Reveal()).body
	if !strings.Contains(failed, "refused") {
		t.Errorf("the webhook's receiver is not gone: %s", failed)
	}
	look("the test of a webhook", failed)
	for _, path := range []string{"/metrics", "/v1/webhooks", "/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline"} {
		got := request(t, &http.Transport{}, http.MethodGet, admin+path, "", "Authorization", "Bearer "+key.Reveal())
		look(path, got.body)
	}
	log.waitFor(t, `"route":"purge"`)
	look("the log", log.String())
}

// TestCommandsRevealNoSecrets: neither what they print nor what they complain of.
func TestCommandsRevealNoSecrets(t *testing.T) {
	file := writeFile(t, "rivulet.yaml", `auth:
  hmac: {secret: `+hmacSecret+`}
  connect_hook: {hook: {url: 'https://hush-user:hush-pass@example.com/x?k=hush-query', secret: `+webhookSecret+`}}
namespaces:
  default:
    hooks:
      subscribe: {url: 'https://hush-user:hush-pass@example.com/x?k=hush-query', secret: `+webhookSecret+`}
      publish: {url: 'https://hush-user:hush-pass@example.com/x?k=hush-query', secret: `+webhookSecret+`}
broker: {nats_url: 'nats://`+natsUser+`:`+natsPassword+`@127.0.0.1:1'}
webhooks: [{name: a, url: 'https://hush-user:hush-pass@example.com/x?k=hush-query', secret: `+webhookSecret+`, events: [message.published], channels: ['default:>']}]
`)
	bad := writeFile(t, "bad.yaml", `auth: {hmac: {secret: [`+hmacSecret+`]}}
broker: {nats_url: 'http://`+natsUser+`:`+natsPassword+`@h'}
`)
	short := writeFile(t, "short.yaml", `auth: {hmac: {secret: hush-}, keys: [{name: a, sha256: hush-key, capabilities: {'a:>': [publish]}}]}
broker: {nats_url: 'nats://`+natsUser+`:`+natsPassword+`@h:x y'}
`)
	for _, args := range [][]string{
		{"check", "-c", file},
		{"check", "-c", file, "--print"},
		{"check", "-c", bad},
		{"check", "-c", short},
		{"check", "-c", file, "--set", "auth.hmac.secrets=" + hmacSecret},
		{"serve", "-c", file, "--log-level", "debug", "--listen", "127.0.0.1:0", "--set", "webhooks=hush-"},
		{"migrate", "-c", file, "--timeout", "300ms", "--log-level", "debug"},
		{"serve", "-c", bad},
	} {
		r := run(t, "", nil, args...)
		reveals(t, strings.Join(args, " "), r.out+r.err)
	}
	r := run(t, "", []string{"RIVULET_AUTH_HMAC_SECRT=" + hmacSecret}, "check").check(t, cmd.ExitUsage, "RIVULET_AUTH_HMAC_SECRT: unknown variable")
	reveals(t, "check", r.out+r.err)
}

// TestPrintedConfigurationIsOne: what --print writes can be read again, and is the same.
func TestPrintedConfigurationIsOne(t *testing.T) {
	nats := writeFile(t, "nats", "nats://u:hush-p@n1:4222\n")
	file := writeFile(t, "rivulet.yaml", `auth: {keys: [{name: a, sha256: '`+auth.HashKey(auth.NewKey())+`', capabilities: {'a:>': [publish]}}]}
broker: {nats_url_file: `+nats+`, replicas: 3}
server: {trusted_proxies: [10.0.0.0/8], admin_listen: '127.0.0.1:9090'}
namespaces: {chat: {max_age: 3d, max_bytes: 1GiB}, orders: {}}
`)
	first := run(t, "", nil, "check", "-c", file, "--print").check(t, 0)
	again := run(t, "", nil, "check", "-c", writeFile(t, "again.yaml", first.out), "--print").check(t, 0)
	if first.out != again.out {
		t.Errorf("printed\n%s\nand of that\n%s", first.out, again.out)
	}
	if !strings.Contains(first.out, "nats_url_file: "+nats) || !strings.Contains(first.out, "max_age: 3d") {
		t.Errorf("it lacks what was set:\n%s", first.out)
	}
	reveals(t, "check --print", first.out)
}

// TestPrintedConfigurationIsInEffect: where nothing is configured, what the node does is
// printed, and not the zero that stands for it.
func TestPrintedConfigurationIsInEffect(t *testing.T) {
	key := writeFile(t, "rivulet.yaml", "auth: {keys: [{name: a, sha256: '"+auth.HashKey(auth.NewKey())+"', capabilities: {'a:>': [publish]}}]}\n")
	printed := run(t, "", nil, "check", "-c", key, "--print").check(t, 0).out
	for _, want := range []string{
		"listen: :8080", "default:", "partitions: ", "max_age: 1d", "max_per_channel: ", "session_store: consumer", "session_ttl: 1d", "group_ack_wait: 30s",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("lacks %q:\n%s", want, printed)
		}
	}
	for _, zero := range []string{"partitions: 0", "max_per_channel: 0", "max_bytes: 0", "max_message_bytes: 0", "replicas: 0", "max_groups: 0", "timeout: 0"} {
		if strings.Contains(printed, zero) {
			t.Errorf("has %q:\n%s", zero, printed)
		}
	}
	again := run(t, "", nil, "check", "-c", writeFile(t, "again.yaml", printed), "--print").check(t, 0)
	if again.out != printed {
		t.Errorf("printed\n%s\nand of that\n%s", printed, again.out)
	}
}
