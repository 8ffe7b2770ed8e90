package cmd_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/cmd"
)

// issuers are private keys in files, and a node that knows the public ones beside a secret.
type issuers struct {
	node *cmd.Node
	keys map[string]string // files, by algorithm
}

func pemFile(t testing.TB, name, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func startIssuers(t testing.TB) *issuers {
	t.Helper()
	ec := newECKey(t)
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := func(name string, key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pemFile(t, name, "PRIVATE KEY", der, err)
	}
	public := func(name string, key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		return pemFile(t, name, "PUBLIC KEY", der, err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: rs.Public(), KeyID: "k1"}}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := guardedConfig(t)
	cfg.Auth.HMAC.Issuer, cfg.Auth.HMAC.Audience = "app", "rt"
	cfg.Auth.Tokens = []cmd.IssuerConfig{
		{Name: "es", Issuer: "https://es", Audience: "rt", Algorithms: []string{"ES256"}, PublicKeyFile: public("es.pub", ec.Public())},
		{Name: "ed", Issuer: "https://ed", Algorithms: []string{"EdDSA"}, PublicKeyFile: public("ed.pub", edPublic)},
		{Name: "ps", Issuer: "https://ps", Algorithms: []string{"PS256"}, JWKSFile: writeFile(t, "jwks.json", string(set))},
	}
	return &issuers{startNode(t, cfg), map[string]string{
		"ES256": private("es.key", ec), "EdDSA": private("ed.key", ed), "PS256": private("ps.key", rs),
	}}
}

var asIssuer = []string{"RIVULET_AUTH_HMAC_SECRET=" + testSecret, "RIVULET_AUTH_HMAC_ISSUER=app", "RIVULET_AUTH_HMAC_AUDIENCE=rt"}

// token runs `rivulet token` with flags.
func token(t testing.TB, flags ...string) string {
	t.Helper()
	r := run(t, "", asIssuer, append([]string{"token"}, flags...)...).check(t, 0)
	if r.err != "" || strings.Count(r.out, "\n") != 1 || strings.Count(r.out, ".") != 2 {
		t.Fatalf("%v printed %q and %q", flags, r.out, r.err)
	}
	return strings.TrimSpace(r.out)
}

// TestTokensOfAnyKeyAreAccepted: what `rivulet token` signs with a key, as flags say, a node
// takes if it knows that key for that algorithm, issuer, audience and kid, and else refuses.
func TestTokensOfAnyKeyAreAccepted(t *testing.T) {
	i := startIssuers(t)
	es, ed, ps := i.keys["ES256"], i.keys["EdDSA"], i.keys["PS256"]
	for _, tc := range []struct {
		name   string
		flags  []string
		status int
	}{
		{"the secret", nil, http.StatusCreated},
		{"EC, which says its algorithm", []string{"--key", es, "--issuer", "https://es", "--audience", "rt"}, http.StatusCreated},
		{"EC, said", []string{"--key", es, "--algorithm", "ES256", "--issuer", "https://es", "--audience", "rt"}, http.StatusCreated},
		{"no audience", []string{"--key", es, "--issuer", "https://es"}, http.StatusUnauthorized},
		{"another audience", []string{"--key", es, "--issuer", "https://es", "--audience", "other"}, http.StatusUnauthorized},
		{"no issuer", []string{"--key", es, "--audience", "rt"}, http.StatusUnauthorized},
		{"another issuer", []string{"--key", es, "--issuer", "https://ed", "--audience", "rt"}, http.StatusUnauthorized},
		{"the issuer with the secret", []string{"--key", es, "--issuer", "app", "--audience", "rt"}, http.StatusUnauthorized},
		{"Ed25519", []string{"--key", ed, "--issuer", "https://ed"}, http.StatusCreated},
		{"an audience that nobody asks for", []string{"--key", ed, "--issuer", "https://ed", "--audience", "any"}, http.StatusCreated},
		{"RSA of a key set", []string{"--key", ps, "--algorithm", "PS256", "--kid", "k1", "--issuer", "https://ps"}, http.StatusCreated},
		{"RSA without a kid", []string{"--key", ps, "--algorithm", "PS256", "--issuer", "https://ps"}, http.StatusCreated},
		{"another kid", []string{"--key", ps, "--algorithm", "PS256", "--kid", "k2", "--issuer", "https://ps"}, http.StatusUnauthorized},
		{"another algorithm of the key", []string{"--key", ps, "--algorithm", "RS256", "--kid", "k1", "--issuer", "https://ps"}, http.StatusUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			made := token(t, append([]string{"--sub", "ann", "--allow", "chat:>=publish"}, tc.flags...)...)
			if status, answer := callAs(t, i.node, "POST", "/v1/channels/chat:a/messages", made, `{"data":1}`); status != tc.status {
				t.Errorf("%d %s, want %d", status, answer, tc.status)
			}
			if status, answer := callAs(t, i.node, "POST", "/v1/channels/other:a/messages", made, `{"data":1}`); tc.status == http.StatusCreated && status != http.StatusForbidden {
				t.Errorf("in another namespace: %d %s", status, answer)
			}
		})
	}
}

// TestTokenFlagsAreFollowed: each claim that a flag makes has its effect on a node.
func TestTokenFlagsAreFollowed(t *testing.T) {
	n := startIssuers(t).node
	admin := token(t, "--sub", "root", "--allow", "*:>=publish,manage,presence,history,subscribe")
	ann := func(flags ...string) string {
		t.Helper()
		return token(t, append([]string{"--sub", "ann", "--allow", "chat:>=subscribe,publish,presence", "--allow", "user:${sub}=subscribe"}, flags...)...)
	}
	t.Run("jti", func(t *testing.T) {
		one, two := ann("--jti", "one"), ann("--jti", "two")
		if status, answer := callAs(t, n, "POST", "/v1/revocations", admin, `{"token_id":"one"}`); status != http.StatusCreated {
			t.Fatalf("%d %s", status, answer)
		}
		for made, want := range map[string]int{one: http.StatusUnauthorized, two: http.StatusCreated} {
			if status, answer := callAs(t, n, "POST", "/v1/channels/chat:a/messages", made, `{"data":1}`); status != want {
				t.Errorf("%d %s, want %d", status, answer, want)
			}
		}
	})
	t.Run("ttl", func(t *testing.T) {
		// With the leeway of 30 s; a connection is told when it ends.
		if left, _ := talkTo(t, n, ann("--ttl", "10m")).connected["expires_in_ms"].(float64); left <= 570_000 || left > 630_000 {
			t.Errorf("ends in %v ms", left)
		}
	})
	t.Run("subscribe", func(t *testing.T) {
		c := talkTo(t, n, ann("--subscribe", "chat:mine.${sub}", "--subscribe", "chat:b"))
		c.push(t, "subscribed")
		c.push(t, "subscribed")
		callAs(t, n, "POST", "/v1/channels/chat:mine.ann/messages", admin, `{"data":"hello"}`)
		if got := fmt.Sprint(c.push(t, "message")); !strings.Contains(got, "chat:mine.ann") || !strings.Contains(got, "hello") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("meta", func(t *testing.T) { showsMeta(t, n, admin, "chat:meta", ann("--meta", `{"name": "Ann"}`)) })
	t.Run("info", func(t *testing.T) { showsMeta(t, n, admin, "chat:info", ann("--info", `{"name": "Ann"}`)) })
	t.Run("max-subscriptions", func(t *testing.T) {
		c := talkTo(t, n, ann("--max-subscriptions", "1"))
		if code := c.ask(t, `"subscribe":{"channel":"chat:a"}`); code != 0 {
			t.Errorf("the first: %d", code)
		}
		if code := c.ask(t, `"subscribe":{"channel":"chat:b"}`); code == 0 {
			t.Error("the second is let in")
		}
	})
	t.Run("max-commands", func(t *testing.T) {
		limited(t, func() bool { return talkTo(t, n, ann("--max-commands", "1")).flood(t) })
		if talkTo(t, n, ann()).flood(t) {
			t.Error("without it there is the same limit")
		}
	})
	t.Run("max-publishes", func(t *testing.T) {
		made := ann("--max-publishes", "1")
		limited(t, func() bool {
			status, _ := callAs(t, n, "POST", "/v1/channels/chat:a/messages", made, `{"data":1}`)
			return status == http.StatusTooManyRequests
		})
	})
	t.Run("max-outbound-bytes", func(t *testing.T) {
		c := talkTo(t, n, ann("--max-outbound-bytes", "4000"))
		if code := c.ask(t, `"subscribe":{"channel":"chat:slow"}`); code != 0 {
			t.Fatal(code)
		}
		begun := time.Now()
		for range 8 { // what the first second allows, and as much again
			callAs(t, n, "POST", "/v1/channels/chat:slow/messages", admin, `{"data":"`+strings.Repeat("x", 1000)+`"}`)
		}
		for range 8 {
			c.push(t, "message")
		}
		if took := time.Since(begun); took < 900*time.Millisecond {
			t.Errorf("8 KB came within %v", took)
		}
	})
	t.Run("channel, history, presence", func(t *testing.T) {
		bare := []string{"--sub", "ann", "--channel", "other:private"}
		for _, tc := range []struct {
			flags                       []string
			subscribe, history, present int
		}{
			{bare, 0, 4403, 4403},
			{append(slices.Clone(bare), "--history"), 0, 0, 4403},
			{append(slices.Clone(bare), "--presence", "--ttl", "5m"), 0, 4403, 0},
			{[]string{"--sub", "bob", "--channel", "other:private"}, 4403, 4403, 4403},
			{[]string{"--sub", "ann", "--channel", "other:else"}, 4401, 4403, 4403},
		} {
			made := token(t, tc.flags...)
			if status, _ := callAs(t, n, "GET", "/v1/channels/other:private/messages", made, ""); status != http.StatusUnauthorized {
				t.Errorf("%v: it is taken for a token that connects: %d", tc.flags, status)
			}
			c := talkTo(t, n, ann())
			if got := c.ask(t, `"subscribe":{"channel":"other:private","token":"`+made+`"}`); got != tc.subscribe {
				t.Errorf("%v: subscribe: %d, want %d", tc.flags, got, tc.subscribe)
			}
			if got := c.ask(t, `"history":{"channel":"other:private"}`); got != tc.history {
				t.Errorf("%v: history: %d, want %d", tc.flags, got, tc.history)
			}
			if got := c.ask(t, `"presence":{"channel":"other:private"}`); got != tc.present {
				t.Errorf("%v: presence: %d, want %d", tc.flags, got, tc.present)
			}
		}
	})
}

// limited asks until it is over a limit.
func limited(t *testing.T, refused func() bool) {
	t.Helper()
	for ctx := testContext(t); !refused(); {
		if ctx.Err() != nil {
			t.Fatal("never over the limit")
		}
	}
}

func showsMeta(t *testing.T, n *cmd.Node, admin, channel, made string) {
	t.Helper()
	if code := talkTo(t, n, made).ask(t, `"subscribe":{"channel":"`+channel+`"}`); code != 0 {
		t.Fatal(code)
	}
	if _, answer := callAs(t, n, "GET", "/v1/channels/"+channel+"/presence", admin, ""); !strings.Contains(answer, `{"name":"Ann"}`) {
		t.Errorf("presence: %s", answer)
	}
}

// TestTokenRefusesFlags: what makes no token says which flag is wrong, and prints none.
func TestTokenRefusesFlags(t *testing.T) {
	i := startIssuers(t)
	es, ps := i.keys["ES256"], i.keys["PS256"]
	for _, tc := range []struct {
		flags []string
		says  string
	}{
		{[]string{"--history"}, "--history and --presence: are for --channel"},
		{[]string{"--presence"}, "--history and --presence: are for --channel"},
		{[]string{"--channel", "chat:a", "--subscribe", "chat:b"}, "--channel: makes a token for one subscription"},
		{[]string{"--channel", "chat:a", "--meta", "1"}, "--channel: makes a token for one subscription"},
		{[]string{"--channel", "chat:a", "--max-commands", "1"}, "--channel: makes a token for one subscription"},
		{[]string{"--channel", "*:a"}, "channel: must be one channel or pattern of one namespace"},
		{[]string{"--channel", "chat:${sub}"}, "channel: "},
		{[]string{"--sub", "a\nb"}, "subject: must be UTF-8 without control characters"},
		{[]string{"--sub", strings.Repeat("s", 256)}, "subject: over 255 bytes"},
		{[]string{"--jti", strings.Repeat("j", 256)}, "token id: over 255 bytes"},
		{[]string{"--meta", `{"a":`}, "meta: "},
		{[]string{"--info", `"` + strings.Repeat("m", 1025) + `"`}, "meta: has 1027 bytes"},
		{[]string{"--subscribe", "other:a"}, `channels: "other:a": caps does not allow subscribe on it`},
		{[]string{"--ttl", "0s"}, "--ttl 0s: must be above 0"},
		{[]string{"--ttl", "25h"}, "--ttl 25h: a node refuses tokens that live longer than auth.max_token_lifetime, 1d"},
		{[]string{"--max-subscriptions", "-1"}, "--max-subscriptions -1: must not be below 0"},
		{[]string{"--max-commands", "-1"}, "--max-commands -1: must not be below 0"},
		{[]string{"--max-publishes", "-1"}, "--max-publishes -1: must not be below 0"},
		{[]string{"--max-outbound-bytes", "-1"}, "--max-outbound-bytes -1: must not be below 0"},
		{[]string{"--kid", "k"}, "--algorithm, --kid, --issuer and --audience: are for --key"},
		{[]string{"--algorithm", "ES256"}, "are for --key"},
		{[]string{"--issuer", "app"}, "are for --key"},
		{[]string{"--audience", "rt"}, "are for --key"},
		{[]string{"--key", filepath.Join(t.TempDir(), "none")}, "--key: open "},
		{[]string{"--key", writeFile(t, "text", "hush")}, "--key: not a private key; it must be PEM"},
		{[]string{"--key", ps}, "--algorithm: is missing, and an RSA key signs with RS256 or PS256"},
		{[]string{"--key", ps, "--algorithm", "ES256"}, "the key is not one for ES256"},
		{[]string{"--key", es, "--algorithm", "none"}, `"none" is not an algorithm`},
		{[]string{"--key", es, "--algorithm", "HS256"}, "the key is not one for HS256"},
	} {
		t.Run(fmt.Sprintf("%.40s", strings.Join(tc.flags, " ")), func(t *testing.T) {
			args := append([]string{"token"}, tc.flags...)
			if !slices.Contains(tc.flags, "--channel") {
				args = append(args, "--allow", "chat:>=subscribe")
			}
			r := run(t, "", asIssuer, args...).check(t, cmd.ExitUsage, tc.says)
			if r.out != "" || strings.Contains(r.err, "hush") {
				t.Errorf("printed %q and %q", r.out, r.err)
			}
		})
	}
}

// TestTokenFlagsAreAllTried: there is no flag of `rivulet token` that the tests above leave out.
func TestTokenFlagsAreAllTried(t *testing.T) {
	tried := "sub allow subscribe channel history presence ttl jti meta max-subscriptions max-commands max-publishes max-outbound-bytes " +
		"key algorithm kid issuer audience config set help"
	help := run(t, "", nil, "token", "--help").check(t, 0).out
	flags := regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(help, -1)
	if len(flags) < 15 {
		t.Fatalf("%d flags in:\n%s", len(flags), help)
	}
	for _, f := range flags {
		if !slices.Contains(strings.Fields(tried), f[1]) {
			t.Errorf("--%s is tried by no test", f[1])
		}
	}
}

// talk is a bare WebSocket connection.
type talk struct {
	conn      *gorilla.Conn
	id        int
	connected map[string]any
	pushed    []map[string]any
}

func talkTo(t testing.TB, n *cmd.Node, token string) *talk {
	t.Helper()
	conn, resp, err := gorilla.DefaultDialer.DialContext(testContext(t), "ws"+strings.TrimPrefix(n.URL(), "http")+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(deadline))
	c := &talk{conn: conn}
	if code := c.ask(t, `"connect":{"token":"`+token+`"}`); code != 0 {
		t.Fatalf("connect: %d", code)
	}
	return c
}

// read returns the next event.
func (c *talk) read(t testing.TB) (ev map[string]any) {
	t.Helper()
	_, text, err := c.conn.ReadMessage()
	if err == nil {
		err = json.Unmarshal(text, &ev)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// ask sends a command, without its braces, and returns the code of the error that answers it,
// or 0.
func (c *talk) ask(t testing.TB, command string) int {
	t.Helper()
	c.id++
	if err := c.conn.WriteMessage(gorilla.TextMessage, fmt.Appendf(nil, `{"id":%d,%s}`, c.id, command)); err != nil {
		t.Fatal(err)
	}
	for {
		ev := c.read(t)
		if ev["id"] != float64(c.id) {
			c.pushed = append(c.pushed, ev)
			continue
		}
		if is, ok := ev["connected"].(map[string]any); ok {
			c.connected = is
		}
		failed, _ := ev["error"].(map[string]any)
		code, _ := failed["code"].(float64)
		return int(code)
	}
}

// push returns the next event of a kind that answers no command.
func (c *talk) push(t testing.TB, kind string) any {
	t.Helper()
	for {
		for i, ev := range c.pushed {
			if is, ok := ev[kind]; ok {
				c.pushed = slices.Delete(c.pushed, i, i+1)
				return is
			}
		}
		c.pushed = append(c.pushed, c.read(t))
	}
}

// flood sends some commands at once, and reports whether one was too many.
func (c *talk) flood(t testing.TB) bool {
	t.Helper()
	for range 40 {
		if code := c.ask(t, `"ping":{}`); code == 4429 {
			return true
		}
	}
	return false
}
