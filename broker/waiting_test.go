package broker_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/broker"
)

// logText is a log that a test reads while it grows.
type logText struct {
	mu   sync.Mutex // guards the following
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestOpenSaysThatItWaits(t *testing.T) {
	cfg := config(t, func(c *broker.Config) { c.NATSURL = "nats://ann:hunter2@127.0.0.1:1, tls://127.0.0.1:2" })
	ctx, cancel := context.WithCancel(t.Context())
	var log logText
	done := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		b, err := broker.Open(ctx, cfg, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
		if err == nil {
			closeNow(t, b)
		}
		done <- err
	})
	defer wg.Wait()
	defer cancel()
	eventually(t, "a line in the log", func() bool { return strings.Contains(log.String(), "\n") })
	cancel()
	if err := <-done; err == nil {
		t.Error("it was opened without a server")
	}
	line, rest, _ := strings.Cut(log.String(), "\n")
	for _, want := range []string{"level=WARN", `msg="waiting for nats"`, "nats://127.0.0.1:1,tls://127.0.0.1:2", "err="} {
		if !strings.Contains(line, want) {
			t.Errorf("%s does not have %s", line, want)
		}
	}
	if strings.Contains(line, "hunter2") || strings.Contains(line, "ann") || rest != "" {
		t.Errorf("the log has more than it should:\n%s", log.String())
	}
}

func TestFirstUseIsLoggedOnce(t *testing.T) {
	cfg := config(t, func(c *broker.Config) { c.Open = true })
	var log logText
	for range 2 {
		b, err := broker.Open(t.Context(), cfg, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		source(t, b, "fresh:a")
		closeNow(t, b)
	}
	if n := strings.Count(log.String(), `msg="namespace created at first use" namespace=fresh`); n != 1 {
		t.Errorf("the creation was logged %d times, want once:\n%s", n, log.String())
	}
}
