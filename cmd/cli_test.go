package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/cmd"
)

// buffer is written by a command while a test reads it.
type buffer struct {
	mu      sync.Mutex // guards the following
	text    bytes.Buffer
	changed chan struct{} // size 1
}

func newBuffer() *buffer { return &buffer{changed: make(chan struct{}, 1)} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Write(p)
	select {
	case b.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// waitFor returns when the buffer has want.
func (b *buffer) waitFor(t testing.TB, want string) {
	t.Helper()
	ctx := testContext(t)
	for !strings.Contains(b.String(), want) {
		select {
		case <-b.changed:
		case <-ctx.Done():
			t.Fatalf("waited for %q, have:\n%s", want, b.String())
		}
	}
}

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

func run(t testing.TB, stdin string, environ []string, args ...string) result {
	t.Helper()
	out, stderr := newBuffer(), newBuffer()
	code := cmd.Main(testContext(t), args, cmd.Streams{In: strings.NewReader(stdin), Out: out, Err: stderr, Environ: environ})
	return result{code, out.String(), stderr.String()}
}

// at is the environment of a client of n.
func at(n *cmd.Node) []string { return []string{"RIVULET_URL=" + n.URL()} }

func (r result) check(t testing.TB, code int, inErr ...string) result {
	t.Helper()
	if r.code != code {
		t.Errorf("exit %d, want %d; stderr:\n%s", r.code, code, r.err)
	}
	for _, want := range inErr {
		if !strings.Contains(r.err, want) {
			t.Errorf("stderr lacks %q:\n%s", want, r.err)
		}
	}
	return r
}

func TestPublishOne(t *testing.T) {
	n := startNode(t, devConfig(t))
	r := run(t, "", at(n), "publish", "chat:x", `{"text": "hi"}`, "--key", "k", "--header", "a=b").check(t, 0)
	first := decodeLines(t, r.out)[0]
	if first["channel"] != "chat:x" || first["duplicate"] != false || first["position"] == "" {
		t.Errorf("printed %s", r.out)
	}
	r = run(t, "", at(n), "publish", "chat:x", `{"text":"hi"}`, "--key", "k", "--header", "a=b").check(t, 0)
	again := decodeLines(t, r.out)[0]
	if again["duplicate"] != true || again["position"] != first["position"] {
		t.Errorf("the retry printed %s", r.out)
	}
	run(t, "", at(n), "publish", "chat:x", `{"text":"other"}`, "--key", "k").check(t, 1, "4409", "idempotency")
	run(t, "", at(n), "publish", "chat:x", "--raw", "a \"quoted\" text").check(t, 0)
	r = run(t, "", at(n), "subscribe", "chat:x", "--last", "2", "--count", "2").check(t, 0, "connected to", "go on with: rivulet subscribe 'chat:x' --position ")
	got := decodeLines(t, r.out)
	if len(got) != 2 || got[0]["id"] != "k" || fmt.Sprint(got[0]["headers"]) != "map[a:b]" || got[1]["data"] != `a "quoted" text` {
		t.Errorf("subscribe printed\n%s", r.out)
	}
}

func TestPublishLines(t *testing.T) {
	n := startNode(t, devConfig(t))
	const count = 2500
	var in, want strings.Builder
	for i := range count {
		fmt.Fprintf(&in, "{\"n\": %d}\n\n", i)
		fmt.Fprintf(&want, "{\"n\":%d}\n", i)
	}
	r := run(t, strings.TrimSpace(in.String()), at(n), "publish", "nums", "--key", "import")
	r.check(t, 0, "stored 2500 messages in nums", "last position")
	if r.out != "" {
		t.Errorf("stdout has %q", r.out)
	}
	run(t, in.String(), at(n), "publish", "nums", "--key", "import").check(t, 0, "2500 of them were stored before")
	r = run(t, "", at(n), "subscribe", "nums", "--since", "1h", "--count", fmt.Sprint(count), "--data", "--quiet").check(t, 0)
	if r.out != want.String() {
		t.Errorf("subscribe printed %d bytes, want the %d that were published", len(r.out), want.Len())
	}
	if r.err != "" {
		t.Errorf("--quiet printed %q", r.err)
	}
}

func TestPublishNamesTheBadLine(t *testing.T) {
	n := startNode(t, devConfig(t))
	big := `"` + strings.Repeat("x", 300<<10) + `"`
	for _, tc := range []struct{ name, in, want, stored string }{
		{"not JSON", "1\n\n2\n{\"a\":\n5\n", "line 4: data: is not JSON", "stored 2 messages"},
		{"first line", "nope\n1\n", "line 1: ", "stored 0 messages"},
		{"too deep", "1\n" + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "\n", "line 2: ", "stored 1 message in"},
		{"too large for the namespace", "1\n" + big + "\n", "line 2: 4413", "stored 1 message in"},
		{"not UTF-8", "1\n2\n\"\xff\"", "line 3: ", "stored 2 messages"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, tc.in, at(n), "publish", "bad").check(t, 1, tc.want, tc.stored)
		})
	}
	run(t, "a line\nand \"another\"\n", at(n), "publish", "text", "--raw").check(t, 0, "stored 2 messages")
}

// TestPublishDoesNotWaitForMore: a line is stored when it is there, not when the
// batch is full, and an interrupt ends the wait for the next.
func TestPublishDoesNotWaitForMore(t *testing.T) {
	n := startNode(t, devConfig(t))
	_, sub := subscribe(t, n, "lines", rivulet.SubscribeOptions{})
	in, feed := io.Pipe()
	t.Cleanup(func() { _ = feed.Close() })
	ctx, cancel := context.WithCancel(testContext(t))
	stderr := newBuffer()
	exit := make(chan int, 1)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	wg.Go(func() {
		exit <- cmd.Main(ctx, []string{"publish", "lines"}, cmd.Streams{In: in, Out: io.Discard, Err: stderr, Environ: at(n)})
	})
	for i := range 3 {
		fmt.Fprintf(feed, "%d\n", i)
		if got := receive(t, sub, 1)[0]; got != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", got, i)
		}
	}
	cancel()
	if code := <-exit; code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	stderr.waitFor(t, "stored 3 messages")
	stderr.waitFor(t, "interrupted")
}

func TestSubscribeGoesOnFromThePosition(t *testing.T) {
	n := startNode(t, devConfig(t))
	run(t, "1\n2\n3\n4\n", at(n), "publish", "a.b").check(t, 0)
	r := run(t, "", at(n), "subscribe", "a.b", "--last", "4", "--count", "2", "--data").check(t, 0)
	if r.out != "1\n2\n" {
		t.Fatalf("printed %q", r.out)
	}
	_, position, _ := strings.Cut(strings.TrimSpace(r.err), "--position ")
	r = run(t, "", at(n), "subscribe", "a.b", "--position", position, "--count", "2", "--data").check(t, 0)
	if r.out != "3\n4\n" {
		t.Errorf("went on with %q, want 3 and 4", r.out)
	}
	r = run(t, "", at(n), "subscribe", "a.>", "--since", "1h", "--count", "4", "--data").check(t, 0)
	if r.out != "1\n2\n3\n4\n" {
		t.Errorf("the pattern printed %q", r.out)
	}
}

func TestSubscribeEndsCleanlyOnInterrupt(t *testing.T) {
	n := startNode(t, devConfig(t))
	ctx, cancel := context.WithCancel(testContext(t))
	out, stderr := newBuffer(), newBuffer()
	exit := make(chan int, 1)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	wg.Go(func() {
		exit <- cmd.Main(ctx, []string{"subscribe", "x"}, cmd.Streams{Out: out, Err: stderr, Environ: at(n)})
	})
	stderr.waitFor(t, "subscribed to default:x")
	publish(t, n, "x", 1)
	out.waitFor(t, `"data":1}`)
	cancel()
	if code := <-exit; code != 0 {
		t.Errorf("exit %d, want 0", code)
	}
	stderr.waitFor(t, "go on with: rivulet subscribe 'default:x' --position ")
}

func TestServeUntilInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	stderr := newBuffer()
	exit := make(chan int, 1)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	wg.Go(func() {
		exit <- cmd.Main(ctx, []string{"serve", "--dev", "--listen", "127.0.0.1:0", "--data", t.TempDir()}, cmd.Streams{Err: stderr})
	})
	stderr.waitFor(t, "development mode")
	cancel()
	if code := <-exit; code != 0 {
		t.Errorf("exit %d, want 0; stderr:\n%s", code, stderr.String())
	}
	if !strings.Contains(stderr.String(), `"msg":"stopped"`) {
		t.Errorf("stderr is not a terminal and so should have JSON logs:\n%s", stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line of the log is not JSON: %q", line)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"publis"}, `there is no command "publis"`},
		{"misspelt command", []string{"subscibe", "chat:a"}, `there is no command "subscibe"; did you mean subscribe?; see: rivulet --help`},
		{"misspelt command with its flag", []string{"serv", "--dev"}, `there is no command "serv"; did you mean serve?`},
		{"misspelt command of keys", []string{"key", "delete", "ci"}, `there is no command "delete"; the commands here are create, list, revoke; see: rivulet key --help`},
		{"misspelt command of keys with a flag", []string{"key", "creat", "--name", "ci"}, `there is no command "creat"; did you mean create?`},
		{"name of a key", []string{"key", "create", "ci", "--allow", "a=publish"}, "--name ci"},
		{"unknown flag", []string{"serve", "--foo"}, "unknown flag: --foo; see: rivulet serve --help"},
		{"no channel", []string{"publish"}, "publish takes a channel and at most one JSON value"},
		{"unquoted JSON", []string{"publish", "a", "{x:", "1}"}, "quote it for the shell"},
		{"bad channel", []string{"publish", "a..b", "1"}, "empty segment"},
		{"pattern", []string{"publish", "a.*", "1"}, "patterns"},
		{"not JSON", []string{"publish", "a", "hello"}, "rivulet: data: is not JSON"},
		{"not JSON, a way out", []string{"publish", "a", "hello"}, "write JSON, or give --raw for text"},
		{"bad header", []string{"publish", "a", "1", "--header", "x"}, `--header "x": write name=value`},
		{"bad batch", []string{"publish", "a", "--batch", "5000"}, "--batch 5000: must be from 1 to 1000"},
		{"bad url", []string{"publish", "a", "1", "--url", "localhost"}, `--url "localhost": write for example http://127.0.0.1:8080`},
		{"bad scheme", []string{"subscribe", "a", "--url", "ftp://x"}, "the scheme must be"},
		{"two starts", []string{"subscribe", "a", "--last", "1", "--since", "1h"}, "give only one of --last, --since and --position"},
		{"unknown conflation", []string{"subscribe", "a", "--conflate", "first"}, `--conflate "first": must be key or last`},
		{"rate too large", []string{"subscribe", "a", "--conflate", "key", "--max-rate", "5000"}, "--max-rate 5000: must be from 1 to 1000"},
		{"rate alone", []string{"subscribe", "a", "--max-rate", "5"}, "--max-rate: needs --conflate"},
		{"filter too long", []string{"subscribe", "a", "--filter", strings.Repeat("x", 1025)}, "--filter: has 1025 bytes"},
		{"last too large", []string{"subscribe", "a", "--last", "5000"}, "--last 5000: must be from 1 to 1000"},
		{"last zero", []string{"subscribe", "a", "--last", "0"}, "--last 0: must be from 1 to 1000"},
		{"last of a pattern", []string{"subscribe", "a.>", "--last", "5"}, "--last: is for one channel and a.> is a pattern; give --since or --position"},
		{"durable without a session", []string{"subscribe", "a", "--durable"}, "--durable and --session go together"},
		{"session without durable", []string{"subscribe", "a", "--session", "x"}, "--durable and --session go together"},
		{"durable pattern", []string{"subscribe", "a.>", "--durable", "--session", "x"}, "--durable: is for one channel and a.> is a pattern"},
		{"sessions of nothing", []string{"sessions", "look"}, `there is no command "look"`},
		{"one session of nobody", []string{"sessions", "show", "alice"}, "show takes a user and a session"},
		{"negative limit", []string{"sessions", "list", "--limit", "-1"}, "--limit -1: must not be negative"},
		{"bad since", []string{"subscribe", "a", "--since", "yesterday"}, `--since "yesterday": write a span like 10m`},
		{"since in seconds", []string{"subscribe", "a", "--since", "1795443363"}, `--since "1795443363": write a span like 10m or 7d, a time like`},
		{"history of nothing", []string{"history", "a", "--last", "0"}, "--last 0: must be from 1 to 100000"},
		{"options of many", []string{"publish", "a", "--updates", "1"}, "are for one message"},
		{"two positions", []string{"subscribe", "a", "--position", "x", "--position", "y"}, "only a pattern has several"},
		{"token and file", []string{"subscribe", "a", "--token", "x", "--token-file", "y"}, "exclude each other"},
		{"bad set", []string{"serve", "--set", "x"}, `--set "x": write key=value`},
		{"dev for all", []string{"serve", "--dev", "--listen", ":8080"}, "dev lets everybody in"},
		{"no auth", []string{"serve"}, "rivulet serve --dev"},
		{"bad flag value", []string{"serve", "--dev", "--sync", "never"}, `--sync: broker.sync: "never" is not one of interval, always`},
		{"bad log level", []string{"check", "--dev", "--log-level", "loud"}, `--log-level: log.level: "loud" is not one of`},
		{"token without secret", []string{"token", "--allow", "a=publish"}, "auth.hmac.secret: is not set, and tokens are signed with it; give"},
		{"token without allow", []string{"token"}, "--allow: is missing"},
		{"token in dev", []string{"token", "--dev", "--allow", "a=publish"}, "needs no token"},
		{"token with bad action", []string{"token", "--allow", "a=fly"}, `--allow: `},
		{"key with bad action", []string{"key", "k", "--allow", "a=fly"}, `unknown action "fly"`},
		{"check without auth", []string{"check"}, "nothing is configured"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, "", nil, tc.args...).check(t, cmd.ExitUsage, tc.want)
		})
	}
}

func TestKeyFitsTheConfiguration(t *testing.T) {
	r := run(t, "", nil, "key", "shop", "--allow", "chat:>=publish,history").check(t, 0)
	key, entry, ok := strings.Cut(strings.TrimPrefix(r.out, "key: "), "\n\n")
	if !ok || !strings.HasPrefix(key, "rvk_") {
		t.Fatalf("printed\n%s", r.out)
	}
	cfg, err := cmd.Load(cmd.Sources{File: writeFile(t, "rivulet.yaml", entry+"\nnamespaces: {chat: {}}\n")})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Listen, cfg.Broker.Data = "127.0.0.1:0", t.TempDir()
	n := startNode(t, cfg)
	env := append(at(n), "RIVULET_TOKEN="+key)
	run(t, "", env, "publish", "chat:a", "1").check(t, 0)
	run(t, "", env, "publish", "other", "1").check(t, 1, "4403")
	run(t, "1\n", env, "publish", "chat:a").check(t, 0, "stored 1 message in")
	if r := run(t, "", env, "subscribe", "chat:a").check(t, 1, "4403"); strings.Count(r.err, "rivulet:") != 1 {
		t.Errorf("the error names the program more than once:\n%s", r.err)
	}
	run(t, "", append(at(n), "RIVULET_TOKEN="+key+"x"), "publish", "chat:a", "1").check(t, 1, "4401")
	run(t, "", nil, "publish", "chat:a", "1", "--url", n.URL(), "--token-file", writeFile(t, "token", key+"\n")).check(t, 0)
}

func TestEveryCommandHelps(t *testing.T) {
	root := run(t, "", nil, "--help").check(t, 0)
	for _, name := range []string{"serve", "publish", "subscribe", "history", "groups", "token", "key", "revoke", "revocations", "migrate", "check", "bench", "version"} {
		if !strings.Contains(root.out, "\n  "+name+" ") {
			t.Errorf("rivulet --help does not list %s", name)
		}
		r := run(t, "", nil, name, "--help").check(t, 0)
		if name != "version" && !strings.Contains(r.out, "Examples:\n  rivulet "+name) {
			t.Errorf("rivulet %s --help has no example:\n%s", name, r.out)
		}
		checkFlagHelp(t, name, r.out)
	}
	for _, name := range []string{"listen", "data", "nats-url", "dev"} {
		if r := run(t, "", nil, "token", "--help").check(t, 0); strings.Contains(r.out, "--"+name+" ") {
			t.Errorf("rivulet token --help has --%s, which tokens have nothing to do with", name)
		}
	}
	if r := run(t, "", nil, "version").check(t, 0); !strings.HasPrefix(r.out, "rivulet ") || !strings.Contains(r.out, "go1.") {
		t.Errorf("version printed %q", r.out)
	}
	if r := run(t, "", []string{"RIVULET_TOKEN=hush"}, "subscribe", "--help").check(t, 0); strings.Contains(r.out, "hush") {
		t.Error("--help shows the token of the environment")
	}
}

func TestMigrate(t *testing.T) {
	flags := []string{"--data", t.TempDir(), "--disk-budget", "4GiB", "--set", "namespaces={chat: {}}", "--log-level", "error"}
	migrate := func(more ...string) result {
		return run(t, "", []string{secretVariable}, append(append([]string{"migrate"}, flags...), more...)...)
	}
	if r := migrate("--status").check(t, 0); !strings.Contains(r.out, "not applied") || !strings.Contains(r.out, "at version 0;") {
		t.Errorf("before, the status is\n%s", r.out)
	}
	if r := migrate().check(t, 0); strings.Contains(r.out, " 0 changes were applied") {
		t.Errorf("nothing was applied:\n%s", r.out)
	}
	if r := migrate("--status").check(t, 0); strings.Contains(r.out, "not applied") || !strings.Contains(r.out, "   1  ") {
		t.Errorf("afterwards the status is\n%s", r.out)
	}
	if r := migrate().check(t, 0); !strings.Contains(r.out, " 0 changes were applied") {
		t.Errorf("the second run applied something:\n%s", r.out)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	migrate("--data", absent, "--status").check(t, 1, "no such data folder: "+absent)
	if _, err := os.Stat(absent); !os.IsNotExist(err) {
		t.Errorf("--status made the folder: %v", err)
	}
	cfg := devConfig(t)
	cfg.Broker.Data = flags[1]
	startNode(t, cfg)
	migrate().check(t, 1, "in use", cfg.Broker.Data)
	run(t, "", []string{secretVariable}, "migrate", "--nats-url", "nats://127.0.0.1:1", "--timeout", "300ms", "--log-level", "error").check(t, 1, "migrate:")
}

// checkFlagHelp: the help of a flag names its value in a sentence, not once more behind it.
func checkFlagHelp(t *testing.T, command, help string) {
	t.Helper()
	for line := range strings.Lines(help) {
		line = strings.TrimSpace(line)
		head, usage, found := strings.Cut(line, "   ")
		if !strings.HasPrefix(line, "-") || !found {
			continue
		}
		_, value, _ := strings.Cut(head[strings.Index(head, "--"):], " ")
		if value != "" && (strings.Contains(usage, "("+value+")") || strings.Contains(usage, "("+value+";")) || strings.ContainsAny(value, "[\"") {
			t.Errorf("rivulet %s --help: %s", command, line)
		}
	}
}
