package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/cmd"
)

const deadline = 60 * time.Second

// node is a node in this process, on a port of its own.
type node struct {
	t      *testing.T
	addr   string
	url    string
	client *http.Client
	reg    *prometheus.Registry
}

func startNode(t *testing.T, changes ...func(*cmd.Config)) *node {
	t.Helper()
	cfg := cmd.DefaultConfig()
	cfg.Dev = true
	cfg.Server.Listen = "127.0.0.1:0"
	cfg.Broker.Data = t.TempDir()
	cfg.Broker.DiskBudget = 4 << 30
	cfg.Session.DrainWindow = cmd.Duration(50 * time.Millisecond)
	cfg.Limits.Commands = 0 // the suite asks for more than a node lets one client
	cfg.Namespaces = map[string]cmd.NamespaceConfig{"t": {Partitions: 1, MaxBytes: 512 << 20}}
	for _, change := range changes {
		change(&cfg)
	}
	reg := prometheus.NewRegistry()
	n, err := cmd.New(cfg, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := n.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &node{t: t, addr: n.Addr().String(), url: n.URL(), client: &http.Client{Transport: transport, Timeout: deadline}, reg: reg}
}

func (n *node) target(path string) target { return target{addr: n.addr, path: path} }

// publish stores messages, in order; each is a JSON value.
func (n *node) publish(channel string, values ...string) {
	n.t.Helper()
	if err := n.tryPublish(channel, values...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) tryPublish(channel string, values ...string) error {
	type message struct {
		Channel string          `json:"channel"`
		Data    json.RawMessage `json:"data"`
	}
	list := make([]message, 0, len(values))
	for _, v := range values {
		list = append(list, message{channel, json.RawMessage(v)})
	}
	body, err := json.Marshal(map[string]any{"messages": list})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(n.t.Context(), http.MethodPost, n.url+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("publish %d messages: %d %.200s", len(values), resp.StatusCode, text)
	}
	return err
}

// disconnected is how many connections the node has ended with a code.
func (n *node) disconnected(code string) int {
	n.t.Helper()
	return n.metric("rivulet_session_disconnects_total", code)
}

// connected is how many connections there are.
func (n *node) connected() int {
	n.t.Helper()
	return n.metric("rivulet_session_connections", "websocket")
}

// metric is a counter or gauge with one label, which has this value.
func (n *node) metric(name, label string) int {
	n.t.Helper()
	families, err := n.reg.Gather()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return int(m.GetCounter().GetValue() + m.GetGauge().GetValue()) // it is one of them
			}
		}
	}
	n.t.Fatalf("there is no metric %s with %s", name, label)
	return 0
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", deadline, what)
		}
	}
}
