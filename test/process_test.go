package test_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

const deadline = 30 * time.Second

// builder makes ./cmd/rivulet once.
type builder struct {
	dir   string
	build func() (string, error)
}

var built builder // by TestMain, for all tests

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "curl" {
		os.Exit(curl(os.Args[1:]))
	}
	if store := os.Getenv(natsStore); store != "" {
		os.Exit(natsServer(store, os.Getenv(natsPort)))
	}
	dir, err := os.MkdirTemp("", "rivulet-test-")
	if err != nil {
		panic(err)
	}
	built = builder{dir: dir, build: sync.OnceValues(func() (string, error) {
		path := filepath.Join(dir, "rivulet")
		out, err := exec.Command("go", "build", "-o", path, "../cmd/rivulet").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return path, err
	})}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := built.build()
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	return path
}

// output is written by a process while a test reads it.
type output struct {
	mu      sync.Mutex // guards the following
	text    bytes.Buffer
	changed chan struct{} // size 1
}

func newOutput() *output { return &output{changed: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	select {
	case o.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// waitFor returns when there is a whole line that has want, and returns it.
func (o *output) waitFor(t *testing.T, want string) string {
	t.Helper()
	ctx := bounded(t)
	for {
		for line := range strings.Lines(o.String()) {
			if strings.Contains(line, want) && strings.HasSuffix(line, "\n") {
				return line
			}
		}
		select {
		case <-o.changed:
		case <-ctx.Done():
			t.Fatalf("waited for %q, have:\n%s", want, o)
		}
	}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// process is a running command.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	ended          chan error // size 1
}

// start runs a program; what is left of it at the test's end is killed.
func start(t *testing.T, environ []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), name, args...), stdout: newOutput(), stderr: newOutput(), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), environ...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.ended <- p.cmd.Wait() })
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		wg.Wait()
	})
	return p
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait returns how the process ended.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-bounded(t).Done():
		t.Fatalf("the process does not end; stderr:\n%s", p.stderr)
		return nil
	}
}

// node is a process of `rivulet serve --dev`.
type node struct {
	*process
	address string
}

// serve starts a node and waits until it listens.
func serve(t *testing.T, data, listen string, args ...string) *node {
	t.Helper()
	args = append([]string{"serve", "--dev", "--listen", listen, "--data", data, "--disk-budget", "4GiB"}, args...)
	p := start(t, nil, binary(t), args...)
	var started struct{ Address string }
	line := p.stderr.waitFor(t, `"msg":"started"`)
	if err := json.Unmarshal([]byte(line), &started); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return &node{p, started.Address}
}

func (n *node) url() string { return "http://" + n.address }

// rivuletRun runs the binary to its end.
func rivuletRun(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := start(t, nil, binary(t), args...)
	err := p.wait(t)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return p.stdout.String(), p.stderr.String(), code
}

func TestSignalsEndTheNodeCleanly(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			n := serve(t, t.TempDir(), "127.0.0.1:0")
			sub := start(t, nil, binary(t), "subscribe", "a", "--url", n.url())
			sub.stderr.waitFor(t, "subscribed to")
			n.signal(t, s)
			if err := n.wait(t); err != nil {
				t.Errorf("ended with %v, want exit code 0; stderr:\n%s", err, n.stderr)
			}
			n.stderr.waitFor(t, `"msg":"stopped"`)
			sub.stderr.waitFor(t, "not connected:")
			sub.signal(t, s)
			if err := sub.wait(t); err != nil {
				t.Errorf("the subscriber ended with %v, want exit code 0", err)
			}
		})
	}
}

// TestSecondSignalEndsAtOnce: while a request holds up the stop, a second signal
// does not wait for it.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	n := serve(t, t.TempDir(), "127.0.0.1:0")
	conn, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprint(conn, "POST /v1/channels/a/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
	if _, err := conn.Read(make([]byte, 12)); err != nil { // the request is being served
		t.Fatal(err)
	}
	n.signal(t, syscall.SIGTERM)
	waitRefused(t, n.address) // the first signal has arrived
	began := time.Now()
	n.signal(t, syscall.SIGTERM)
	exit, ok := errors.AsType[*exec.ExitError](n.wait(t))
	if !ok || exit.ExitCode() != 128+int(syscall.SIGTERM) {
		t.Errorf("ended with %v, want exit code 143", exit)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// waitRefused waits until nobody listens at the address.
func waitRefused(t *testing.T, address string) {
	t.Helper()
	for ctx := bounded(t); ctx.Err() == nil; {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		_ = conn.Close()
	}
	t.Fatalf("%s still accepts connections", address)
}

// TestKill9LosesNothing: what was answered with a 2xx is there after kill -9, and
// a subscriber that saw the crash gets everything once and in order.
func TestKill9LosesNothing(t *testing.T) {
	data := t.TempDir()
	n := serve(t, data, ownAddress(t)) // it comes back there
	client, err := rivulet.New(n.url(), rivulet.Options{Backoff: rivulet.Backoff{Base: 20 * time.Millisecond, Max: 100 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Connect(bounded(t)); err != nil {
		t.Fatal(err)
	}
	sub, err := client.Subscribe(bounded(t), "a", rivulet.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := rivulet.NewPublisher(n.url(), rivulet.PublisherOptions{Backoff: rivulet.Backoff{Base: 20 * time.Millisecond, Max: 100 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	const count, kills = 300, 3
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	published := make(chan int, count) // all of them
	ctx := bounded(t)
	wg.Go(func() {
		defer close(published)
		for i := range count {
			if _, err := publisher.Publish(ctx, "a", i, rivulet.PublishOptions{}); err != nil {
				t.Errorf("publish %d: %v", i, err)
				return
			}
			published <- i
		}
	})
	for range kills {
		for range count / (kills + 1) {
			<-published
		}
		n.signal(t, syscall.SIGKILL)
		_ = n.wait(t)
		n = serve(t, data, n.address)
	}
	next := 0
	for m, err := range sub.Messages(ctx) {
		if err != nil {
			t.Fatalf("after %d messages: %v", next, err)
		}
		if got := string(m.Data); got != fmt.Sprint(next) {
			t.Fatalf("message %d is %s", next, got)
		}
		if next++; next == count {
			break
		}
	}
	for range published { // the last answer may come after the last message
	}
	if state, _ := client.State(); next != count {
		t.Errorf("%d of %d messages came; the client is %v", next, count, state)
	}
}

func TestFolderAndPortBelongToOneProcess(t *testing.T) {
	data := t.TempDir()
	n := serve(t, data, "127.0.0.1:0")
	_, stderr, code := rivuletRun(t, "serve", "--dev", "--listen", "127.0.0.1:0", "--data", data)
	if code != 1 || !strings.Contains(stderr, data) || !strings.Contains(stderr, "in use") {
		t.Errorf("exit %d, want 1 and the name of the folder:\n%s", code, stderr)
	}
	_, stderr, code = rivuletRun(t, "serve", "--dev", "--listen", n.address, "--data", t.TempDir())
	if code != 1 || !strings.Contains(stderr, n.address) || !strings.Contains(stderr, "--listen") {
		t.Errorf("exit %d, want 1, the address and --listen:\n%s", code, stderr)
	}
	// The folder is free again at once, even after kill -9.
	n.signal(t, syscall.SIGKILL)
	_ = n.wait(t)
	serve(t, data, "127.0.0.1:0")
}
