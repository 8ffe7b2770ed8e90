package cmd_test

import (
	"os"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/cmd"
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
	r = run(t, "", good, "check", "--listen", "127.0.0.1:8080", "--sync", "always").check(t, 0)
	if !strings.Contains(r.out, "No warnings.") {
		t.Errorf("warned without reason:\n%s", r.out)
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
		"no secret":           {"", nil},
		"a short secret":      {"secret: abc, ", []string{"auth.hmac.secret: has 3 bytes, any algorithm needs at least 32"}},
		"two secrets":         {"secret: abc, secret_file: none, ", []string{"auth.hmac.secret: has 3 bytes", "auth.hmac.secret_file: auth.hmac.secret is set too"}},
		"a secret not there":  {"secret_file: none, ", []string{"auth.hmac.secret_file: open none"}},
		"a short secret file": {"secret_file: " + writeFile(t, "short", "abc") + ", ", []string{"auth.hmac.secret: has 3 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := writeFile(t, "rivulet.yaml", "auth: {hmac: {"+tc.hmac+rest)
			run(t, "", nil, "check", "-c", file).check(t, cmd.ExitUsage, append(tc.want, all...)...)
		})
	}
}
