package cmd_test

import (
	"os"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd"
)

func TestCheckSaysWhoIsLetIn(t *testing.T) {
	hash := auth.HashKey(auth.NewKey())
	file := writeFile(t, "rivulet.yaml", `auth:
  max_token_lifetime: 400d
  hmac: {secret: 5b1f0c8a7d3e9264bb01f7a95c4d8e36}
  keys: [{name: ops, sha256: "`+hash+`", capabilities: {"a:>": [publish]}}]
  connect_hook: {instead_of_token: true, hook: {url: "http://127.0.0.1:1", secret: 0123456789abcdef}}
`)
	r := run(t, "", nil, "check", "-c", file).check(t, 0)
	for _, want := range []string{
		"and 1 API key;", "clients whom the connect hook lets in", "for up to 400d;", "auth.connect_hook.grants: are empty",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("lacks %q:\n%s", want, r.out)
		}
	}
	run(t, "", nil, "check", "--strict", "-c", file).check(t, cmd.ExitFailed, "--strict: there are ")
	quiet := []string{"RIVULET_AUTH_HMAC_SECRET=5b1f0c8a7d3e9264bb01f7a95c4d8e36", "RIVULET_AUTH_HMAC_ISSUER=app"}
	run(t, "", quiet, "check", "--strict", "--listen", "127.0.0.1:8080", "--sync", "always", "--set", "server.trusted_proxies=127.0.0.1").check(t, 0)
}

// TestCheckNamesWhatIsAtFault: the entry, the file and the source that the operator has
// to look at, and what would be right.
func TestCheckNamesWhatIsAtFault(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	secret := writeFile(t, "secret", strings.Repeat("s", 32))
	for name, tc := range map[string]struct {
		file string
		args []string
		want []string
	}{
		"issuers keep their places": {
			file: "auth: {tokens: [{name: first, algorithms: [RS256], public_key_file: missing.pem, jwks_url: 'https://a/x'}, {name: second, issuer: b, jwks_url: 'https://a/x', algorithms: []}]}",
			want: []string{"auth.tokens[0].public_key_file: open missing.pem", "auth.tokens[0].public_key_file: give exactly one of", "auth.tokens[1].algorithms: are missing"},
		},
		"the hook alone":         {file: "auth: {connect_hook: {hook: {url: 'http://127.0.0.1:1', secret: 0123456789abcdef}}}", want: []string{"the connect hook lets clients in, and nothing"}},
		"a secret of elsewhere":  {file: "auth: {hmac: {secret_file: " + secret + "}}", args: []string{"--set", "auth.hmac.secret=" + strings.Repeat("s", 32)}, want: []string{"auth.hmac.secret is set too (--set)"}},
		"all origins":            {file: "session: {origins: [a, 'https://b', 'c/d']}", want: []string{"session.origins[0]", "session.origins[2]"}},
		"retries":                {file: "auth: {connect_hook: {hook: {url: 'http://127.0.0.1:1', secret: 0123456789abcdef, retries: 9}}}", want: []string{"retries: is 9, must be 1 to 3, or -1"}},
		"the folder of ACME":     {file: "server: {acme: {domains: [a.example], cache_dir: " + open + "}}", want: []string{"server.acme.cache_dir: other users can look into " + open}},
		"what was printed":       {file: "auth: {hmac: {secret: '[redacted]'}}", want: []string{"auth.hmac.secret: is [redacted], which is printed in place of a secret"}},
		"an entry of namespaces": {args: []string{"--set", "namespaces.chat.publish_rate=5"}, want: []string{"--set 'namespaces={chat: {publish_rate: 5}}'"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"check", "-c", writeFile(t, "rivulet.yaml", tc.file+"\n")}, tc.args...)
			run(t, "", nil, args...).check(t, cmd.ExitUsage, tc.want...)
		})
	}
}
