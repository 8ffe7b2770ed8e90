package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/cmd"
)

// What is there stays usable with a smaller budget. A namespace for which there is no room
// is refused for good, in the same words over HTTP and by WebSocket, to whoever publishes
// and to whoever subscribes; and before that by check.
func TestNoRoomForAnotherNamespace(t *testing.T) {
	cfg := devConfig(t)
	cfg.Broker.DiskBudget = 256 << 20
	n := startNode(t, cfg)
	for _, ns := range []string{"one", "two", "three", "four"} {
		publish(t, n, ns+":a", 1)
	}
	stopNode(t, n)
	args := []string{"check", "--dev", "--data", cfg.Broker.Data, "--disk-budget"}
	if r := run(t, "", nil, append(args, "256MiB")...).check(t, 0); !strings.Contains(r.out, "up to 256MiB, 161MiB reserved") || strings.Contains(r.out, "warning: broker.disk_budget") {
		t.Errorf("check of what fits says:\n%s", r.out)
	}
	if r := run(t, "", nil, append(args, "170MiB")...).check(t, 0); !strings.Contains(r.out, "warning: broker.disk_budget: of 170MiB all but 9MiB is reserved") || !strings.Contains(r.out, "raise it to 177MiB or more") {
		t.Errorf("check of a budget that is used up says:\n%s", r.out)
	}
	cfg.Broker.DiskBudget = 150 << 20
	if r := run(t, "", nil, append(args, "150MiB")...).check(t, 0); !strings.Contains(r.out, "warning: broker.disk_budget: is 150MiB, and 161MiB are reserved") || !strings.Contains(r.out, "raise it to 177MiB or more") {
		t.Errorf("check of a smaller budget says:\n%s", r.out)
	}
	n = startNode(t, cfg)
	publish(t, n, "two:a", 2)
	const want = `the namespace "five" is not there yet, and cannot be made: the disk budget has no room for another; start the node with --disk-budget 177MiB or more (broker.disk_budget)`

	res, err := (&http.Client{Timeout: deadline}).Post(n.URL()+"/v1/channels/five:a/messages", "application/json", strings.NewReader(`{"data":1}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.Body.Close() != nil {
		t.Fatal(err)
	}
	var answer struct{ Message string }
	if err := json.Unmarshal(body, &answer); err != nil || res.StatusCode != http.StatusNotFound || answer.Message != want {
		t.Errorf("HTTP: %d %s", res.StatusCode, body)
	}
	client, err := rivulet.New(n.URL(), rivulet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	ctx := testContext(t)
	if err := client.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Publish(ctx, "five:a", 1, rivulet.PublishOptions{}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "4404") {
		t.Errorf("publish by WebSocket: %v", err)
	}
	if _, err := client.Subscribe(ctx, "five:a", rivulet.SubscribeOptions{}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "4404") {
		t.Errorf("subscribe: %v", err)
	}
	if ready := get(t, n.URL()+"/readyz"); !strings.Contains(ready, "but not to namespaces that are not there yet") {
		t.Errorf("ready: %s", ready)
	}
	metrics := get(t, n.URL()+"/metrics")
	for _, m := range []string{"rivulet_broker_disk_budget_bytes 1.572864e+08", "rivulet_broker_disk_reserved_bytes 1.68", "rivulet_broker_namespaces_refused_total "} {
		if !strings.Contains(metrics, "\n"+m) {
			t.Errorf("the metrics lack %s", m)
		}
	}
}

// A configuration that cannot start beside what is in the folder is told so before.
func TestNamespacesMustFitBesideOldOnes(t *testing.T) {
	cfg := devConfig(t)
	cfg.Broker.DiskBudget = 64 << 30 // 256 MiB for each
	n := startNode(t, cfg)
	publish(t, n, "old:a", 1)
	stopNode(t, n)
	environ := []string{"RIVULET_AUTH_HMAC_SECRET=5b1f0c8a7d3e9264bb01f7a95c4d8e36"}
	for _, command := range []string{"check", "serve"} {
		run(t, "", environ, command, "--data", cfg.Broker.Data, "--disk-budget", "1200MiB", "--listen", "127.0.0.1:0").check(t, cmd.ExitUsage,
			"--disk-budget: broker.disk_budget: is 1200MiB; 256MiB of it are reserved in", "by namespaces that are not configured (old)", "1377MiB are needed")
	}
	run(t, "", environ, "check", "--data", cfg.Broker.Data, "--disk-budget", "1377MiB").check(t, 0)
	run(t, "", environ, "check", "--data", cfg.Broker.Data, "--disk-budget", "1GiB", "--set", "namespaces={old: {max_bytes: 512MiB}}").check(t, 0)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	stderr, exit := newBuffer(), make(chan int, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { // what check said is so
		exit <- cmd.Main(ctx, []string{"serve", "--data", cfg.Broker.Data, "--disk-budget", "1377MiB", "--listen", "127.0.0.1:0"}, cmd.Streams{Err: stderr, Environ: environ})
	})
	stderr.waitFor(t, `"msg":"started"`)
	cancel()
	if code := <-exit; code != 0 {
		t.Errorf("exit %d; stderr:\n%s", code, stderr)
	}
}

// The log of a first start says no more than what somebody needs who tries it out.
func TestFirstStartIsQuiet(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	stderr := newBuffer()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		cmd.Main(ctx, []string{"serve", "--dev", "--listen", "127.0.0.1:0", "--data", t.TempDir()}, cmd.Streams{Err: stderr})
	})
	stderr.waitFor(t, "development mode")
	cancel()
	if text := stderr.String(); strings.Count(text, "topology") != 1 || strings.Contains(text, "open files") || bytes.Count([]byte(text), []byte("\n")) > 6 {
		t.Errorf("stderr:\n%s", text)
	}
}
