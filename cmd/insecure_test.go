package cmd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckNamesEachInsecurity: of a configuration that is otherwise sound, check names the one
// thing that is insecure by its key, and nothing else.
func TestCheckNamesEachInsecurity(t *testing.T) {
	const secret = "5b1f0c8a7d3e9264bb01f7a95c4d8e36"
	own := writeFile(t, "secret", secret)
	shown := writeFile(t, "shown", secret)
	weak := writeFile(t, "weak", "passwordpasswordpassword")
	open := filepath.Join(t.TempDir(), "data")
	if err := os.Chmod(shown, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	const hooked = "namespaces: {chat: {hooks: {%s: {url: '%s', secret_file: %s, when_open: %s, insecure: %v}}}}"
	key := "keys: [{name: ops, sha256: " + strings.Repeat("5e", 32) + ", capabilities: {'%s': [%s]}}]"
	idp := "tokens: [{name: idp, %s algorithms: [ES256], jwks_url: '%s'%s}]"
	for _, tc := range []struct {
		name string
		// of the groups, in YAML; what is not given is sound
		server, broker, session, auth, rest string
		args                                []string
		warning                             string // "" is none
	}{
		{name: "nothing"},
		{name: "no TLS", server: "listen: ':8443', admin_listen: '127.0.0.1:9090'", warning: "server.listen: :8443 can be reached"},
		{name: "no proxy, which there may be", server: "listen: '127.0.0.1:8080'", warning: "server.trusted_proxies: is empty"},
		{name: "everybody a proxy", server: "listen: '127.0.0.1:8080', trusted_proxies: ['0.0.0.0/0']", warning: "server.trusted_proxies: every address"},
		{name: "operators' listener", server: "listen: '127.0.0.1:8080', trusted_proxies: [127.0.0.1], admin_listen: ':9090'", warning: "server.admin_listen: :9090 can be reached"},
		{name: "power", broker: "sync: interval", warning: "broker.sync: "},
		{name: "NATS in the clear", broker: "nats_url: 'nats://u:p@n1:4222'", warning: "broker.nats_url: nats:// is not encrypted"},
		{name: "NATS for anybody", broker: "nats_url: 'tls://n1:4222'", warning: "broker.nats_url: has no user"},
		{name: "NATS on the command line", broker: "sync: always", args: []string{"--nats-url", "tls://u:p@n1:4222"}, warning: "broker.nats_url: other users"},
		{name: "an open folder", broker: "sync: always, data: " + open, warning: "broker.data: other users can look into"},
		{name: "any origin", session: "origins: ['*']", warning: "session.origins: pages of any site"},
		{name: "an origin in the clear", session: "origins: ['http://app.example']", warning: "session.origins[0]: http://app.example is not encrypted"},
		{name: "an origin in the clear, of any port", session: "origins: ['http://app.example:*']", warning: "session.origins[0]: http://app.example:* is not encrypted"},
		{name: "a whole domain", session: "origins: ['https://app.example', 'https://*.com']", warning: "session.origins[1]: https://*.com is every site"},
		{name: "origins that are sound", session: "origins: ['https://*.app.example', 'http://localhost:*', 'https://app.example:*']"},
		{name: "a secret to guess", auth: "hmac: {secret_file: " + writeFile(t, "guess", strings.Repeat("ab", 20)) + ", issuer: app}", warning: "auth.hmac.secret: has only 2"},
		{name: "a secret for others to read", auth: "hmac: {secret_file: " + shown + ", issuer: app}", warning: "auth.hmac.secret_file: "},
		{name: "the last secret", auth: "hmac: {secret_file: " + own + ", previous_secret_file: " + own + ", issuer: app}", warning: "auth.hmac.previous_secret: "},
		{name: "tokens for anybody", auth: "hmac: {secret_file: " + own + "}", warning: "auth.hmac.issuer: "},
		{name: "long tokens", auth: "hmac: {secret_file: " + own + ", issuer: app}, max_token_lifetime: 30d", warning: "auth.max_token_lifetime: "},
		{name: "tokens of no time", auth: "hmac: {secret_file: " + own + ", issuer: app}, iat_optional: true", warning: "auth.iat_optional: "},
		{name: "any issuer", auth: fmt.Sprintf(idp, "audience: rt,", "https://idp.example/k", ""), warning: "auth.tokens[0].issuer: "},
		{name: "any audience", auth: fmt.Sprintf(idp, "issuer: idp,", "https://idp.example/k", ""), warning: "auth.tokens[0].audience: "},
		{name: "keys in the clear", auth: fmt.Sprintf(idp, "issuer: idp, audience: rt,", "http://127.0.0.1/k", ""), warning: "auth.tokens[0].jwks_url: "},
		{name: "tokens that manage", auth: fmt.Sprintf(idp, "issuer: idp, audience: rt,", "https://idp.example/k", ", capabilities: {'*:>': [manage]}"), warning: "auth.tokens[0].capabilities: allows manage"},
		{name: "tokens that do not", auth: fmt.Sprintf(idp, "issuer: idp, audience: rt,", "https://idp.example/k", ", capabilities: {'chat:>': [publish]}")},
		{name: "a key that manages", auth: fmt.Sprintf(key, "chat:>", "publish, manage"), warning: "auth.keys[0].capabilities: allows manage"},
		{name: "a key that does not", auth: fmt.Sprintf(key, "*:>", "publish")},
		{name: "a hook in the clear", rest: fmt.Sprintf(hooked, "subscribe", "http://hooks.example/", own, "deny", true), warning: "namespaces.chat.hooks.subscribe.insecure: "},
		{name: "a hook that is remembered", rest: fmt.Sprintf(hooked, "publish", "https://hooks.example/", own, "cached", false), warning: "namespaces.chat.hooks.publish.when_open: "},
		{name: "a hook's secret for others to read", rest: fmt.Sprintf(hooked, "publish", "https://hooks.example/", shown, "deny", false), warning: "namespaces.chat.hooks.publish.secret_file: "},
		{name: "a hook's secret to guess", rest: fmt.Sprintf(hooked, "publish", "https://hooks.example/", weak, "deny", false), warning: "namespaces.chat.hooks.publish.secret: "},
		{
			name: "a hook that judges alone", warning: "auth.connect_hook.instead_of_token: ",
			auth: "hmac: {secret_file: " + own + ", issuer: app}, connect_hook: {instead_of_token: true, grants: {'a:>': [subscribe]}, hook: {url: 'https://hooks.example/', secret_file: " + own + "}}",
		},
		{
			name: "a hook that grants all", warning: "auth.connect_hook.grants: allows manage",
			auth: "hmac: {secret_file: " + own + ", issuer: app}, connect_hook: {grants: {'*:>': [manage]}, hook: {url: 'https://hooks.example/', secret_file: " + own + "}}",
		},
		{
			name: "a hook that is told a credential", warning: "auth.connect_hook.headers: the hook is given Cookie",
			auth: "hmac: {secret_file: " + own + ", issuer: app}, connect_hook: {headers: [cookie], hook: {url: 'https://hooks.example/', secret_file: " + own + "}}",
		},
		{
			name: "a webhook in the clear", warning: "webhooks.w.insecure: ",
			rest: "webhooks: [{name: w, url: 'http://hooks.example/', insecure: true, secret_file: " + own + ", events: [message.published], channels: ['default:>']}]",
		},
		{
			name: "a webhook's secret to guess", warning: "webhooks.w.secret: ",
			rest: "webhooks: [{name: w, url: 'https://hooks.example/', secret_file: " + weak + ", events: [message.published], channels: ['default:>']}]",
		},
		{name: "no limit", rest: "limits: {connections_per_ip: 0}", warning: "limits.connections_per_ip: is off"},
		{name: "a limit that is off anyway", rest: "limits: {publishes_per_channel: 0}"},
		{name: "nobody limited", rest: "limits: {exempt: ['::/0', 10.0.0.0/8]}", warning: "limits.exempt[0]: ::/0 is everybody"},
		{name: "IPv6 one by one", rest: "limits: {ipv6_prefix: 128}", warning: "limits.ipv6_prefix: with 128"},
		{name: "a secret on the command line", auth: "hmac: {issuer: app}", args: []string{"--set", "auth.hmac.secret=" + secret}, warning: "auth.hmac.secret: other users"},
		{name: "a hook's on the command line", auth: "hmac: {secret_file: " + own + ", issuer: app}, connect_hook: {hook: {url: 'https://hooks.example/'}}", args: []string{"--set", "auth.connect_hook.hook.secret=" + secret}, warning: "auth.connect_hook.hook.secret: other users"},
		{name: "a list on the command line", args: []string{"--set", "webhooks=[{name: w, url: 'https://hooks.example/', secret: " + secret + ", events: [message.published], channels: ['default:>']}]"}, warning: "webhooks: other users"},
		{name: "open to everybody", auth: "hmac: {issuer: app}", args: []string{"--dev"}, warning: "dev: everybody on this machine"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			or := func(given, sound string) string {
				if given == "" {
					return sound
				}
				return given
			}
			text := fmt.Sprintf("server: {%s}\nbroker: {%s}\nsession: {%s}\nauth: {%s}\n%s\n",
				or(tc.server, "listen: '127.0.0.1:8080', trusted_proxies: [127.0.0.1]"), or(tc.broker, "sync: always"), tc.session,
				or(tc.auth, "hmac: {secret_file: "+own+", issuer: app}"), tc.rest)
			r := run(t, "", nil, append([]string{"check", "-c", writeFile(t, "rivulet.yaml", text)}, tc.args...)...).check(t, 0)
			var warnings []string
			for line := range strings.Lines(r.out) {
				if w, ok := strings.CutPrefix(line, "warning: "); ok {
					warnings = append(warnings, w)
				}
			}
			if tc.warning == "" && len(warnings) == 0 {
				return
			}
			if tc.warning == "" || len(warnings) != 1 || !strings.HasPrefix(warnings[0], tc.warning) {
				t.Errorf("warned of %q, want %q alone", warnings, tc.warning)
			}
			if strings.Contains(r.out+r.err, secret) {
				t.Error("it shows a secret")
			}
		})
	}
}

// TestCheckLooksAtItsOwnFile: a file with secrets is for its owner alone, one without is not.
func TestCheckLooksAtItsOwnFile(t *testing.T) {
	for text, want := range map[string]bool{
		"auth: {hmac: {secret: 5b1f0c8a7d3e9264bb01f7a95c4d8e36}}": true,
		"webhooks: [{name: w, url: 'https://h.example/', secret: 5b1f0c8a7d3e9264bb01f7a95c4d8e36, events: [message.published], channels: ['default:>']}]": true,
		"namespaces: {chat: {hooks: {publish: {url: 'https://h.example/', secret: 5b1f0c8a7d3e9264bb01f7a95c4d8e36}}}}":                                    true,
		"broker: {nats_url: 'tls://u:p@n1:4222'}": true,
		"server: {listen: ':8080'}":               false,
		"auth: {keys: [{name: ops, sha256: 5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e, capabilities: {'a:>': [publish]}}]}\n# a hash lets nobody in\n": false,
	} {
		file := writeFile(t, "rivulet.yaml", text+"\n")
		for mode, shown := range map[os.FileMode]bool{0o600: false, 0o644: true, 0o640: true} {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
			env := []string{"RIVULET_AUTH_HMAC_ISSUER=app"}
			if !strings.Contains(text, "hmac: {secret") {
				env = append(env, "RIVULET_AUTH_HMAC_SECRET=0b1f0c8a7d3e9264bb01f7a95c4d8e36")
			}
			r := run(t, "", env, "check", "-c", file).check(t, 0)
			if got := strings.Contains(r.out, "warning: "+file+": has secrets in it"); got != (want && shown) {
				t.Errorf("%s with mode %v: warned %v\n%s", text, mode, got, r.out)
			}
		}
	}
}
