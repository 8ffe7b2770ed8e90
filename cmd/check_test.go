package cmd_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/cmd/internal/pki"
)

func TestCheckSaysWhatIsInsecure(t *testing.T) {
	secret := writeFile(t, "secret", "0123456789abcdef0123456789abcdef")
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "rivulet.yaml", "server: {listen: ':8080'}\nsession: {origins: ['*']}\nauth: {hmac: {secret_file: "+secret+"}}\n"+
		"broker: {nats_url: 'nats://user:hush@n1:4222'}\nnamespaces: {chat: {}, orders: {}}\n")
	r := run(t, "", nil, "check", "-c", file).check(t, 0)
	for _, want := range []string{
		"The configuration is valid.", "chat, orders", "tokens signed with HS256",
		"warning: server.listen: :8080", "warning: session.origins:", "warning: broker.nats_url: nats:// is not encrypted",
		"warning: auth.hmac.secret_file: " + secret + " can be read by other users",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("lacks %q:\n%s", want, r.out)
		}
	}
	if strings.Contains(r.out+r.err, "hush") {
		t.Error("check shows the password of nats_url")
	}
	good := []string{"RIVULET_AUTH_HMAC_SECRET=5b1f0c8a7d3e9264bb01f7a95c4d8e36", "RIVULET_AUTH_HMAC_ISSUER=app"}
	r = run(t, "", good, "check", "--listen", "127.0.0.1:8080", "--sync", "always", "--set", "server.trusted_proxies=127.0.0.1").check(t, 0)
	if !strings.Contains(r.out, "No warnings.") {
		t.Errorf("warned without reason:\n%s", r.out)
	}
}

// What check says of who may control the node is so.
func TestCheckSaysWhoControls(t *testing.T) {
	n := startNode(t, devConfig(t))
	publish(t, n, "chat:a", 1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, n.URL()+"/v1/channels/chat:a/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Timeout: deadline}).Do(req)
	if err != nil || res.Body.Close() != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("purge without a token: %v, %v", res, err)
	}
	if r := run(t, "", nil, "check", "--dev").check(t, 0); !strings.Contains(r.out, "control routes need no token") {
		t.Errorf("check --dev says:\n%s", r.out)
	}
	secret := []string{"RIVULET_AUTH_HMAC_SECRET=5b1f0c8a7d3e9264bb01f7a95c4d8e36"}
	if r := run(t, "", secret, "check").check(t, 0); !strings.Contains(r.out, "control routes need a token") {
		t.Errorf("check says:\n%s", r.out)
	}
}

func TestCheckReportsAllAtOnce(t *testing.T) {
	file := writeFile(t, "rivulet.yaml", "broker: {sync: x}\nauth: {hmac: {secret: short}}\nlog: {level: x}\nnamespaces: {chat: {max_message_bytes: 1GiB, partitions: 999}}\n")
	for _, command := range []string{"check", "serve"} {
		run(t, "", nil, command, "-c", file).check(t, cmd.ExitUsage, "broker.sync:", "auth.hmac.secret", "log.level:", "chat.max_message_bytes: 1GiB", "chat.partitions: 999")
	}
}

// TestCheckReportsAllOfAuth: one problem does not hide another, be it in the secret, in
// what is beside it or in the keys.
func TestCheckReportsAllOfAuth(t *testing.T) {
	const rest = "algorithm: RS256}, keys: [{name: shop, sha256: '12', capabilities: {'a': [publsh, fly], 'chat:>': [shout]}}]}\n"
	all := []string{
		`auth.hmac.algorithm: "RS256" is not`, "auth.keys[0].sha256: must be", `capabilities: "a": unknown action "publsh"`,
		`capabilities: "a": unknown action "fly"`, `auth.keys[0].capabilities: "chat:>": unknown action "shout"`,
	}
	for name, tc := range map[string]struct {
		hmac string
		want []string
	}{
		"no secret":            {"", nil},
		"a short secret":       {"secret: abc, ", []string{"auth.hmac.secret: has 3 bytes, any algorithm needs at least 32"}},
		"two secrets":          {"secret: abc, secret_file: none, ", []string{"auth.hmac.secret: has 3 bytes", "auth.hmac.secret_file: auth.hmac.secret is set too"}},
		"a secret not there":   {"secret_file: none, ", []string{"auth.hmac.secret_file: open none"}},
		"a short secret file":  {"secret_file: " + writeFile(t, "short", "abc") + ", ", []string{"auth.hmac.secret_file: ", "short has 3 bytes"}},
		"an empty secret file": {"secret_file: " + writeFile(t, "empty", "\n") + ", ", []string{"auth.hmac.secret_file: ", "empty is empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := writeFile(t, "rivulet.yaml", "auth: {hmac: {"+tc.hmac+rest)
			run(t, "", nil, "check", "-c", file).check(t, cmd.ExitUsage, append(tc.want, all...)...)
		})
	}
}

func TestCheckSaysWhatTheEdgeLeavesOpen(t *testing.T) {
	authority, f := pki.New(t), pki.NewFiles(t)
	f.Put(t)(authority.Leaf(t, nil)) // ends within the hour
	if err := os.Chmod(f.Key, 0o640); err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "rivulet.yaml", "server: {listen: '127.0.0.1:8443', admin_listen: '0.0.0.0:9090', trusted_proxies: ['10.0.0.0/8', '::/0'],\n"+
		"  tls: {cert_file: "+f.Cert+", key_file: "+f.Key+"}}\n")
	r := run(t, "", nil, "check", "-c", file, "--set", "auth.hmac.secret="+strings.Repeat("s", 32)).check(t, 0)
	for _, want := range []string{
		"listens on   127.0.0.1:8443, TLS from 1.2 on", "operated on  0.0.0.0:9090",
		"warning: server.trusted_proxies: every address is trusted", "warning: server.admin_listen: 0.0.0.0:9090 can be reached",
		"warning: server.tls.cert_file: " + f.Cert + " ends", "warning: server.tls.key_file: " + f.Key + " can be read by other users",
		"warning: auth.hmac.secret: other users of this machine can see it",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("lacks %q:\n%s", want, r.out)
		}
	}
	if strings.Contains(r.out, "not encrypted") {
		t.Errorf("TLS is called not encrypted:\n%s", r.out)
	}
}

func TestCheckReportsAllOfTheEdge(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name, file string
		want       []string
	}{
		{"proxies", "server: {trusted_proxies: [proxy.example], forwarded_header: Via}", []string{"server.trusted_proxies[0]:", `server.forwarded_header: "Via"`}},
		{"PROXY from nobody", "server: {proxy_protocol: true}", []string{"server.proxy_protocol: nobody could connect"}},
		{"half a certificate", "server: {tls: {cert_file: x, min_version: '1.1'}}", []string{"server.tls.key_file: is empty", `server.tls.min_version: "1.1"`}},
		{"no files", "server: {tls: {cert_file: " + dir + "/c, key_file: " + dir + "/k}}", []string{"server.tls.cert_file: open " + dir + "/c"}},
		{"client authority without TLS", "server: {tls: {client_ca_file: x}}", []string{"server.tls.client_ca_file: client certificates exist on TLS only"}},
		{"certificates that nobody signs", "auth: {certificates: [{subject: shop, capabilities: {'a:>': [publish]}}]}", []string{"auth.certificates: nobody signs them"}},
		{"ACME", "server: {acme: {domains: [localhost, 10.0.0.1, rt.example.com], email: x, directory_url: 'http://a'}}", []string{
			"server.acme.domains[0]:", "server.acme.domains[1]:", "server.acme.email:", "server.acme.directory_url:", "server.acme.cache_dir: is empty",
		}},
		{"ACME without domains", "server: {acme: {cache_dir: x}}", []string{"server.acme.cache_dir: says nothing"}},
		{"ACME and files", "server: {acme: {domains: [a.example], cache_dir: x}, tls: {cert_file: c, key_file: k}}", []string{"server.acme.domains: server.tls.cert_file is set too"}},
		{"admin", "server: {admin_listen: '9090'}", []string{"server.admin_listen:"}},
		{"admin at the same", "server: {listen: ':8080', admin_listen: ':8080'}", []string{"server.admin_listen:"}},
		{"NATS address twice", "broker: {nats_url: 'nats://a', nats_url_file: x}", []string{"broker.nats_url_file: broker.nats_url is set too"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, "", []string{secretVariable}, "check", "-c", writeFile(t, "rivulet.yaml", tc.file+"\n")).check(t, cmd.ExitUsage, tc.want...)
		})
	}
}
