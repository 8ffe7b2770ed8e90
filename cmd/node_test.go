package cmd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/broker"
	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/cmd"
	"github.com/rivulet-rt/rivulet/protocol"
)

const deadline = 20 * time.Second

// devConfig is for a node that others in the same process do not meet.
func devConfig(t testing.TB) cmd.Config {
	t.Helper()
	cfg := cmd.DefaultConfig()
	cfg.Dev = true
	cfg.Server.Listen = "127.0.0.1:0"
	cfg.Broker.Data = t.TempDir()
	cfg.Broker.DiskBudget = 4 << 30
	cfg.Session.DrainWindow = cmd.Duration(100 * time.Millisecond)
	return cfg
}

func newNode(t testing.TB, cfg cmd.Config) *cmd.Node {
	t.Helper()
	n, err := cmd.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func startNode(t testing.TB, cfg cmd.Config) *cmd.Node {
	t.Helper()
	n := newNode(t, cfg)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopNode(t, n) })
	return n
}

func stopNode(t testing.TB, n *cmd.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func subscribe(t testing.TB, n *cmd.Node, channel string, opts rivulet.SubscribeOptions) (*rivulet.Client, *rivulet.Subscription) {
	t.Helper()
	client, err := rivulet.New(n.URL(), rivulet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Connect(testContext(t)); err != nil {
		t.Fatal(err)
	}
	sub, err := client.Subscribe(testContext(t), channel, opts)
	if err != nil {
		t.Fatal(err)
	}
	return client, sub
}

func publish(t testing.TB, n *cmd.Node, channel string, data any) {
	t.Helper()
	p, err := rivulet.NewPublisher(n.URL(), rivulet.PublisherOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(testContext(t), channel, data, rivulet.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
}

// receive returns the data of the next n messages.
func receive(t testing.TB, sub *rivulet.Subscription, n int) []string {
	t.Helper()
	var got []string
	for m, err := range sub.Messages(testContext(t)) {
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		if got = append(got, string(m.Data)); len(got) == n {
			break
		}
	}
	return got
}

func TestTwoNodesInOneProcess(t *testing.T) {
	a, b := startNode(t, devConfig(t)), startNode(t, devConfig(t))
	_, subA := subscribe(t, a, "chat:x", rivulet.SubscribeOptions{})
	_, subB := subscribe(t, b, "chat:x", rivulet.SubscribeOptions{})
	publish(t, a, "chat:x", "to a")
	publish(t, b, "chat:x", "to b")
	if got := receive(t, subA, 1)[0]; got != `"to a"` {
		t.Errorf("the first node's subscriber got %s", got)
	}
	if got := receive(t, subB, 1)[0]; got != `"to b"` {
		t.Errorf("the second node's subscriber got %s", got)
	}
}

func TestMessagesOutliveTheNode(t *testing.T) {
	cfg := devConfig(t)
	first := startNode(t, cfg)
	publish(t, first, "chat:x", 1)
	publish(t, first, "chat:x", 2)
	stopNode(t, first)
	second := startNode(t, cfg)
	_, sub := subscribe(t, second, "chat:x", rivulet.SubscribeOptions{Last: 10})
	publish(t, second, "chat:x", 3)
	if got := strings.Join(receive(t, sub, 3), " "); got != "1 2 3" {
		t.Errorf("got %s, want 1 2 3", got)
	}
}

func TestStopTellsClientsToGoElsewhere(t *testing.T) {
	n := startNode(t, devConfig(t))
	states := make(chan rivulet.StateChange, 16)
	client, err := rivulet.New(n.URL(), rivulet.Options{OnState: func(c rivulet.StateChange) {
		select {
		case states <- c:
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Connect(testContext(t)); err != nil {
		t.Fatal(err)
	}
	stopNode(t, n)
	for {
		select {
		case c := <-states:
			if c.State != rivulet.StateRetrying {
				continue
			}
			e, ok := errors.AsType[*rivulet.Error](c.Reason)
			if !ok || e.Code != protocol.CloseDraining {
				t.Errorf("the client was cut with %v, want code %d", c.Reason, protocol.CloseDraining)
			}
			return
		case <-testContext(t).Done():
			t.Fatal("the client was not told")
		}
	}
}

// TestStopAnswersPolls: a poll that waits is answered, and does not hold the stop up.
func TestStopAnswersPolls(t *testing.T) {
	n := startNode(t, devConfig(t))
	poll := func(query string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, n.URL()+"/v1/poll?channel=a&"+query, nil)
		if err != nil {
			return nil, err
		}
		return (&http.Client{Timeout: deadline}).Do(req)
	}
	first, err := poll("timeout=0") // from now on the log is read
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	answered := make(chan error, 1)
	go func() {
		resp, err := poll("timeout=60")
		if err == nil {
			defer resp.Body.Close()
			// Or the log was not read yet.
			if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
				err = errors.New(resp.Status)
			}
		}
		answered <- err
	}()
	for look := time.Now().Add(deadline); !strings.Contains(get(t, n.URL()+"/metrics"), `rivulet_session_connections{transport="poll"} 1`); {
		if time.Now().After(look) {
			t.Fatal("the poll does not wait")
		}
		<-time.After(5 * time.Millisecond)
	}
	begin := time.Now()
	stopNode(t, n)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if err := <-answered; err != nil {
		t.Errorf("the poll was answered with %v", err)
	}
}

func TestLifecycle(t *testing.T) {
	t.Run("stop before start", func(t *testing.T) {
		n := newNode(t, devConfig(t))
		stopNode(t, n)
		if err := n.Start(t.Context()); !errors.Is(err, cmd.ErrStopped) {
			t.Errorf("start after stop: %v, want ErrStopped", err)
		}
		if n.Addr() != nil || n.URL() != "" {
			t.Errorf("a node that never ran has the address %v", n.Addr())
		}
	})
	t.Run("start twice", func(t *testing.T) {
		n := startNode(t, devConfig(t))
		if err := n.Start(t.Context()); !errors.Is(err, cmd.ErrStarted) {
			t.Errorf("second start: %v, want ErrStarted", err)
		}
	})
	t.Run("start after stop", func(t *testing.T) {
		n := startNode(t, devConfig(t))
		stopNode(t, n)
		if err := n.Start(t.Context()); !errors.Is(err, cmd.ErrStopped) {
			t.Errorf("got %v, want ErrStopped", err)
		}
	})
	t.Run("concurrent stops", func(t *testing.T) {
		n := startNode(t, devConfig(t))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { stopNode(t, n) })
		}
		wg.Wait()
		if conn, err := net.Dial("tcp", n.Addr().String()); err == nil {
			_ = conn.Close()
			t.Error("the node still listens")
		}
	})
	t.Run("stop while starting", func(t *testing.T) {
		n := newNode(t, devConfig(t))
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := n.Start(t.Context()); err != nil && !errors.Is(err, cmd.ErrStopped) && !errors.Is(err, context.Canceled) {
				t.Errorf("start: %v", err)
			}
		})
		wg.Go(func() { stopNode(t, n) })
		wg.Wait()
	})
	t.Run("start with an ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		n := newNode(t, devConfig(t))
		if err := n.Start(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		stopNode(t, n)
	})
	t.Run("stop is bounded", func(t *testing.T) {
		n := newNode(t, devConfig(t))
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		// A request that never gets its body.
		fmt.Fprintf(conn, "POST /v1/channels/a/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
		if _, err := conn.Read(make([]byte, 12)); err != nil { // the handler reads the body now
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := n.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stop: %v, want to hear that a request was cut", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stop took %v", took)
		}
	})
}

func TestFailedStartRollsBack(t *testing.T) {
	cfg := devConfig(t)
	holder := startNode(t, cfg)
	t.Run("port in use", func(t *testing.T) {
		other := devConfig(t)
		other.Server.Listen = holder.Addr().String()
		err := newNode(t, other).Start(t.Context())
		if !errors.Is(err, cmd.ErrPortInUse) || !strings.Contains(err.Error(), "--listen") {
			t.Errorf("got %v, want ErrPortInUse that names --listen", err)
		}
	})
	t.Run("data in use", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		_ = listener.Close()
		other := cfg
		other.Server.Listen = address
		n := newNode(t, other)
		if err := n.Start(t.Context()); !errors.Is(err, broker.ErrDataDirInUse) || !strings.Contains(err.Error(), cfg.Broker.Data) {
			t.Errorf("got %v, want ErrDataDirInUse that names the folder", err)
		}
		if listener, err = net.Listen("tcp", address); err != nil {
			t.Errorf("the failed start still holds its port: %v", err)
		} else {
			_ = listener.Close()
		}
		stopNode(t, n)
	})
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	cfg := devConfig(t)
	cfg.Dev = false
	_, err := cmd.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if !errors.Is(err, cmd.ErrNoAuth) || !strings.Contains(err.Error(), "serve --dev") || !strings.Contains(err.Error(), "RIVULET_AUTH_HMAC_SECRET") {
		t.Errorf("got %v, want ErrNoAuth with what to do", err)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	n := startNode(t, devConfig(t))
	for path, want := range map[string]string{
		"/healthz":      `"code":200`,
		"/readyz":       `"code":200`,
		"/metrics":      "rivulet_session_connections",
		"/openapi.yaml": "openapi: 3.1",
	} {
		if got := get(t, n.URL()+path); !strings.Contains(got, want) {
			t.Errorf("GET %s lacks %q:\n%.400s", path, want, got)
		}
	}
}

func TestTokensAreChecked(t *testing.T) {
	cfg := devConfig(t)
	cfg.Dev = false
	cfg.Auth.HMAC.SecretFile = writeFile(t, "secret", "0123456789abcdef0123456789abcdef\n")
	n := startNode(t, cfg)
	publisher := func(token string) error {
		p, err := rivulet.NewPublisher(n.URL(), rivulet.PublisherOptions{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Publish(testContext(t), "default:a.b", 1, rivulet.PublishOptions{})
		return err
	}
	var out, stderr strings.Builder
	args := []string{"token", "--sub", "ann", "--allow", "default:a.*=publish", "--set", "auth.hmac.secret_file=" + cfg.Auth.HMAC.SecretFile}
	if code := cmd.Main(t.Context(), args, cmd.Streams{Out: &out, Err: &stderr}); code != 0 {
		t.Fatalf("rivulet token: exit %d: %s", code, stderr.String())
	}
	if err := publisher(strings.TrimSpace(out.String())); err != nil {
		t.Errorf("a good token was refused: %v", err)
	}
	for _, token := range []string{"", "nonsense", strings.TrimSpace(out.String()) + "x"} {
		if e, ok := errors.AsType[*rivulet.Error](publisher(token)); !ok || e.Code != protocol.ErrorUnauthorized {
			t.Errorf("token %q: got %v, want %d", token, e, protocol.ErrorUnauthorized)
		}
	}
}

func get(t testing.TB, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// decodeLines reads one JSON object per line.
func decodeLines(t testing.TB, text string) []map[string]any {
	t.Helper()
	var list []map[string]any
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, m)
	}
	return list
}
